"""Commands on hosts whose output is streamed; they end with this process, and when the output has no reader."""

from __future__ import annotations

import select
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from flambe_ansible.cli.output import write_output
from flambe_ansible.control_codes import OutputFilter
from flambe_ansible.errors import HostConnectionError

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster

POLL_SECONDS = 0.2
# Without a terminal, sshd sends no signal to the command when the connection ends; only its standard input is closed.
# So the command runs in a new session, and a watcher ends that session when standard input ends.
_GUARD = """
exec 3<&0
setsid "${SHELL:-/bin/sh}" -c "$1" </dev/null 3<&- &
command=$!
{
  while read -r _; do :; done
  trap '' TERM
  kill -s TERM -- "-$command"
  sleep 5
  kill -s KILL -- "-$command"
} <&3 >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$command" 2>/dev/null
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"""


def tie_to_connection(command: str) -> str:
    """Return a command line that runs a shell line on a host, without input, and ends it when the connection ends.

    Every login shell reads it alike, csh and fish too: it is one line, with words in single quotes.
    """
    decode = 'command=$(printf %b "$2"); guard=$(printf %b "$1"); set -- "$command"; eval "$guard"'
    return shlex.join(["/bin/sh", "-c", decode, "flambe-ans", _escape(_GUARD), _escape(command)])


def _escape(text: str) -> str:
    """Escape all but plain characters for ``printf %b``."""
    return "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\0{byte:03o}"
        for byte in text.encode(errors="surrogateescape")
    )


def start(argv: Sequence[str], *, command: str, stderr: int | None = None) -> subprocess.Popen[str]:
    """Start a line for the host's shell with an ssh command; its standard input stays open while it may run."""
    return subprocess.Popen(
        [*argv, tie_to_connection(command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a started command, on the host too."""
    if process.stdin:
        process.stdin.close()
    if process.poll() is None:
        process.terminate()


def has_reader(stream: IO[str]) -> bool:
    """Whether the reader of a stream is still there."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # not a file of the system
        return True
    poller = select.poll()
    poller.register(descriptor, 0)  # errors are always reported
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))


@contextmanager
def watch_reader(stream: IO[str], on_close: Callable[[], None]) -> Iterator[None]:
    """Call ``on_close`` as soon as the stream's reader is gone, even if nothing is written; then BrokenPipeError."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            if not has_reader(stream):
                on_close()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if not has_reader(stream):
        raise BrokenPipeError


def show_log(cluster: Cluster, *, follow: bool = False, lines: int = 0, to: IO[str] | None = None) -> None:
    """Print the log of the last job, or its last lines, on a stream; with ``follow``, until the job has ended.

    After Ctrl-C, or if the stream's reader exits, the job keeps running.
    """
    host = cluster.fleet.head
    command = cluster.file_jobs.log_command(follow=follow, lines=lines)
    sink, clean = to or sys.stdout, OutputFilter()
    sink.flush()
    process = start(cluster.connections.argv(host), command=command)
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        with watch_reader(sink, lambda: end(process)):
            for line in process.stdout:
                write_output(sink, line, clean)
            code = process.wait()
    finally:
        end(process)
    if code == 255:  # ssh itself failed
        raise HostConnectionError(f"{host.name}: the connection was lost; the job keeps running", host=host.name)
