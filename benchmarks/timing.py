"""Shared by the benchmarks: a cluster of a lab, timed commands, and tables in Markdown."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAMBE_ANS = str(Path(sys.executable).with_name("flambe-ans"))


@dataclass(frozen=True)
class Cluster:
    """A cluster's file, and timed commands on it; its state is in the same folder."""

    folder: Path
    name: str

    @property
    def file(self) -> Path:
        """The YAML file."""
        return self.folder / f"{self.name}.yaml"

    def write(self, tag: str, fields: Mapping[str, Any]) -> None:
        """Write the file."""
        self.file.write_text(f"!{tag}\n{json.dumps({'name': self.name, **fields})}\n")

    def time(self, command: str, *arguments: str) -> float:
        """Run a command to its end; return its seconds."""
        return self.call(command, *arguments)[0]

    def measure(self, command: str, *arguments: str) -> tuple[float, float]:
        """Run a command to its end; return its seconds, and those of the processor: its own and its processes'."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = self.time(command, *arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def document(self, command: str, *arguments: str) -> dict[str, Any]:
        """Run a command; return its JSON document."""
        found: dict[str, Any] = json.loads(self.call(command, "--json", *arguments)[1])
        return found

    def call(self, command: str, *arguments: str) -> tuple[float, str]:
        """Run a command; return its seconds and its standard output; a failure ends the benchmark."""
        argv = [FLAMBE_ANS, command, str(self.file), *arguments]
        own = {"FLAMBE_ANS_STATE": str(self.folder / "state"), "HOME": str(self.folder)}
        passed_on = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return run(argv, environment={**passed_on, **own})


def run(argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Run a command; return its seconds and its standard output; a failure ends the benchmark."""
    started = time.monotonic()
    done = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )  # fmt: skip
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds, done.stdout


@contextmanager
def lab(*, hosts: int) -> Iterator[str]:
    """Start a lab for so many hosts; yield its name, and remove it at the end."""
    name = f"bench-{os.getpid()}"
    run([FLAMBE_ANS, "lab", "up", "--name", name, "--max-hosts", str(hosts)])
    try:
        yield name
    finally:
        subprocess.run([FLAMBE_ANS, "lab", "down", "--name", name], stdout=subprocess.DEVNULL, check=False)


def median(work: Any, rounds: int) -> float:
    """Return the median of the seconds that a function returns."""
    return statistics.median(work() for _ in range(rounds))


def report(text: str) -> None:
    """Print what is done now; it is not a part of the results."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    for cells in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


def load() -> str:
    """Return the machine's load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"
