"""Connect to the hosts of a cluster, and verify them with the command that reads their facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flambe_ansible.errors import HostError
from flambe_ansible.events import Observer
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.fleets import Fleets
from flambe_ansible.launch.verifying import make_receipts
from flambe_ansible.ssh import Patience


def connect_each(
    fleet: Fleet,
    fleets: Fleets,
    *,
    patience: Callable[[Host], Patience],
    verifies: bool,
    covers: Callable[[Sequence[Host], Mapping[str, str]], bool] | None = None,
) -> dict[str, HostError]:
    """Connect to the hosts of a fleet, and check that they meet the requirements; return the errors by name.

    Args:
        fleet: The hosts.
        fleets: What made them.
        patience: How long each host may take.
        verifies: Also compare the hosts with their receipts, and ask Ray for its nodes.
        covers: Whether these hosts were verified already, with these programs by host name.
    """
    errors = fleets.access().open_each(fleet.hosts, patience=patience, observer=fleets.observer)
    answering = [host for host in fleet.hosts if host.name not in errors]
    programs = write_programs(fleet, fleets) if verifies else {}
    if covers and covers(answering, programs):
        return errors
    return errors | probe_each(fleet, answering, fleets, programs=programs, observer=fleets.observer)


def write_programs(fleet: Fleet, fleets: Fleets) -> Mapping[str, str]:
    """Return the programs that compare hosts with their receipts, by host name; see ``Connections.probe_each``."""
    return make_receipts(fleets.make_player(fleet), fleets.runtime).programs


def probe_each(
    fleet: Fleet, hosts: Sequence[Host], fleets: Fleets, *, programs: Mapping[str, str], observer: Observer
) -> dict[str, HostError]:
    """Check that connected hosts meet the requirements; with ``programs``, the head also asks Ray for its nodes."""
    ray = fleets.runtime.ray
    return fleet.connections.probe_each(
        hosts,
        machines=fleets.runtime.machines,
        programs=programs,
        commands={fleet.head.name: ray.question} if programs and ray else {},
        observer=observer,
    )
