"""The base of all clusters: make one exist and ready, and say what it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambe_ansible import events, inventory, secrets
from flambe_ansible.cluster import converge, lock, ray
from flambe_ansible.cluster.converge import RunOptions
from flambe_ansible.cluster.execution import Execution
from flambe_ansible.cluster.live import STATUS_TIMEOUT
from flambe_ansible.cluster.status import ClusterState, ClusterStatus, judge
from flambe_ansible.errors import FlambeAnsibleError
from flambe_ansible.hosts import Host, HostState, Role
from flambe_ansible.playbooks import HostResult
from flambe_ansible.versions import RuntimeVersion


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """What a launch did.

    Attributes:
        hosts: The orchestrator, then the factories.
        created: Names of the hosts that this launch created.
        flambe: The flambe that the hosts have.
        playbook: What the playbook did, by host name.
        ray: What Ray said at the end.
        seconds: How long it took.
        log: The playbook's full log.
    """

    hosts: tuple[Host, ...]
    created: tuple[str, ...]
    flambe: RuntimeVersion
    playbook: Mapping[str, HostResult]
    ray: ray.RayNodes
    seconds: float
    log: Path


class Cluster(Execution):
    """A cluster of one orchestrator and N factories: the base of what each provider implements.

    A provider implements ``load_all_instances``, ``find_hosts`` and ``plan``, and where it creates hosts also
    ``rollback_env`` and ``terminate_instances``. The arguments are those of ``LiveCluster``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options = RunOptions()

    def run(self, force: bool = False, **kwargs: Any) -> LaunchResult:
        """Make the cluster exist and ready: hosts, playbook, Ray. Idempotent.

        Args:
            force: Accepted for flambé's signature; launching never replaces what runs.
            kwargs: The fields of ``RunOptions``.

        Raises:
            FlambeAnsibleError: Of the kind that tells which part failed.
        """
        del force
        started = time.monotonic()
        self.options = RunOptions(**kwargs)
        self.parse()
        secrets.check(self.options.secrets_file, self.options.secrets_sections)
        flambe = self.find_flambe()
        with lock.hold(self.state_dir):
            self.load_all_instances()
            self.connect()
            log = converge.new_log(self)
            played = converge.play(self, self.options, log=log)
            nodes = self._check_ray()
        return LaunchResult(
            hosts=tuple(self.hosts),
            created=tuple(self.created),
            flambe=flambe,
            playbook=played,
            ray=nodes,
            seconds=time.monotonic() - started,
            log=log,
        )

    def inventory(self) -> dict[str, Any]:
        """Return the Ansible inventory of what runs now; its connection outlives this object.

        Raises:
            ClusterNotFoundError: Nothing runs.
        """
        return converge.build_inventory(self, self.options)

    def status(self) -> ClusterStatus:
        """Say what the cluster is now: the provider's answer, then Ray's own."""
        hosts = self.find_hosts()
        launching = lock.is_held(self.state_dir)
        head = next((host for host in hosts if host.role is Role.ORCHESTRATOR), None)
        nodes, prepared, unreachable, run = None, False, "", None
        if head and head.state is HostState.RUNNING:
            loaded = self.hosts
            try:
                nodes, prepared = self._ask_head(head)
                run = self.get_run()
            except FlambeAnsibleError as error:
                unreachable = error.message
            finally:
                self.hosts = loaded or [head]  # a cluster that was loaded stays so
        state = judge(hosts, factories_num=self.factories_num, launching=launching, prepared=prepared, ray=nodes)
        if unreachable and state is ClusterState.PROVISIONING and not launching:
            state = ClusterState.DEGRADED
        return ClusterStatus(
            name=self.name,
            state=state,
            orchestrator=head,
            factories=tuple(host for host in hosts if host.role is Role.FACTORY),
            ray=nodes,
            unreachable=unreachable,
            run=run,
        )

    def _ask_head(self, head: Host) -> tuple[ray.RayNodes | None, bool]:
        """Ask the orchestrator for Ray's nodes, and whether a launch has prepared it."""
        self.hosts = [head]
        self._open([head], timeout=STATUS_TIMEOUT, observer=events.ignore)
        prepared = self.connections.run(head, f"test -x {inventory.RAY_NODES}", check=False).returncode == 0
        return (ray.ask(self.connections, head) if prepared else None), prepared

    def _check_ray(self) -> ray.RayNodes:
        started = time.monotonic()
        nodes = ray.check(self.connections, self.hosts)
        seconds = time.monotonic() - started
        for host in self.hosts:
            self.observer(events.StepEvent(host=host.name, step="ray", status=events.Status.OK, seconds=seconds))
        return nodes


__all__ = ["Cluster", "LaunchResult", "RunOptions"]
