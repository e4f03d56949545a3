"""Run one command on several hosts at once, and print its output line by line as it arrives."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from flambe_ansible.cli import remote
from flambe_ansible.cli.output import Output, write_output
from flambe_ansible.cli.render.words import shorten_host
from flambe_ansible.control_codes import OutputFilter

AT_ONCE = 64  # hosts


@dataclass
class Result:
    """The result of a command on one host."""

    returncode: int = 0
    stdout: str = ""
    stderr: str = ""


def run_everywhere(
    argvs: Mapping[str, Sequence[str]], command: str, *, cluster: str, output: Output, at_once: int = AT_ONCE
) -> dict[str, Result]:
    """Run a shell line on every host, with an ssh command for each host's name, and wait for all.

    It ends on the hosts too if this process is interrupted, or if its output cannot be written (OSError). With
    ``json``, its output is collected and not printed. ``at_once`` is the number of hosts that run it at the same time.
    """
    width = max(len(shorten_host(name, cluster)) for name in argvs)
    run = _Run(command, output=output, prefixes={name: f"{shorten_host(name, cluster):<{width}} | " for name in argvs})
    waiting = iter(list(argvs.items()))
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                name, argv = next(waiting, ("", ()))
            if not name:
                return
            run.run(name, argv)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(len(argvs), at_once))]
    try:
        with remote.watch_reader(sys.stdout, run.end):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        run.end()
    if run.refused:
        raise run.refused[0]
    return run.results


class _Run:
    """One command on several hosts."""

    def __init__(self, command: str, *, output: Output, prefixes: Mapping[str, str]) -> None:
        self.results = {name: Result() for name in prefixes}
        self.refused: list[OSError] = []
        self._command = command
        self._output = output
        self._prefixes = prefixes
        self._processes: set[subprocess.Popen[str]] = set()
        self._ended = False
        self._starting = threading.Lock()
        self._printing = threading.Lock()

    def end(self) -> None:
        """End the command on all hosts, and start it on no other."""
        with self._starting:
            self._ended = True
            running = list(self._processes)
        for process in running:
            remote.end(process)

    def run(self, name: str, argv: Sequence[str]) -> None:
        """Run it on one host to its end; an error of this machine ends it on all hosts."""
        try:
            with self._starting:
                if self._ended:
                    return
                process = remote.start(argv, command=self._command, stderr=subprocess.PIPE)
                self._processes.add(process)
        except OSError as error:
            self._fail(error)
            return
        other = threading.Thread(target=self._pump, args=(name, process.stderr, "stderr"), daemon=True)
        other.start()
        self._pump(name, process.stdout, "stdout")
        code = process.wait()
        other.join()
        self.results[name].returncode = code if code >= 0 else 128 - code
        with self._starting:
            self._processes.discard(process)
        remote.end(process)

    def _pump(self, name: str, stream: IO[str] | None, attribute: str) -> None:
        assert stream is not None  # noqa: S101 - it is a pipe
        try:
            with stream:
                if self._output.json:
                    setattr(self.results[name], attribute, stream.read())
                else:
                    target = sys.stdout if attribute == "stdout" else sys.stderr
                    _print_lines(stream, target, self._prefixes[name], self._printing)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.refused.append(error)
        self.end()


def _print_lines(stream: IO[str], target: IO[str], prefix: str, lock: threading.Lock) -> None:
    """Print each line of a stream as it arrives."""
    clean = OutputFilter()
    for line in stream:
        with lock:
            write_output(target, prefix + line.removesuffix("\n") + "\n", clean, final=True)
