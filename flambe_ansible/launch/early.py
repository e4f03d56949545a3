"""The reservation of a cluster and the verification of its hosts, while a launch still asks the provider.

The verification starts after the cluster was reserved, so that no other command changes the hosts meanwhile. The launch
uses its result if the provider then returns the same hosts; else it verifies them itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from flambe_ansible.errors import ClusterBusyError, HostError
from flambe_ansible.events import only_notices
from flambe_ansible.fleet.reservation import Reservation, reserve_running
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


class EarlyLaunch:
    """The reservation of a cluster and the verification of its hosts while its launch is planned.

    Args:
        hosts: The hosts that answered last: an orchestrator, and as many factories as a launch needs.
        fleets: Makes their fleet.

    Attributes:
        verification: The verification of the hosts. It fails if another process has reserved the cluster.
    """

    def __init__(self, hosts: Sequence[Host], fleets: Fleets) -> None:
        self._reservation = Reservation("launch", cluster=fleets.cluster)
        self._cancelled = threading.Event()
        self._reserved = Background(lambda: self._reserve(hosts, fleets), name="flambe-reserve")
        self.verification = verify_early(hosts, fleets, after=self._reserved)

    def take(self) -> Reservation | None:
        """Return the reservation of the cluster, which is not held if the orchestrator did not answer.

        None if another process has reserved the cluster.
        """
        return self._reservation if self._reserved.wait() is not None else None

    def cancel(self) -> None:
        """Release the reservation."""
        self._cancelled.set()
        self._reservation.release()

    def _reserve(self, hosts: Sequence[Host], fleets: Fleets) -> bool:
        """Return whether the cluster is reserved now."""
        observer = only_notices(fleets.observer)
        reserve_running(self._reservation, hosts, fleets.access(), patience=fleets.limits.for_query, observer=observer)
        if self._cancelled.is_set():
            self._reservation.release()
        return self._reservation.held


def verify_early(hosts: Sequence[Host], fleets: Fleets, *, after: Background[bool] | None = None) -> EarlyVerification:
    """Start to connect to the hosts of a cluster, which are not loaded yet, and to verify them.

    With ``after``, only if that returns True.
    """
    fleet, observer = fleets.make(hosts), only_notices(fleets.observer)
    programs = write_programs(fleet, fleets)

    def verify() -> Mapping[str, HostError]:
        if after and not after.wait():
            raise ClusterBusyError(f"cluster {fleets.cluster} could not be reserved")
        return fleets.open_each(hosts) or probe_each(fleet, hosts, fleets, programs=programs, observer=observer)

    return EarlyVerification(fleet.hosts, programs, verify)


def is_complete(hosts: Sequence[Host], *, factories: int) -> bool:
    """Return whether all hosts of a cluster run, and are as many as a launch needs."""
    roles = [host.role for host in hosts]
    running = all(host.state is HostState.RUNNING for host in hosts)
    return running and (roles.count(Role.ORCHESTRATOR), roles.count(Role.FACTORY)) == (1, factories)
