"""Create instances: build the request, and send it so that no instance is created twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import api, guard, instances, tags
from flambe_ansible.ec2.errors import LabUnreachableError, ThrottledError, UnclearAnswerError
from flambe_ansible.ec2.images import Image
from flambe_ansible.ec2.instances import VISIBLE_SECONDS, EC2Instance
from flambe_ansible.errors import AWSError
from flambe_ansible.hosts import LIVE_STATES, HostState, Role
from flambe_ansible.journal import UNKNOWN, Creation, Journal, Stage

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

IO1_IOPS = 5000  # the value in flambé
RETRY_PAUSES = (1.0, 2.0, 5.0, 10.0)  # seconds before an unclear or throttled request is repeated
NOT_SHOWN_YET = ("InvalidGroup.NotFound", "InvalidKeyPair.NotFound")  # also the codes for a resource that is new
INSTANCES_ENDED = "IdempotentInstanceTerminated"  # the code for a token whose instances have been terminated
HINT_UNCLEAR = "it is unknown whether the hosts were created; launch again: the same request creates no host twice"
POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class InstanceSettings:
    """The settings of a cluster's instances.

    ``key_name``, ``security_group`` and ``subnet_id`` are "" if the cluster gets its own; ``resources`` completes them.
    """

    types: Mapping[Role, str]  # by role
    images: Mapping[Role, str | None]  # None is the default image
    key_name: str
    key: Path  # the private key of the key pair, on this machine
    security_group: str  # its id
    subnet_id: str
    volume_type: str  # gp2, gp3 or io1
    volume_size: int  # GB, of the root volume
    dedicated: bool  # run on dedicated hardware
    ending: frozenset[Role] = frozenset()  # the roles whose hosts power themselves off when they are idle
    ends_at: float = 0.0  # when the hosts power themselves off even if they are busy, since the epoch; 0 for never
    public_address: bool = False  # request public addresses, which the subnet does not assign by itself
    architectures: Sequence[str] = ("x86_64",)  # accepted ones, in EC2's words: x86_64, arm64
    more_types: Sequence[str] = ()  # of the factories, used in order if the first one has no room
    more_subnets: Sequence[str] = ()  # used in order if the first one has no room
    fewer_factories: bool = False  # fewer factories than wanted are accepted
    spot: Mapping[Role, str] = field(default_factory=dict)  # roles of Spot Instances, with the highest price or ""
    recipe: str = ""  # the digest of what the hosts get installed; a baked image that has it is used

    def list_types(self, role: Role) -> list[str]:
        """List the instance types of a role, in order."""
        return [self.types[role], *(self.more_types if role is Role.FACTORY else ())]

    @property
    def subnet_ids(self) -> list[str]:
        """The subnets, in order."""
        return [self.subnet_id, *self.more_subnets]

    @property
    def has_choices(self) -> bool:
        """Whether hosts of a role can be requested in more than one combination of type and subnet."""
        return bool(self.more_types or self.more_subnets)

    @property
    def flexible(self) -> frozenset[Role]:
        """The roles whose hosts can be created although the quota of their first type is too small."""
        return frozenset({Role.FACTORY}) if self.more_types or self.fewer_factories else frozenset()

    @property
    def volume(self) -> str:
        """A description of the root volume."""
        iops = f", {IO1_IOPS} IOPS" if self.volume_type == "io1" else ""
        return f"{self.volume_type}{iops}, {self.volume_size} GB, encrypted"


@dataclass(frozen=True, kw_only=True)
class SettingNames:
    """The caller's name of each setting that a message may be about; the attributes are those of the settings."""

    types: Mapping[Role, str]
    images: Mapping[Role, str]
    key_name: str
    key: str
    security_group: str
    subnet_id: str
    volume_size: str


