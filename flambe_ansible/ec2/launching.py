"""Creating instances: the request, and asking for it so that nothing is ever created twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import api, instances, tags
from flambe_ansible.ec2.errors import UnclearAnswerError
from flambe_ansible.ec2.images import Image
from flambe_ansible.ec2.instances import VISIBLE_SECONDS, Instance
from flambe_ansible.errors import AWSError
from flambe_ansible.hosts import LIVE_STATES, HostState, Role
from flambe_ansible.journal import Creation, Journal, Stage

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

IO1_IOPS = 5000  # flambé's number
RETRY_PAUSES = (2.0, 5.0, 10.0)  # seconds before an unclear request is repeated
POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the hosts of a cluster are made with, as the user wants it.

    Attributes:
        types: The instance type of each role.
        images: The image of each role, or None for the default.
        key_name: The key pair.
        security_group: The security group's id.
        subnet_id: The subnet.
        volume_type: ``gp2``, ``gp3`` or ``io1``.
        volume_size: The root volume's size in GB.
        dedicated: Whether the hosts run on hardware of this account alone.
    """

    types: Mapping[Role, str]
    images: Mapping[Role, str | None]
    key_name: str
    security_group: str
    subnet_id: str
    volume_type: str
    volume_size: int
    dedicated: bool

    @property
    def volume(self) -> str:
        """The root volume in words."""
        iops = f", {IO1_IOPS} IOPS" if self.volume_type == "io1" else ""
        return f"{self.volume_type}{iops}, {self.volume_size} GB, encrypted"


