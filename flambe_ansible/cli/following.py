"""Stream the log of a job."""

from __future__ import annotations

import sys
from typing import IO

from flambe_ansible.cli import remote
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.errors import HostConnectionError


def show_log(cluster: Cluster, *, follow: bool = False, lines: int = 0, to: IO[str] | None = None) -> None:
    """Print the log of the last job, or its last lines, on a stream; with ``follow``, until the job has ended.

    After Ctrl-C, or if the stream's reader exits, the job keeps running.
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
    if code == 255:  # ssh itself failed
        raise HostConnectionError(f"{host.name}: the connection was lost; the job keeps running", host=host.name)