def build_request(
    settings: InstanceSettings,
    image: Image,
    *,
    cluster: tags.ClusterTags,
    role: Role,
    indices: Sequence[int] = (0,),
    least: int | None = None,
) -> dict[str, Any]:
    """Build the RunInstances request for hosts of one role; it has no token yet.

    It creates all hosts, or as many as there is room for, but at least ``least`` (None: all), or none.
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
    if image.base and len(pairs) < tags.MAX_TAGS:
        pairs[tags.BASE] = image.base
    tag_list = [{"Key": key, "Value": value} for key, value in pairs.items()]
    kinds = ["instance", "volume", *(["spot-instances-request"] if role in settings.spot else [])]
    ending = settings.ending | settings.spot.keys()  # a one-time Spot Instance cannot be stopped
    request: dict[str, Any] = {
        "ImageId": image.id,
        "InstanceType": settings.types[role],
        "MinCount": len(indices) if least is None else least,
        "MaxCount": len(indices),
        **({"KeyName": settings.key_name} if settings.key_name else {}),
        **_build_network(settings),
        "BlockDeviceMappings": [{"DeviceName": image.root_device, "Ebs": volume}],
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        # Without an idle shutdown, a poweroff on the host keeps its disk, and a launch starts it again.
        "InstanceInitiatedShutdownBehavior": "terminate" if role in ending else "stop",
        "TagSpecifications": [{"ResourceType": kind, "Tags": tag_list} for kind in kinds],
        **_build_market(settings, role),
    }
    if role in settings.ending or settings.ends_at:
        seconds = guard.SECONDS if role in settings.ending else 0
        request["UserData"] = guard.write_user_data(seconds=seconds, ends_at=settings.ends_at)
    if settings.dedicated:
        request["Placement"] = {"Tenancy": "dedicated"}
    return request


def _build_market(settings: InstanceSettings, role: Role) -> dict[str, Any]:
    """Build the part of a request that is about Spot Instances: one request per instance, never repeated by AWS.

    AWS terminates a one-time instance when it interrupts it; it cannot be stopped.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotMarketOptions.html
    """
    if role not in settings.spot:
        return {}
    price = {"MaxPrice": settings.spot[role]} if settings.spot[role] else {}
    options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate", **price}
    return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}


def _build_network(settings: InstanceSettings) -> dict[str, Any]:
    """Build the part of a request that is about the network; public addresses need a network interface in it."""
    groups = [settings.security_group] if settings.security_group else []
    if not settings.public_address:
        return {"SubnetId": settings.subnet_id, **({"SecurityGroupIds": groups} if groups else {})}
    interface = {"DeviceIndex": 0, "SubnetId": settings.subnet_id, **({"Groups": groups} if groups else {})}
    return {"NetworkInterfaces": [{**interface, "AssociatePublicIpAddress": True, "DeleteOnTermination": True}]}


def rehearse(ec2: EC2Client, request: Mapping[str, Any]) -> None:
    """Send the request as a dry run; ``AWSError`` if AWS would refuse it."""
    try:
        api.run_instances(ec2, {**request, "DryRun": True})
    except AWSError as error:
        if error.code != "DryRunOperation":
            raise


def find_instances(
    ec2: EC2Client, cluster: tags.ClusterTags, journal: Journal, *, settle: bool = False
) -> list[EC2Instance]:
    """Find the cluster's live instances; wait for created instances that EC2 does not show yet.

    The instances of an unanswered request are recorded in the journal. With ``settle``, wait until the outcome of every
    request is known.
    """
    while True:
        found = instances.find(ec2, cluster, HostState)
        hidden = [one for one in journal.unfinished() if _is_hidden(one, found, journal, settle=settle)]
        if not hidden:
            return [instance for instance in found if instance.state in LIVE_STATES]
        time.sleep(POLL_SECONDS)


def create(
    ec2: EC2Client, journal: Journal, request: Mapping[str, Any], *, role: Role, tokens: set[str], sender: EC2Client
) -> list[EC2Instance]:
    """Create instances; repeating this after any failure creates no instance twice.

    The request is recorded in the journal, and its token added to ``tokens``, before ``sender`` sends it. After an
    unclear answer (``UnclearAnswerError``) the next launch repeats the request with the same token.
    """
    while True:
        creation = _find_or_open(ec2, journal, request, role=role)
        tokens.add(creation.token)
        try:
            made = _send(sender, {**request, "ClientToken": creation.token})
        except AWSError as error:
            if error.code != INSTANCES_ENDED:
                if not isinstance(error, UnclearAnswerError):
                    journal.close({creation.token}, f"refused: {error.code}")
                raise
        else:
            journal.answer(creation.token, [instance.id for instance in made])
            if all(instance.state in LIVE_STATES for instance in made):
                return made
        # An interrupted launch used this token, and its hosts have ended since: a new token is needed.
        journal.close({creation.token}, "ended")


def make_digest(request: Mapping[str, Any]) -> str:
    """Return the digest of a request."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def find_own(ec2: EC2Client, cluster: tags.ClusterTags, journal: Journal, tokens: set[str]) -> list[EC2Instance]:
    """Find the live instances that these tokens created, and wait for those that EC2 does not show yet."""
    unclear = any(creation.token in tokens for creation in journal.unfinished())
    live = find_instances(ec2, cluster, journal, settle=unclear)
    ids = {one for creation in journal.read() if creation.token in tokens for one in creation.ids}
    return [instance for instance in live if instance.token in tokens or instance.id in ids]


