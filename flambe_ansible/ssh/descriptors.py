"""The number of files that this process may open: each connection needs two pipes."""

from __future__ import annotations

import resource

from flambe_ansible.errors import HostConnectionError

PER_CONNECTION = 2
SPARE = 512  # for commands that run at the same time, files, and the API


def allow_connections(count: int, *, host: str) -> None:
    """Raise the limit of open files of this process, if so many connections need it; ``host`` is for the error.

    Raises:
        HostConnectionError: The hard limit is too low.
    """
    needed = count * PER_CONNECTION + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise HostConnectionError(
            f"connections to {count} hosts need {needed} open files, and this process may open only {hard}",
            host=host,
            hint=f"raise the limit, for example: sudo prlimit --pid $$ --nofile={needed}:{needed}",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
