"""The subnet, the security group and the key pair of an AWS cluster whose configuration has none.

The security group and the key pair are found by their tags, from any machine. A creation is recorded in a journal
before it is requested, so that ``remove`` waits for a resource that AWS does not show yet.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flambe_ansible.ec2 import api, caller, groups, keypairs, subnets
from flambe_ansible.ec2.caller import Network, UnknownAddressError
from flambe_ansible.ec2.errors import NO_CAPACITY, UnclearAnswerError
from flambe_ansible.ec2.instances import VISIBLE_SECONDS, Existing
from flambe_ansible.ec2.launching import InstanceSettings, SettingNames
from flambe_ansible.ec2.subnets import ChosenSubnet
from flambe_ansible.ec2.tags import ClusterTags
from flambe_ansible.errors import AWSError, ClusterConfigurationError, Problem
from flambe_ansible.hosts import Role
from flambe_ansible.journal import RESOURCES_FILE, Journal
from flambe_ansible.validation.keyfile import read_public_key

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import KeyPairInfoTypeDef, SecurityGroupTypeDef, SubnetTypeDef

T = TypeVar("T")

POLL_SECONDS = 1.0
GROUP, KEY_PAIR = "security group", "key pair"
SOURCES_FIELD = "ssh_sources"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What exists of the resources that new hosts need.

    Attributes:
        settings: The settings of new hosts, with the chosen subnet.
        subnet: The subnet of new hosts, if it was looked up.
        others: Alternatives to a chosen subnet, by zone; None if it is a configured one.
        group: The cluster's own security group.
        pair: The cluster's own key pair.
        complete: Whether nothing of it has to be created: no host is missing.
    """

    settings: InstanceSettings
    subnet: SubnetTypeDef | None = None
    others: Mapping[str, str] | None = None
    group: SecurityGroupTypeDef | None = None
    pair: KeyPairInfoTypeDef | None = None
    complete: bool = False


