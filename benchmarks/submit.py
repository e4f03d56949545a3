"""Compare `flambe-ans submit` with `ray job submit` and `ray submit`: seconds to the first line of a job's output.

    python benchmarks/submit.py CLUSTER [--rounds N] [--ray PATH]

CLUSTER is a running cluster with `runtime: ray`. The command of `ray` (--ray, default: the one on the PATH) must have
the same version. All ways run the same `print` from the same folder, one after the other in each round, so that a load
of the machine affects all of them. The time starts with the command, and includes the start of Python and of the
connection. For `ray job submit`, a tunnel is open already, which favours it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

MARK = "first-line-of-the-job"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cluster")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", default="ray")
    parser.add_argument("--flambe-ans", default=str(Path(sys.executable).with_name("flambe-ans")))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "hello.py").write_text(f"print('{MARK}', flush=True)\n")
        found = measure(options, Path(folder))
    ours = statistics.median(found["flambe-ans submit"])
    for name, seconds in found.items():
        median = statistics.median(seconds)
        print(f"{name:20} {median:6.1f} s  {median / ours:4.1f} x  ({', '.join(f'{one:.1f}' for one in seconds)})")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Return the seconds of each round, by way."""
    cluster, ray, flambe = str(Path(options.cluster).absolute()), options.ray, options.flambe_ans
    tunnel = subprocess.Popen([flambe, "tunnel", cluster, "--json"], stdout=subprocess.PIPE, text=True)
    try:
        variables = read_variables(tunnel)
        environment = {**os.environ, **variables}
        python = ["--", "python", "hello.py"]
        ways: dict[str, Callable[[], float]] = {
            "flambe-ans submit": lambda: run([flambe, "submit", "-c", cluster, "--follow", *python], folder, None),
            "ray job submit": lambda: run([ray, "job", "submit", "--working-dir", ".", *python], folder, environment),
            "ray submit (head)": lambda: run(submit_by_ssh(flambe, cluster, folder), folder, None),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                found[name].append(way())
    finally:
        tunnel.send_signal(signal.SIGINT)
        tunnel.wait()
    return found


def submit_by_ssh(flambe: str, cluster: str, folder: Path) -> list[str]:
    """Return a command that does on the head what `ray submit` does: copy the script, then run it over SSH.

    `ray submit` itself needs a cluster of `ray up`; it adds the import of ray and several SSH connections.
    """
    script = (folder / "hello.py").read_text()
    return [flambe, "ssh", cluster, "--", f"cat > hello.py <<'E'\n{script}E\n/opt/ray/venv/bin/python -u hello.py"]


def run(argv: Sequence[str], folder: Path, environment: dict[str, str] | None) -> float:
    """Run a command to its end; return the seconds until it has printed the first line of the job."""
    started = time.monotonic()
    seen = None
    with subprocess.Popen(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if seen is None and line.startswith(MARK):
                seen = time.monotonic() - started
    if seen is None:
        raise SystemExit(f"{argv}: printed no line of the job")
    return seen


def read_variables(tunnel: subprocess.Popen[str]) -> dict[str, str]:
    """Read the environment variables that a tunnel prints as a JSON document."""
    text = ""
    for line in tunnel.stdout or ():
        text += line
        if line.startswith("}"):
            break
    return {name: value for name, value in json.loads(text).items() if name.isupper()}


if __name__ == "__main__":
    main()
