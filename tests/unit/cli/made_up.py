"""A fake cluster for the command line, with a plan, hosts, and a launch that sends events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flambe_ansible import events
from flambe_ansible.errors import ClusterConfigurationError, HostConnectionError
from flambe_ansible.fleet.idle import IdleState
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.hosts import Host, HostState, Location, Role
from flambe_ansible.launch.launch import FailedHost, LaunchResult
from flambe_ansible.launch.plan import Action, Plan, PlannedHost
from flambe_ansible.launch.status import ClusterState, ClusterStatus
from flambe_ansible.runtimes import RuntimeVersion
from flambe_ansible.runtimes.ray_service import RayNode, RayNodes

NAME = "demo"
RELEASE = RuntimeVersion(version="0.4.18", origin="as configured")


def make_host(index: int | None = None, *, state: HostState = HostState.RUNNING) -> Host:
    """Make the orchestrator, or the factory with this index."""
    number = 10 if index is None else 11 + index
    return Host(
        name=f"{NAME}_orchestrator" if index is None else f"{NAME}_factory_{index}",
        role=Role.ORCHESTRATOR if index is None else Role.FACTORY,
        index=index or 0,
        state=state,
        private_ip=f"10.0.0.{number}",
        address=f"10.0.0.{number}",
        instance_id=f"i-{number:017x}",
        instance_type="t3.small",
    )


HOSTS = (make_host(), make_host(0), make_host(1))


def make_plan(action: Action = Action.CREATE, hosts: tuple[Host, ...] = HOSTS, **facts: Any) -> Plan:
    """Make a plan with the same action for each host."""
    planned = tuple(
        PlannedHost(
            name=host.name,
            role=host.role,
            action=action,
            host=None if action is Action.CREATE else host,
            instance_type=host.instance_type,
            image="ami-0123456789abcdef0",
            image_name="Ubuntu 24.04 LTS, by SSM parameter",
            volume="gp2, 100 GB, encrypted",
        )
        for host in hosts
    )
    return Plan(
        cluster=NAME,
        provider="lab",
        region="us-east-1",
        hosts=planned,
        version=RuntimeVersion(version="0.4.18", origin="the last release; none is installed here"),
        **facts,
    )


def make_nodes(hosts: tuple[Host, ...] = HOSTS, *, dead: tuple[str, ...] = ()) -> RayNodes:
    """Make the state of Ray's nodes; the nodes of the given hosts are dead."""
    nodes = tuple(RayNode(address=host.private_ip, alive=host.name not in dead) for host in hosts)
    return RayNodes(version="0.7.6", nodes=nodes)


def make_status(
    state: ClusterState = ClusterState.RUNNING, hosts: tuple[Host, ...] = HOSTS, **facts: Any
) -> ClusterStatus:
    """Make a status of the given hosts."""
    return ClusterStatus(
        name=NAME,
        state=state,
        orchestrator=next((host for host in hosts if host.role is Role.ORCHESTRATOR), None),
        factories=tuple(host for host in hosts if host.role is Role.FACTORY),
        **{"ray": make_nodes(hosts), **facts},
    )


@dataclass
class FakeCluster:
    """The part of a cluster that the commands use; a launch raises ``failure``."""

    name: str = NAME
    username: str = "ubuntu"
    key: str = "/home/me/key.pem"
    known_hosts: Path = Path("/state dir/known_hosts")
    proxy_jump: str | None = None
    planned: Plan = field(default_factory=make_plan)
    hosts: list[Host] = field(default_factory=lambda: list(HOSTS))
    found: ClusterStatus = field(default_factory=make_status)
    failure: BaseException | None = None
    failed: tuple[FailedHost, ...] = ()
    dead: dict[str, HostConnectionError] = field(default_factory=dict)
    ends_hosts: bool = True
    created: list[str] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    observer: events.Observer = events.ignore
    unanswered: str = ""
    where: Location = field(default_factory=Location)
    factories_num: int = 2
    prepared: bool | None = None

    def check_management(self) -> None:
        if isinstance(self.failure, ClusterConfigurationError):
            raise self.failure

    def check_suspension(self, *, force: bool = False) -> list[Host]:
        self.calls.append(("check_suspension", force))
        self.check_management()
        return self.hosts

    def suspend(self, *, force: bool = False) -> None:
        self.calls.append(("suspend", force))

    def keep_factories(self, number: int) -> None:
        self.calls.append(("keep_factories", number))

    def remove_hosts(self, names: Iterable[str], *, force: bool, timeout: float) -> LaunchResult:
        self.calls.append(("remove_hosts", list(names), force, timeout))
        if self.failure:
            raise self.failure
        return self.run()

    def plan(self) -> Plan:
        return self.planned

    def run(self, **options: Any) -> LaunchResult:
        self.calls.append(("run", options))
        self.created += [host.name for host in self.planned.to_create]
        for host in self.planned.hosts:
            self.observer(events.StepEvent(host=host.name, step="create", status=events.Status.RUNNING))
            self.observer(events.StepEvent(host=host.name, step="create", status=events.Status.OK, seconds=1.25))
        if self.failure:
            raise self.failure
        self.observer(events.Notice(message="the first key seen was kept", warning=True))
        self.observer(
            events.StepEvent(
                host=HOSTS[1].name, step="flambe", status=events.Status.CHANGED, seconds=75, detail="installed 0.4.18"
            )
        )
        return LaunchResult(
            hosts=tuple(host for host in HOSTS if host not in [one.host for one in self.failed]),
            failed=self.failed,
            created=tuple(self.created),
            version=RELEASE,
            playbook={},
            ray=make_nodes(),
            seconds=83.4,
            log=Path("/log"),
        )

    def find_dead(self) -> dict[str, HostConnectionError]:
        return self.dead

    def replace_hosts(self, names: Iterable[str]) -> None:
        self.planned = make_plan(Action.REUSE)
        hosts = [host for host in self.hosts if host.name in names]
        self.planned = replace(
            self.planned,
            hosts=tuple(
                replace(one, action=Action.REPLACE) if one.host in hosts else one for one in self.planned.hosts
            ),
        )

    def status(self) -> ClusterStatus:
        return self.found

    def keep(self, seconds: float) -> dict[str, IdleState]:
        self.calls.append(("keep", seconds))
        if self.failure:
            raise self.failure
        state = IdleState(age=1.0, timeout=300.0, idle_since="2026-11-30T10:00:00Z", ends="2026-11-30T12:00:00Z")
        return {host.name: state for host in self.hosts}

    def attach_early(self, _started: object = None, *, head_only: bool = False) -> None:
        pass

    def prepare_launch(self) -> None:
        self.prepared = True

    def abandon_launch(self) -> None:
        self.prepared = False

    def record_access(self, _file: str) -> None:
        pass

    def find_hosts(self) -> list[Host]:
        return self.hosts

    @contextmanager
    def reserve(self, what: str) -> Iterator[Reservation]:
        self.calls.append(("reserve", what))
        reservation = Reservation(what, cluster=self.name)
        reservation.unanswered = self.unanswered
        yield reservation

    def location(self) -> Location:
        return self.where

    def check_termination(self) -> list[Host]:
        return self.hosts

    def terminate_instances(self) -> list[Host]:
        self.calls.append("terminate")
        return self.hosts

    def rollback_env(self) -> None:
        self.calls.append("rollback")

    def close(self) -> None:
        self.calls.append("close")
