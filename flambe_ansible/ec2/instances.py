"""Find a cluster's instances, wait for them, and terminate them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import api, tags
from flambe_ansible.errors import AWSError, ClusterError
from flambe_ansible.hosts import LIVE_STATES, SLOW_TYPE, Host, HostState, Role, factory_name, orchestrator_name

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

POLL_SECONDS = 1.0
VISIBLE_SECONDS = 90.0  # the time EC2 may need until it shows a new instance
WAIT_SECONDS = 600.0
SLOW_WAIT_SECONDS = 2400.0
LONG_AGO = datetime.min.replace(tzinfo=UTC)
IDS_PER_CALL = 200  # values of one filter


@dataclass(frozen=True, kw_only=True)
class EC2Instance:
    """One EC2 instance."""

    id: str
    state: HostState
    role: Role
    name: str = ""  # its ``Name`` tag
    tags: dict[str, str] = field(default_factory=dict)
    type: str = ""
    image: str = ""  # its id
    key_name: str = ""
    subnet_id: str = ""
    zone: str = ""
    groups: tuple[str, ...] = ()  # the ids of its security groups
    dedicated: bool = False  # runs on dedicated hardware
    spot: bool = False
    private_ip: str = ""  # in the subnet
    public_ip: str | None = None
    launched: datetime = LONG_AGO  # the time of its last start
    order: int = 0  # its index in the request that created it
    token: str = ""  # the client token of that request
    volumes: tuple[str, ...] = ()  # the ids of all attached ones
    root_volume: str = ""  # its id
    reason: str = ""  # AWS's reason for its last change of state
    reason_code: str = ""  # the code of that reason
    root_type: str = ""  # ebs or instance-store


@dataclass(frozen=True)
class Existing:
    """The existing instances of a cluster; the factories by index."""

    orchestrator: EC2Instance | None
    factories: dict[int, EC2Instance]

    @property
    def all(self) -> list[EC2Instance]:
        """The orchestrator, if there is one, then the factories."""
        return ([self.orchestrator] if self.orchestrator else []) + list(self.factories.values())

    def named(self, cluster: str) -> list[tuple[str, EC2Instance]]:
        """Pair each instance with its host's name."""
        first = [(orchestrator_name(cluster), self.orchestrator)] if self.orchestrator else []
        return first + [(factory_name(cluster, index), instance) for index, instance in self.factories.items()]


def read(description: InstanceTypeDef) -> EC2Instance:
    """Read an instance from the output of DescribeInstances or RunInstances."""
    found = {tag["Key"]: tag["Value"] for tag in description.get("Tags", [])}
    reason = description.get("StateReason", {})
    attached = {
        mapping.get("DeviceName", ""): mapping["Ebs"]["VolumeId"]
        for mapping in description.get("BlockDeviceMappings", [])
        if mapping.get("Ebs", {}).get("VolumeId")
    }
    return EC2Instance(
        id=description["InstanceId"],
        state=HostState(description["State"]["Name"]),
        role=Role(found.get(tags.ROLE, Role.FACTORY)),
        name=found.get(tags.NAME, ""),
        tags=found,
        type=str(description.get("InstanceType", "")),
        image=description.get("ImageId", ""),
        key_name=description.get("KeyName", ""),
        subnet_id=description.get("SubnetId", ""),
        zone=description.get("Placement", {}).get("AvailabilityZone", ""),
        groups=tuple(one["GroupId"] for one in description.get("SecurityGroups", [])),
        dedicated=description.get("Placement", {}).get("Tenancy", "default") != "default",
        spot=description.get("InstanceLifecycle") == "spot",
        private_ip=description.get("PrivateIpAddress", ""),
        public_ip=description.get("PublicIpAddress") or None,
        launched=description.get("LaunchTime", LONG_AGO),
        order=description.get("AmiLaunchIndex", 0),
        token=description.get("ClientToken", ""),
        volumes=tuple(attached.values()),
        root_volume=attached.get(description.get("RootDeviceName", ""), ""),
        reason_code=reason.get("Code", ""),
        root_type=str(description.get("RootDeviceType", "")),
        reason=f"{reason.get('Message', '')} {description.get('StateTransitionReason', '')}".strip(),
    )


def find(ec2: EC2Client, cluster: tags.ClusterTags, states: Iterable[HostState] = LIVE_STATES) -> list[EC2Instance]:
    """Find all instances of a cluster that are in one of these states, the oldest first."""
    filters = {**cluster.filters, "instance-state-name": [str(state) for state in states]}
    found = [read(description) for description in api.describe_instances(ec2, filters)]
    own = [instance for instance in found if cluster.matches(instance.tags)]
    return sorted(own, key=lambda instance: (instance.launched, instance.order, instance.id))