class OwnResources:
    """Finds, creates and removes the resources of one cluster.

    Args:
        ec2: Returns the client of EC2.
        cluster: Returns the cluster's tags.
        state_dir: Returns the cluster's state folder, which has the private key and the journal.
        names: The names of the settings, for messages.
    """

    def __init__(
        self,
        ec2: Callable[[], EC2Client],
        cluster: Callable[[], ClusterTags],
        state_dir: Callable[[], Path],
        names: SettingNames,
    ) -> None:
        self._get_ec2 = ec2
        self._get_cluster = cluster
        self._state_dir = state_dir
        self._names = names
        self._updated: tuple[str, Sequence[Network]] | None = None  # the group whose rules are up to date, its sources

    @property
    def key_file(self) -> Path:
        """The path of the private key."""
        return self._state_dir() / keypairs.KEY_FILE

    def look(self, settings: InstanceSettings, existing: Existing, missing: Mapping[Role, Sequence[int]]) -> Found:
        """Find what exists, and choose the subnet of missing hosts; change nothing.

        Raises:
            ClusterConfigurationError: There is no default subnet, or this machine does not have the private key.
        """
        if not missing:
            found = [] if settings.security_group else groups.find(self._ec2, self._cluster)
            return Found(settings=settings, group=next(iter(found), None), complete=True)
        chosen = None if settings.subnet_id else self._choose_subnet(settings, existing, missing)
        subnet = chosen.description if chosen else None
        group = pair = None
        if not settings.security_group:
            subnet = subnet or self._read_subnet(settings.subnet_id)
            group = next(iter(groups.find(self._ec2, self._cluster, subnet["VpcId"])), None) if subnet else None
        if not settings.key_name:
            pair = keypairs.find(self._ec2, self._cluster)
            self._check_key(pair)
        return Found(
            settings=replace(settings, subnet_id=chosen.id if chosen else settings.subnet_id),
            subnet=subnet,
            others=chosen.others if chosen else None,
            group=group,
            pair=pair,
        )

    def find_sources(
        self, found: Found, existing: Existing, *, configured: Collection[str], public: bool
    ) -> list[Network] | None:
        """Return the networks from which the cluster's own group lets SSH in; None if there is no such group.

        Args:
            found: What exists.
            existing: The existing hosts.
            configured: The networks in the configuration; without any, the address of this machine is used.
            public: Whether this machine connects to public addresses.

        Raises:
            ClusterConfigurationError: The address of this machine cannot be determined.
        """
        if found.settings.security_group or (found.complete and not found.group):
            return None
        if configured:
            return [ipaddress.ip_network(one, strict=False) for one in configured]
        addresses = [one.private_ip for one in existing.all if one.private_ip]
        if found.subnet:
            addresses.append(found.subnet["CidrBlock"].partition("/")[0])
        try:
            return [caller.find_public_address() if public else caller.find_local_address(addresses[0])]
        except UnknownAddressError as error:
            message = f"the address from which this machine connects is unknown: {error}"
            expected = f"{SOURCES_FIELD}, the networks from which SSH is allowed"
            raise make_error(SOURCES_FIELD, message, expected=expected) from error

    def describe(self, found: Found, sources: Sequence[Network] | None) -> dict[str, str]:
        """Describe the cluster's own resources, and what a launch changes of them."""
        rows, settings, name = {}, found.settings, self._cluster.resource_name
        if found.others is not None and found.subnet:
            kind = "the default subnet" if found.subnet.get("DefaultForAz") else "the subnet of the existing hosts"
            rows["subnet"] = f"{settings.subnet_id} ({kind} of {found.subnet['AvailabilityZone']})"
        if not settings.security_group and sources is not None:
            what = f"{found.group['GroupId']} ({name})" if found.group else f"{name}, to be created"
            rows[GROUP] = f"{what}: {_describe_rules(groups.compare(found.group, sources), found.group)}"
        if not settings.key_name and not found.complete:
            what = name if found.pair else f"{name}, to be created"
            rows[KEY_PAIR] = f"{what}; private key: {self.key_file}"
        return rows

    def make(self, found: Found, sources: Sequence[Network] | None) -> InstanceSettings:
        """Create what does not exist, update the rules of the group, and return the complete settings."""
        settings, ec2, cluster = found.settings, self._ec2, self._cluster
        if sources is not None:
            group = found.group
            if group is None and found.subnet:
                vpc = found.subnet["VpcId"]
                group = self._create(
                    GROUP,
                    partial(groups.create, ec2, cluster, vpc),
                    lambda: next(iter(groups.find(ec2, cluster, vpc)), None),
                )
            self.update_rules(group, sources)
            settings = replace(settings, security_group=group["GroupId"] if group else "")
        if not settings.key_name and not found.complete:
            pair = found.pair or self._create(
                KEY_PAIR, partial(keypairs.create, ec2, cluster, self.key_file), partial(keypairs.find, ec2, cluster)
            )
            self._check_key(pair)
            settings = replace(settings, key_name=cluster.resource_name, key=self.key_file)
        return settings

    def update_rules(self, group: SecurityGroupTypeDef | None, sources: Sequence[Network] | None) -> None:
        """Update the rules of the cluster's own group, once; repeated while EC2 does not know a new group yet."""
        if group is None or sources is None or self._updated == (group["GroupId"], sources):
            return
        changes, started = groups.compare(group, sources), time.monotonic()
        while changes:
            try:
                groups.change(self._ec2, group["GroupId"], changes)
                break
            except AWSError as error:
                if error.code != groups.NOT_FOUND or time.monotonic() - started > VISIBLE_SECONDS:
                    raise
            time.sleep(POLL_SECONDS)
        self._updated = (group["GroupId"], sources)

    def find_hint(self, found: Found, error: AWSError) -> str:
        """Return what to do if the zone of a chosen subnet has no capacity, or ""."""
        if not found.others or not found.subnet or not error.code.startswith(NO_CAPACITY):
            return ""
        choices = " or ".join(f"{subnet} ({zone})" for zone, subnet in sorted(found.others.items()))
        return f"no capacity in {found.subnet['AvailabilityZone']}: try {self._names.subnet_id}: {choices}"

    def remove(self) -> list[str]:
        """Delete everything that was created for the cluster; return it in words.

        The hosts must have ended. Calling it again after an interruption deletes the rest.
        """
        journal, removed = self._journal, []
        while any(one.age < VISIBLE_SECONDS and not self._exists(one.role) for one in journal.unfinished()):
            time.sleep(POLL_SECONDS)
        for group in groups.find(self._ec2, self._cluster):
            groups.delete(self._ec2, group["GroupId"])
            removed.append(f"{GROUP} {group['GroupId']}")
        if keypairs.find(self._ec2, self._cluster):
            api.delete_key_pair(self._ec2, self._cluster.resource_name)
            removed.append(f"{KEY_PAIR} {self._cluster.resource_name}")
        self.key_file.unlink(missing_ok=True)
        journal.close({creation.token for creation in journal.unfinished()}, "removed")
        return removed

    @property
    def _ec2(self) -> EC2Client:
        return self._get_ec2()

    @property
    def _cluster(self) -> ClusterTags:
        return self._get_cluster()

    @property
    def _journal(self) -> Journal:
        return Journal(self._state_dir(), RESOURCES_FILE)

    def _choose_subnet(
        self, settings: InstanceSettings, existing: Existing, missing: Mapping[Role, Sequence[int]]
    ) -> ChosenSubnet:
        types = {settings.types[role] for role in missing}
        near = next((one.subnet_id for one in existing.all if one.subnet_id), "")
        hosts = sum(map(len, missing.values()))
        chosen = subnets.choose(self._ec2, types, hosts=hosts, near=near)
        if chosen:
            return chosen
        region = self._ec2.meta.region_name
        raise make_error(
            self._names.subnet_id,
            f"{region} has no default subnet, and no {self._names.subnet_id} is set",
            expected=f"{self._names.subnet_id}, or a default VPC: aws ec2 create-default-vpc --region {region}",
        )

    def _read_subnet(self, subnet_id: str) -> SubnetTypeDef | None:
        """Read a configured subnet; None if it does not exist, which the checks report."""
        try:
            return api.describe_subnet(self._ec2, subnet_id)
        except AWSError as error:
            if not error.code.startswith("InvalidSubnet"):
                raise
            return None

    def _check_key(self, pair: KeyPairInfoTypeDef | None) -> None:
        """Check that this machine has the private key of the cluster's key pair."""
        if pair is None:
            return
        name, key = self._cluster.resource_name, self.key_file
        if not key.exists():
            problem = f"the key pair {name} of this cluster was made on another machine, and {key} does not exist"
        elif (public := " ".join(pair.get("PublicKey", "").split()[:2])) and public != read_public_key(key):
            problem = f"the key pair {name} of this cluster was made on another machine: its private key is not {key}"
        else:
            return
        expected = f"a copy of the file {keypairs.KEY_FILE} of that machine at this path (mode 0600)"
        raise make_error(self._names.key, problem, expected=expected)

    def _create(self, kind: str, create: Callable[[], str], find: Callable[[], T | None]) -> T:
        """Create a resource unless it exists; wait until AWS shows it, and return its description."""
        journal = self._journal
        creation = journal.open(role=kind, count=1, digest="")
        try:
            made = create()
        except AWSError as error:
            if not isinstance(error, UnclearAnswerError):
                journal.close({creation.token}, f"refused: {error.code}")
            raise
        while (found := find()) is None:
            if creation.age > VISIBLE_SECONDS:
                journal.close({creation.token}, "never shown")
                name = self._cluster.resource_name
                foreign = f"there is a {kind} {name} that was not made for this cluster"
                raise AWSError(
                    f"EC2 does not show the {kind} {made}" if made else foreign,
                    operation="Create",
                    hint="launch again" if made else f"delete or rename the {kind}, then launch again",
                )
            time.sleep(POLL_SECONDS)
        journal.close({creation.token}, "done")
        return found

    def _exists(self, kind: str) -> bool:
        if kind == GROUP:
            return bool(groups.find(self._ec2, self._cluster))
        return kind == KEY_PAIR and keypairs.find(self._ec2, self._cluster) is not None


def make_error(field: str, message: str, *, expected: str) -> ClusterConfigurationError:
    """Make the error for one setting."""
    problem = Problem(file="", line=0, column=0, message=message, expected=expected, field=field)
    return ClusterConfigurationError(
        str(problem).removeprefix(": "), problems=[problem], hint="change this, then launch again; nothing was created"
    )


def _describe_rules(changes: groups.RuleChanges, group: SecurityGroupTypeDef | None) -> str:
    if group is None:
        return f"SSH from {', '.join(map(str, changes.added))}; all traffic inside the group"
    parts = [f"SSH from {one} to be {word}" for word in ("added", "removed") for one in getattr(changes, word)]
    parts += ["traffic inside the group to be added"] if changes.connects else []
    return "; ".join(parts) or "unchanged"
