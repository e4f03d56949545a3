"""Show what a run prints, as it comes."""

from __future__ import annotations

import subprocess
import sys
from typing import IO

from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.errors import HostConnectionError

_SSH_FAILED = 255


def show_log(cluster: Cluster, *, follow: bool = False, lines: int = 0, to: IO[str] | None = None) -> None:
    """Print the last run's log on a stream, standard output by default.

    Args:
        cluster: The cluster, attached to its orchestrator.
        follow: Go on until the run has ended.
        lines: Only the last ones; 0 is all.
        to: Where it goes.

    Raises:
        HostConnectionError: The connection broke.
        KeyboardInterrupt: Ctrl-C; the run is not touched.
    """
    host = cluster.fleet.head
    argv = cluster.jobs.log_argv(follow=follow, lines=lines)
    sink = to or sys.stdout
    sink.flush()
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None  # noqa: S101 - Popen was told to pipe it
        try:
            for line in process.stdout:
                sink.write(line)
                sink.flush()
        except BaseException:
            process.terminate()
            raise
    if process.returncode == _SSH_FAILED:
        raise HostConnectionError(
            f"{host.name}: the connection was lost; the run goes on there", host=host.name, hint="run this again"
        )
