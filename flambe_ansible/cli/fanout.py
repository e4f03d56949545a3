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


@dataclass
class Result:
    """The result of a command on one host."""

    returncode: int = 0
    stdout: str = ""
    stderr: str = ""


def run_everywhere(
    argvs: Mapping[str, Sequence[str]], command: str, *, cluster: str, output: Output
) -> dict[str, Result]:
    """Run a shell line on every host, with an ssh command for each host's name, and wait for all.

    It ends on the hosts too if this process is interrupted, or if its output cannot be written (OSError). With
    ``json``, its output is collected and not printed.
    """
    width = max(len(shorten_host(name, cluster)) for name in argvs)
    lock = threading.Lock()
    results = {name: Result() for name in argvs}
    refused: list[OSError] = []
    processes = {name: remote.start(argv, command=command, stderr=subprocess.PIPE) for name, argv in argvs.items()}

    def end_all() -> None:
        for process in processes.values():
            remote.end(process)

    def pump(name: str, stream: IO[str], attribute: str) -> None:
        try:
            with stream:
                if output.json:
                    setattr(results[name], attribute, stream.read())
                else:
                    prefix = f"{shorten_host(name, cluster):<{width}} | "
                    _print_lines(stream, sys.stdout if attribute == "stdout" else sys.stderr, prefix, lock)
        except OSError as error:
            refused.append(error)
            end_all()

    threads = [
        threading.Thread(target=pump, args=(name, stream, attribute), daemon=True)
        for name, process in processes.items()
        for stream, attribute in ((process.stdout, "stdout"), (process.stderr, "stderr"))
        if stream
    ]
    try:
        with remote.watch_reader(sys.stdout, end_all):
            for thread in threads:
                thread.start()
            for name, process in processes.items():
                code = process.wait()
                results[name].returncode = code if code >= 0 else 128 - code
            for thread in threads:
                thread.join()
    finally:
        end_all()
    if refused:
        raise refused[0]
    return results


def _print_lines(stream: IO[str], target: IO[str], prefix: str, lock: threading.Lock) -> None:
    """Print each line of a stream as it arrives."""
    clean = OutputFilter()
    for line in stream:
        with lock:
            write_output(target, prefix + line.removesuffix("\n") + "\n", clean, final=True)
