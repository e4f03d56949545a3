"""The output of a job that runs a command: streamed, also after a lost connection."""

from __future__ import annotations

import codecs
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING

from flambe_ansible.cli.output import Output, write_output
from flambe_ansible.cli.remote import tie_to_connection, watch_reader
from flambe_ansible.control_codes import OutputFilter
from flambe_ansible.errors import HostConnectionError
from flambe_ansible.events import Notice

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster

_RETRY_SECONDS = 600.0  # for a lost connection
_PAUSE_SECONDS = 2.0
_BLOCK = 65536
_SSH_FAILED = 255


class JobLog:
    """Prints the output of a job from an offset in bytes.

    Args:
        output: Receives notices about the connection.
        cluster: The cluster; it is attached to its orchestrator.
        job: The job's id.
        offset: Where the output begins.
        to: The stream; None is stdout.
    """

    def __init__(
        self, output: Output, cluster: Cluster, job: str, *, offset: int = 0, to: IO[str] | None = None
    ) -> None:
        self._output = output
        self._cluster = cluster
        self._job = job
        self._offset = offset
        self._sink = to or sys.stdout
        self._clean = OutputFilter()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def show(self, *, follow: bool) -> None:
        """Print the output; with ``follow``, until the job has ended. A lost connection is opened again."""
        host = self._cluster.fleet.head.name
        lost_since = None
        while True:
            before = self._offset
            try:
                if self._copy(follow=follow) != _SSH_FAILED:
                    return
                problem = f"{host}: the connection was lost"
            except HostConnectionError as error:
                problem = error.message
            if lost_since is None or self._offset > before:
                lost_since = time.monotonic()
            if not follow or time.monotonic() - lost_since > _RETRY_SECONDS:
                raise HostConnectionError(f"{problem}; the job keeps running", host=host)
            self._output.show_notice(
                Notice(message=f"{problem}; the job keeps running; connecting again", warning=True)
            )
            time.sleep(_PAUSE_SECONDS)

    def _copy(self, *, follow: bool) -> int:
        """Print what one connection transfers; return the exit code of ssh or of the command."""
        cluster = self._cluster
        command = cluster.jobs.log_command(self._job, follow=follow, offset=self._offset)
        argv = [*cluster.connections.argv(cluster.fleet.head), tie_to_connection(command)]
        self._sink.flush()
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            with watch_reader(self._sink, process.terminate):
                while block := process.stdout.read1(_BLOCK):  # type: ignore[attr-defined]
                    self._offset += len(block)
                    write_output(self._sink, self._decoder.decode(block), self._clean)
                return process.wait()
        finally:
            if process.stdin:
                process.stdin.close()
            if process.poll() is None:
                process.terminate()
