"""Stop a cluster's instances so that they can be started again: what prevents it, and the stop itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import alarms, api, instances
from flambe_ansible.ec2.instances import EC2Instance
from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.events import Observer, Status, StepEvent
from flambe_ansible.hosts import HostState

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_ec2.client import EC2Client

Named = Sequence[tuple[str, EC2Instance]]
STEP = "stop"


def check(ec2: EC2Client, named: Named, *, force: bool) -> None:
    """Check that instances can be stopped and started again without loss of data.

    A one-time Spot Instance cannot be stopped, nor one whose root volume is on an instance store. The data on other
    instance stores is lost, which ``force`` accepts.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Stop_Start.html

    Raises:
        ClusterConfigurationError: They cannot; it names the hosts.
    """
    for reason, found in (
        ("Spot Instances, which AWS cannot stop", [name for name, one in named if one.spot]),
        (
            "hosts on an instance store, which AWS cannot stop",
            [n for n, one in named if one.root_type == "instance-store"],
        ),
    ):
        if found:
            hint = "flambe-ans down CLUSTER terminates all hosts"
            message = f"{', '.join(found)}: {reason}; nothing was changed"
            raise ClusterConfigurationError(message, hint=hint)
    types = api.find_instance_types(ec2, sorted({one.type for _, one in named})) if named and not force else []
    stores = {str(info["InstanceType"]) for info in types if info.get("InstanceStorageSupported")}
    lost = [f"{name} ({one.type})" for name, one in named if one.type in stores]
    if lost:
        message = f"{', '.join(lost)}: a stop deletes the data on the instance store of this type; nothing was changed"
        raise ClusterConfigurationError(message, hint="if that data is not needed: flambe-ans suspend CLUSTER --force")


def stop(ec2: EC2Client, cloudwatch: CloudWatchClient, named: Named, observer: Observer) -> None:
    """Stop instances and wait until they are stopped; then remove their alarms, which a start sets again."""
    began = time.monotonic()
    names = {one.id: name for name, one in named}
    pending = [one.id for _, one in named if one.state is HostState.PENDING]
    if pending:  # an instance that is pending cannot be stopped
        instances.wait_for(ec2, pending, HostState.RUNNING)
    running = [one for _, one in named if one.state in (HostState.RUNNING, HostState.PENDING)]
    for one in running:
        observer(StepEvent(host=names[one.id], step=STEP, status=Status.RUNNING))
    if running:
        api.stop_instances(ec2, [one.id for one in running])

    def report(instance: EC2Instance) -> None:
        seconds = time.monotonic() - began
        observer(StepEvent(host=names[instance.id], step=STEP, status=Status.CHANGED, seconds=seconds))

    waiting = [one.id for _, one in named if one.state is not HostState.STOPPED]
    timeout = instances.wait_seconds(one.type for _, one in named)
    instances.wait_for(ec2, waiting, HostState.STOPPED, timeout=timeout, on_arrival=report)
    alarms.remove(cloudwatch, list(names))
