"""What differs between the versions of Ray."""

from __future__ import annotations

import re

OLD_PORT = 12345  # the port of flambé's Ray 0.7
PORT = 6379  # Ray's own default from 1.0 on
TOKENS = (2, 52)
STATE_API = (2, 0)  # /api/v0/nodes
LABELS = (2, 49)  # --labels as name=value pairs
METRICS_PORTS = (44217, 44227)  # of the autoscaler and the dashboard on the head; they cannot be set with an option
OLD_PORTS = {"shard": 1, "node_manager": 2, "object_manager": 3}  # added to the port of the head, below 1.0
# The first version with an option of ``ray start``.
OPTIONS = {
    "--dashboard-host": (1, 0),
    "--dashboard-port": (1, 0),
    "--metrics-export-port": (1, 0),
    "--ray-client-server-port": (1, 5),
    "--disable-usage-stats": (1, 13),
    "--dashboard-agent-grpc-port": (2, 0),
    "--dashboard-agent-listen-port": (2, 0),
    "--runtime-env-agent-port": (2, 9),
}


def parse(version):
    """Return the first two numbers of a version: ``2.60.0rc1`` is (2, 60)."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return tuple([*numbers, 0, 0][:2])


def is_old(version):
    """Return whether a version of Ray is below 1.0, with different options and internals."""
    return parse(version) < (1, 0)


def choose_port(version, wanted):
    """Return the port of the head: the wanted one, or the version's own if it is 0."""
    return wanted or (OLD_PORT if is_old(version) else PORT)


def has_tokens(version):
    """Return whether a version of Ray can require a token."""
    return parse(version) >= TOKENS


def has_option(version, option):
    """Return whether ``ray start`` of a version has an option."""
    return parse(version) >= OPTIONS.get(option, (0, 0))