def arrange(cluster: str, found: Sequence[EC2Instance]) -> Existing:
    """Find the orchestrator, and assign each factory (the oldest first) its index."""
    heads = [instance for instance in found if instance.role is Role.ORCHESTRATOR]
    if len(heads) > 1:
        ids = " and ".join(instance.id for instance in heads)
        raise ClusterError(
            f"cluster {cluster} has {len(heads)} orchestrators with the same tags: {ids}",
            hint="terminate the one that you do not need, then try again; flambe-ans down CLUSTER terminates all hosts",
        )
    factories = [instance for instance in found if instance.role is Role.FACTORY]
    indices = tags.assign_indices(cluster, [instance.name for instance in factories])
    by_index = dict(sorted(zip(indices, factories, strict=True)))
    return Existing(heads[0] if heads else None, by_index)


def to_host(instance: EC2Instance, *, name: str, index: int = 0, use_public: bool = True) -> Host:
    """Make the host of an instance; without a public address, the connection uses the private one."""
    return Host(
        name=name,
        role=instance.role,
        index=index,
        state=instance.state,
        private_ip=instance.private_ip,
        public_ip=instance.public_ip,
        address=(instance.public_ip if use_public else None) or instance.private_ip,
        instance_id=instance.id,
        instance_type=instance.type,
        started=instance.launched.timestamp() if instance.launched > LONG_AGO else 0.0,
        zone=instance.zone,
        spot=instance.spot,
        reason=instance.reason_code,
        tags=instance.tags,
    )


def describe(ec2: EC2Client, ids: Sequence[str]) -> dict[str, EC2Instance]:
    """Return the instances with these ids, by id; ids that EC2 does not show (yet) are left out."""
    found: dict[str, EC2Instance] = {}
    for start in range(0, len(ids), IDS_PER_CALL):
        chunk = list(ids[start : start + IDS_PER_CALL])
        for description in api.describe_instances(ec2, {"instance-id": chunk}):
            found[description["InstanceId"]] = read(description)
    return found


def wait_seconds(instance_types: Iterable[str]) -> float:
    """Return how long instances of these types may need until they run."""
    return SLOW_WAIT_SECONDS if any(map(SLOW_TYPE.match, instance_types)) else WAIT_SECONDS


def wait_for(
    ec2: EC2Client,
    ids: Sequence[str],
    state: HostState,
    *,
    timeout: float = WAIT_SECONDS,
    on_arrival: Callable[[EC2Instance], None] = lambda _instance: None,
) -> dict[str, EC2Instance]:
    """Wait until all instances are in a state; ``on_arrival`` is called once for each instance."""
    started, arrived, known = time.monotonic(), dict[str, EC2Instance](), set[str]()
    while True:
        waiting = [one for one in ids if one not in arrived]
        seen = describe(ec2, waiting)
        known.update(seen)
        elapsed = time.monotonic() - started
        missing = [one for one in waiting if one not in seen and (one in known or elapsed > VISIBLE_SECONDS)]
        if state is HostState.TERMINATED:  # EC2 stops showing ended instances
            seen |= {one: EC2Instance(id=one, state=state, role=Role.FACTORY) for one in missing}
        else:
            _check_startable(seen, missing)
        for instance in seen.values():
            if instance.state is state:
                arrived[instance.id] = instance
                on_arrival(instance)
        if len(arrived) == len(set(ids)):
            return arrived
        if elapsed > timeout:
            late = {one: str(seen[one].state) if one in seen else "unknown" for one in waiting if one not in arrived}
            raise _make_timeout(late, state=state, timeout=timeout)
        time.sleep(POLL_SECONDS)


def terminate(ec2: EC2Client, ids: Sequence[str]) -> None:
    """Terminate instances and wait until they have ended."""
    if not ids:
        return
    deadline = time.monotonic() + VISIBLE_SECONDS
    while True:
        try:
            api.terminate_instances(ec2, ids)
            break
        except AWSError as error:  # EC2 may not show a new instance yet
            if error.code != "InvalidInstanceID.NotFound" or time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)
    wait_for(ec2, ids, HostState.TERMINATED)


def _check_startable(seen: dict[str, EC2Instance], missing: Sequence[str]) -> None:
    """Raise an error if an instance cannot reach the state that is waited for."""
    for instance in seen.values():
        if instance.state in (HostState.SHUTTING_DOWN, HostState.TERMINATED):
            raise AWSError(
                f"instance {instance.id} ({instance.name}) ended during its start: "
                f"{instance.reason or 'AWS gives no reason'}",
                operation="DescribeInstances",
                code="InstanceTerminated",
                hint="usual causes are the image, the volume, its encryption key, or a limit of the account; "
                "launch again to replace the instance",
            )
    if missing:
        raise AWSError(
            f"EC2 no longer shows {', '.join(missing)}",
            operation="DescribeInstances",
            code="InvalidInstanceID.NotFound",
            hint="check the instances in the EC2 console, then launch again",
        )


def _make_timeout(late: dict[str, str], *, state: HostState, timeout: float) -> AWSError:
    """Make the error for the instances that did not reach the state in time."""
    states = ", ".join(f"{one} is {current}" for one, current in late.items())
    return AWSError(
        f"instances are not {state} after {timeout:.0f} s: {states}",
        operation="DescribeInstances",
        hint="check them in the EC2 console, then launch again to continue",
    )