def _send(sender: EC2Client, request: Mapping[str, Any]) -> list[EC2Instance]:
    """Call RunInstances; repeat it with the same token while the answer is unclear or AWS throttles the account.

    It is also repeated while EC2 does not know a new security group or key pair yet.

    If one answer was unclear and none after it is clear, the error is that unclear answer.
    """
    unclear: UnclearAnswerError | None = None
    pauses = iter(RETRY_PAUSES)
    while True:
        try:
            return [instances.read(description) for description in api.run_instances(sender, request)]
        except AWSError as error:
            if not isinstance(error, (ThrottledError, UnclearAnswerError)) and error.code not in NOT_SHOWN_YET:
                raise
            if isinstance(error, UnclearAnswerError):
                error.hint = error.hint if isinstance(error, LabUnreachableError) else HINT_UNCLEAR
                unclear = error
            pause = next(pauses, None)
            if pause is None:
                raise unclear or error from error.__cause__
        time.sleep(pause)


def _find_or_open(ec2: EC2Client, journal: Journal, request: Mapping[str, Any], *, role: Role) -> Creation:
    """Return the journal's entry for this request: the unanswered one of an interrupted launch, or a new one."""
    digest = make_digest(request)
    for earlier in journal.unfinished():
        if earlier.role != role or earlier.stage is not Stage.ASKED:
            continue
        if earlier.digest == digest:
            return earlier
        _wait_for_outcome(ec2, journal, earlier, request)
    return journal.open(role=str(role), count=request["MaxCount"], digest=digest)


def _wait_for_outcome(ec2: EC2Client, journal: Journal, earlier: Creation, request: Mapping[str, Any]) -> None:
    """Wait until an unanswered request for different hosts can create none; ``AWSError`` if it did create some."""
    pairs = {tag["Key"]: tag["Value"] for tag in request["TagSpecifications"][0]["Tags"]}
    cluster = tags.ClusterTags(name=pairs[tags.CLUSTER], creator=pairs[tags.CREATOR])
    while True:
        found = instances.find(ec2, cluster, HostState)
        if not _is_hidden(earlier, found, journal, settle=True):
            break
        time.sleep(POLL_SECONDS)
    if any(instance.token == earlier.token and instance.state in LIVE_STATES for instance in found):
        raise AWSError(
            "hosts of an interrupted launch have just appeared",
            operation="RunInstances",
            hint="launch again: the cluster then includes these hosts",
        )


def _is_hidden(creation: Creation, found: Sequence[EC2Instance], journal: Journal, *, settle: bool) -> bool:
    """Return whether EC2 may have hosts of this creation that it does not show yet; update the journal."""
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
    return settle or creation.role == UNKNOWN
