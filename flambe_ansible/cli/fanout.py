"""Run one process per host at once, and print what they say line by line as it comes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.words import shorten_host


@dataclass
class Result:
    """What a command did on one host."""

    returncode: int = 0
    stdout: str = ""
    stderr: str = ""


def run_everywhere(argvs: Mapping[str, Sequence[str]], *, cluster: str, output: Output) -> dict[str, Result]:
    """Run a process per host and wait for all.

    Args:
        argvs: The process of each host, by the host's name.
        cluster: The cluster's name, left out of the prefixes.
        output: With ``json``, nothing is printed but kept in the results.

    Returns:
        What each process did, by host name.
    """
    width = max(len(shorten_host(name, cluster)) for name in argvs)
    lock = threading.Lock()
    results = {name: Result() for name in argvs}
    processes = {name: _start(argv) for name, argv in argvs.items()}

    def pump(name: str, stream: IO[str], attribute: str) -> None:
        prefix = f"{shorten_host(name, cluster):<{width}} | "
        for line in stream:
            if output.json:
                setattr(results[name], attribute, getattr(results[name], attribute) + line)
                continue
            target = sys.stdout if attribute == "stdout" else sys.stderr
            with lock:
                target.write(prefix + line.removesuffix("\n") + "\n")
                target.flush()

    threads = [
        threading.Thread(target=pump, args=(name, stream, attribute), daemon=True)
        for name, process in processes.items()
        for stream, attribute in ((process.stdout, "stdout"), (process.stderr, "stderr"))
    ]
    try:
        for thread in threads:
            thread.start()
        for name, process in processes.items():
            code = process.wait()
            results[name].returncode = code if code >= 0 else 128 - code
        for thread in threads:
            thread.join()
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.terminate()
    return results


def _start(argv: Sequence[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace")
