"""The verification of hosts while a launch still asks the provider, which usually changes nothing.

It starts after the cluster was reserved, so that no other command changes the hosts meanwhile. The launch uses its
result if the provider then returns the same hosts; else it verifies them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flambe_ansible.errors import HostError
from flambe_ansible.events import only_notices
from flambe_ansible.hosts import Host, HostState, Role
from flambe_ansible.jobs.fleets import Fleets
from flambe_ansible.launch.connecting import probe_each, write_programs
from flambe_ansible.ssh.parallel import Background


class EarlyVerification:
    """One attempt to verify hosts, in a separate thread.

    Args:
        hosts: The hosts.
        programs: The programs that compare hosts with their receipts, by host name.
        verify: Verifies the hosts; returns the errors of those that failed by name.
    """

    def __init__(
        self, hosts: Sequence[Host], programs: Mapping[str, str], verify: Callable[[], Mapping[str, HostError]]
    ) -> None:
        self._subject = (list(hosts), dict(programs))
        self._errors = Background(verify, name="flambe-verify")

    def covers(self, hosts: Sequence[Host], programs: Mapping[str, str]) -> bool:
        """Wait for its end; return whether it verified exactly these hosts with these programs, without an error."""
        errors = self._errors.wait()
        return errors is not None and not errors and self._subject == (list(hosts), programs)


def verify_early(hosts: Sequence[Host], fleets: Fleets) -> EarlyVerification:
    """Start to connect to the hosts of a cluster, which are not loaded yet, and to verify them."""
    fleet, observer = fleets.make(hosts), only_notices(fleets.observer)
    programs = write_programs(fleet, fleets)

    def verify() -> Mapping[str, HostError]:
        return fleets.open_each(hosts) or probe_each(fleet, hosts, fleets, programs=programs, observer=observer)

    return EarlyVerification(fleet.hosts, programs, verify)


def is_complete(hosts: Sequence[Host], *, factories: int) -> bool:
    """Return whether all hosts of a cluster run, and are as many as a launch needs."""
    roles = [host.role for host in hosts]
    running = all(host.state is HostState.RUNNING for host in hosts)
    return running and (roles.count(Role.ORCHESTRATOR), roles.count(Role.FACTORY)) == (1, factories)