def build_request(
    settings: Settings, image: Image, *, cluster: tags.ClusterTags, role: Role, indices: Sequence[int] = (0,)
) -> dict[str, Any]:
    """Build the RunInstances request for hosts of one role, all of them or none; it has no token yet.

    Args:
        settings: What the hosts are made with.
        image: Their image.
        cluster: The cluster's tags.
        role: Their part.
        indices: The numbers they will have.
    """
    volume: dict[str, Any] = {
        "VolumeType": settings.volume_type,
        "VolumeSize": settings.volume_size,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    if settings.volume_type == "io1":
        volume["Iops"] = IO1_IOPS
    pairs = cluster.build(role, tags.initial_name(cluster.name, role, indices))
    tag_list = [{"Key": key, "Value": value} for key, value in pairs.items()]
    request: dict[str, Any] = {
        "ImageId": image.id,
        "InstanceType": settings.types[role],
        "MinCount": len(indices),
        "MaxCount": len(indices),
        "KeyName": settings.key_name,
        "SubnetId": settings.subnet_id,
        "SecurityGroupIds": [settings.security_group],
        "BlockDeviceMappings": [{"DeviceName": image.root_device, "Ebs": volume}],
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "InstanceInitiatedShutdownBehavior": "stop",  # a poweroff on the host loses nothing; a launch starts it again
        "TagSpecifications": [{"ResourceType": kind, "Tags": tag_list} for kind in ("instance", "volume")],
    }
    if settings.dedicated:
        request["Placement"] = {"Tenancy": "dedicated"}
    return request


def rehearse(ec2: EC2Client, request: Mapping[str, Any]) -> None:
    """Ask AWS whether it would do this, without doing it.

    Raises:
        AWSError: It would not: a permission is missing, or the request is wrong.
    """
    try:
        api.run_instances(ec2, {**request, "DryRun": True})
    except AWSError as error:
        if error.code != "DryRunOperation":
            raise


def find_instances(
    ec2: EC2Client, cluster: tags.ClusterTags, journal: Journal, *, settle: bool = False
) -> list[Instance]:
    """Find the cluster's live instances, those included that EC2 was asked for but does not show yet.

    Args:
        ec2: The client.
        cluster: The cluster's tags.
        journal: Its journal; what is found of a request that was never answered is written into it.
        settle: Wait until no request is left of which nobody knows whether it was carried out.
    """
    while True:
        found = instances.find(ec2, cluster, HostState)
        hidden = [one for one in journal.unfinished() if _is_hidden(one, found, journal, settle=settle)]
        if not hidden:
            return [instance for instance in found if instance.state in LIVE_STATES]
        time.sleep(POLL_SECONDS)


def create(
    ec2: EC2Client, journal: Journal, request: Mapping[str, Any], *, role: Role, tokens: set[str]
) -> list[Instance]:
    """Create instances; repeating this after any failure creates none twice.

    Args:
        ec2: The client.
        journal: The cluster's journal, which knows the request before AWS does.
        request: What ``build_request`` made.
        role: The hosts' part.
        tokens: The tokens that were used are added here, before each call.

    Raises:
        AWSError: AWS refused, and created nothing, or never gave a clear answer; then the next launch asks again
            with the same token.
    """
    creation = _take_up(ec2, journal, request, role=role)
    tokens.add(creation.token)
    try:
        made = _ask(ec2, {**request, "ClientToken": creation.token})
    except UnclearAnswerError:
        raise
    except AWSError as error:
        journal.close({creation.token}, f"refused: {error.code}")
        raise
    journal.answer(creation.token, [instance.id for instance in made])
    if any(instance.state not in LIVE_STATES for instance in made):
        # The token was used by a launch that was killed, and its hosts have ended since.
        journal.close({creation.token}, "ended")
        return create(ec2, journal, request, role=role, tokens=tokens)
    return made


def make_digest(request: Mapping[str, Any]) -> str:
    """Return what tells a request from one for other hosts."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def find_own(ec2: EC2Client, cluster: tags.ClusterTags, journal: Journal, tokens: set[str]) -> list[Instance]:
    """Find the live instances that these tokens created, waiting for those that EC2 does not show yet."""
    unclear = any(creation.token in tokens for creation in journal.unfinished())
    live = find_instances(ec2, cluster, journal, settle=unclear)
    ids = {one for creation in journal.read() if creation.token in tokens for one in creation.ids}
    return [instance for instance in live if instance.token in tokens or instance.id in ids]


def _ask(ec2: EC2Client, request: Mapping[str, Any]) -> list[Instance]:
    """Call RunInstances, again with the same token where the answer is unclear."""
    for pause in RETRY_PAUSES:
        try:
            return [instances.read(description) for description in api.run_instances(ec2, request)]
        except UnclearAnswerError:
            time.sleep(pause)
    try:
        return [instances.read(description) for description in api.run_instances(ec2, request)]
    except UnclearAnswerError as error:
        error.hint = (
            "nobody knows whether the hosts were created; 'flambe-ans launch' asks again, and creates none twice"
        )
        raise


def _take_up(ec2: EC2Client, journal: Journal, request: Mapping[str, Any], *, role: Role) -> Creation:
    """Return the creation that stands for this request: the unanswered one of a killed launch, or a new one."""
    digest = make_digest(request)
    for earlier in journal.unfinished():
        if earlier.role != role or earlier.stage is not Stage.ASKED:
            continue
        if earlier.digest == digest:
            return earlier
        _wait_out(ec2, journal, earlier, request)
    return journal.open(role=str(role), count=request["MaxCount"], digest=digest)


def _wait_out(ec2: EC2Client, journal: Journal, earlier: Creation, request: Mapping[str, Any]) -> None:
    """Wait until it is sure that an unanswered request for other hosts created nothing.

    Raises:
        AWSError: It did create hosts; a new launch will find them.
    """
    pairs = {tag["Key"]: tag["Value"] for tag in request["TagSpecifications"][0]["Tags"]}
    cluster = tags.ClusterTags(name=pairs[tags.CLUSTER], creator=pairs[tags.CREATOR])
    while True:
        found = instances.find(ec2, cluster, HostState)
        if not _is_hidden(earlier, found, journal, settle=True):
            break
        time.sleep(POLL_SECONDS)
    if any(instance.token == earlier.token and instance.state in LIVE_STATES for instance in found):
        raise AWSError(
            "hosts that an interrupted launch asked for have just appeared",
            operation="RunInstances",
            hint="run 'flambe-ans launch' again: it takes them up",
        )


def _is_hidden(creation: Creation, found: Sequence[Instance], journal: Journal, *, settle: bool) -> bool:
    """Tell whether EC2 may have hosts of this creation that it does not show; write down what is known now."""
    made = [one for one in found if one.token == creation.token or one.id in creation.ids]
    young = creation.age < VISIBLE_SECONDS
    if creation.stage is Stage.ANSWERED:
        return young and len(made) < len(creation.ids)
    if made:
        journal.answer(creation.token, [instance.id for instance in made])
        return False
    if not young:
        journal.close({creation.token}, "never created")
        return False
    return settle
