"""Stream the log of a job."""

from __future__ import annotations

import sys
from typing import IO

from flambe_ansible.cli import remote
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.errors import HostConnectionError

_SSH_FAILED = 255


def show_log(cluster: Cluster, *, follow: bool = False, lines: int = 0, to: IO[str] | None = None) -> None:
    """Print the last job's log on a stream; after Ctrl-C, or if the stream's reader exits, the job keeps running.

    Args:
        cluster: The cluster, attached to its orchestrator.
        follow: Keep streaming until the job has ended.
        lines: Print only this many lines of the end; 0 prints all.
        to: The stream; None is standard output.
    """
    host = cluster.fleet.head
    command = cluster.jobs.log_command(follow=follow, lines=lines)
    sink = to or sys.stdout
    sink.flush()
    process = remote.start(cluster.connections.argv(host), command=command)
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        with remote.watch_reader(sink, lambda: remote.end(process)):
            for line in process.stdout:
                sink.write(line)
                sink.flush()
            code = process.wait()
    finally:
        remote.end(process)
    if code == _SSH_FAILED:
        raise HostConnectionError(f"{host.name}: the connection was lost; the job keeps running", host=host.name)
