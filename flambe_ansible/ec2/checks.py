"""Check everything that a creation needs before anything is created; read-only, all problems at once."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import api, baked, quotas, rules
from flambe_ansible.ec2.choices import Choice, combine
from flambe_ansible.ec2.costs import list_costs
from flambe_ansible.ec2.errors import is_denied
from flambe_ansible.ec2.launching import InstanceSettings, SettingNames
from flambe_ansible.ec2.quotas import Demand
from flambe_ansible.ec2.role_checks import RoleChecks, TypeResult, find_closest, look_up
from flambe_ansible.errors import AWSError, ClusterConfigurationError, Problem
from flambe_ansible.findings import Finding, note_denied
from flambe_ansible.findings import make_problem as _problem
from flambe_ansible.hosts import Role
from flambe_ansible.validation.keyfile import read_public_key

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import SubnetTypeDef
    from mypy_boto3_ssm.client import SSMClient

UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104 # no address to listen on
OWN = "one that belongs to the cluster"
OUTSIDE = "192.0.2.1"  # an address of no network (RFC 5737)


@dataclass(frozen=True)
class Checked:
    """The result of the checks.

    Attributes:
        choices: The combinations of type and subnet for each role's new hosts, in order.
        findings: The result of each check.
        public: Whether this machine connects to public addresses of the new hosts.
    """

    choices: Mapping[Role, Sequence[Choice]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    public: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user."""
        return tuple(note for one in self.findings for note in one.notes)

    def require(self) -> Checked:
        """Return this result if no check failed.

        Raises:
            ClusterConfigurationError: All problems; each has the caller's name of its setting.
        """
        problems = list(dict.fromkeys(problem for one in self.findings for problem in one.problems))
        if problems:
            message = "\n".join(map(str, problems))
            raise ClusterConfigurationError(
                message, problems=problems, hint="change this, then launch again; nothing was created"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a cluster needs of its network and hosts.

    Attributes:
        public: Whether this machine connects to public addresses.
        connected: Whether the cluster does not work unless its hosts connect to each other.
        capability: The highest CUDA compute capability that the factories' GPUs may have; None is no limit.
        remedy: How to use types with newer GPUs, in words.
        on_aws: Whether hosts run on AWS: they cost money, and need a route to the internet.
    """

    public: bool
    connected: bool
    capability: float | None
    remedy: str = ""
    on_aws: bool = True


def examine(
    ec2: EC2Client,
    ssm: SSMClient,
    service_quotas: Any,
    settings: InstanceSettings,
    demand: Demand,
    *,
    names: SettingNames,
    needs: Needs,
) -> Checked:
    """Check that hosts can be created and started with these settings; only the roles to create are checked.

    Args:
        ec2: The client of EC2.
        ssm: The client of SSM.
        service_quotas: The client of Service Quotas.
        settings: The settings.
        demand: The hosts to create and start.
        names: The caller's names of the settings, for messages.
        needs: What else the cluster needs.

    Raises:
        AWSError: A call failed, which leaves unknown whether hosts can be created.
    """
    checks = _Checks(ec2, settings, names, needs)
    types = {role: settings.list_types(role) for role in Role}
    with ThreadPoolExecutor(4) as pool:
        vcpus = pool.submit(checks.check_quotas, service_quotas, types, demand)
        if not demand.counts:
            return Checked(findings=tuple(vcpus.result()))
        prepared = pool.submit(baked.find_all, ec2, recipe=settings.recipe) if settings.recipe else None
        subnets, problems = checks.check_subnets(sum(demand.counts.values()))
        zones = list(dict.fromkeys(subnet["AvailabilityZone"] for subnet in subnets))
        group = pool.submit(checks.check_security_group, subnets[0] if subnets else None)
        key = pool.submit(checks.check_key)
        images = prepared.result() if prepared else []
        roles = {
            role: RoleChecks(ec2, ssm, settings, names, role, _limit(needs, role), needs.remedy, images)
            for role in demand.counts
        }
        tasks = {role: pool.submit(one.check_types, zones) for role, one in roles.items()}
    networks = {subnet["SubnetId"]: checks.check_public_addresses(subnet) for subnet in subnets}
    requests = {subnet_id: requested for subnet_id, (_, requested) in networks.items()}
    findings = [
        _describe_subnets(subnets, problems),
        *(finding for finding, _ in networks.values()),
        _make_finding("security group", settings.security_group or OWN, *group.result()),
        _make_finding("key pair", settings.key_name or OWN, key.result()),
    ]
    found: dict[Role, tuple[Choice, ...]] = {}
    for role, task in tasks.items():
        results = task.result()
        found[role] = combine(results, subnets, public=requests)
        findings += [_describe_type(role, kind, result) for kind, result in results.items()]
    kinds = [kind for role in demand.counts for kind in types[role]]
    findings += [_describe_costs(kinds, settings)] if needs.on_aws else []
    public = any(requests[one["SubnetId"]] or one.get("MapPublicIpOnLaunch") for one in subnets)
    return Checked(choices=found, findings=(*findings, *vcpus.result()), public=needs.public and public)


def _limit(needs: Needs, role: Role) -> float | None:
    return needs.capability if role is Role.FACTORY else None


def _describe_subnets(subnets: Sequence[SubnetTypeDef], problems: Sequence[Problem]) -> Finding:
    place = ", ".join(f"{one['SubnetId']} in {one['AvailabilityZone']}" for one in subnets)
    return _make_finding("subnet", place, problems)


def _describe_costs(kinds: Sequence[str], settings: InstanceSettings) -> Finding:
    return Finding(check="costs", notes=tuple(list_costs(kinds, dedicated=settings.dedicated)))


def _describe_type(role: Role, kind: str, result: TypeResult) -> Finding:
    fact = f"{kind}, {result.image.id} ({result.image.origin})" if result.image else ""
    return _make_finding(str(role).lower(), fact, result.problems, result.notes)


def examine_route(ec2: EC2Client, subnet_id: str) -> Finding:
    """Check that a subnet has a route to the internet, from which hosts install packages."""
    check = "internet route"
    try:
        route = _find_default_route(ec2, api.describe_subnet(ec2, subnet_id))
    except AWSError as error:
        if not is_denied(error):
            raise
        return note_denied(check, error.operation)
    if route:
        return Finding(check=check, fact=f"subnet {subnet_id}: {route}")
    note = f"subnet {subnet_id} has no route to the internet: hosts install packages only from mirrors that they reach"
    return Finding(check=check, notes=(note,), remedy="use a subnet with a route to an internet or NAT gateway")


def _make_finding(check: str, fact: str, problems: Sequence[Problem], notes: Sequence[str] = ()) -> Finding:
    return Finding(check=check, fact=fact, problems=tuple(problems), notes=tuple(notes))


@dataclass(frozen=True)
class _Checks:
    """The single checks; each returns the problems that it found."""

    ec2: EC2Client
    settings: InstanceSettings
    names: SettingNames
    needs: Needs

    def check_quotas(
        self, service_quotas: Any, types: Mapping[Role, Sequence[str]], demand: Demand
    ) -> Sequence[Finding]:
        """Check that the account's quotas allow the hosts."""
        spot, flexible = self.settings.spot, self.settings.flexible
        return quotas.check(self.ec2, service_quotas, types, demand, names=self.names, spot=spot, flexible=flexible)

    def check_subnets(self, count: int) -> tuple[list[SubnetTypeDef], list[Problem]]:
        """Check that the subnets exist in one VPC, and that a single one has enough free addresses for all hosts."""
        found: list[SubnetTypeDef] = []
        problems: list[Problem] = []
        for subnet_id in self.settings.subnet_ids:
            subnet, flaws = self._check_subnet(subnet_id, 1 if self.settings.more_subnets else count)
            problems += flaws
            if subnet and found and subnet.get("VpcId") != found[0].get("VpcId"):
                first = f"subnet {found[0]['SubnetId']} in {found[0].get('VpcId')}"
                message = f"subnet {subnet_id} is in {subnet.get('VpcId')}, {first}"
                problems.append(_problem(self.names.subnet_id, message, expected="subnets of one VPC"))
            elif subnet:
                found.append(subnet)
        return found, problems

    def _check_subnet(self, subnet_id: str, count: int) -> tuple[SubnetTypeDef | None, list[Problem]]:
        """Check that a subnet exists and has enough free addresses."""
        name = self.names.subnet_id
        subnet, problems = look_up(lambda: api.describe_subnet(self.ec2, subnet_id), name, subnet_id)
        if subnet and subnet.get("Ipv6Native"):
            message = f"subnet {subnet_id} has IPv6 addresses only"
            return None, [_problem(name, message, expected="a subnet with IPv4 addresses")]
        if subnet and subnet.get("AvailableIpAddressCount", count) < count:
            left = subnet["AvailableIpAddressCount"]
            message = f"subnet {subnet_id} has {left} free addresses, {count} hosts are to be created"
            problems.append(_problem(name, message, expected="a subnet with more free addresses"))
        return subnet, problems

    def check_public_addresses(self, subnet: SubnetTypeDef) -> tuple[Finding, bool]:
        """Check how this machine reaches the hosts; the second value is whether they must request public addresses."""
        check, subnet_id = "public addresses", subnet["SubnetId"]
        if not self.needs.public:
            return Finding(check=check, fact="not used: use_public is false"), False
        if subnet.get("MapPublicIpOnLaunch"):
            return Finding(check=check, fact=f"assigned by subnet {subnet_id}"), False
        requested = self.has_internet_gateway(subnet)
        use = "the hosts request them" if requested else "private addresses will be used"
        return Finding(check=check, notes=(f"subnet {subnet_id} assigns no public addresses: {use}",)), requested

    def has_internet_gateway(self, subnet: SubnetTypeDef) -> bool:
        """Return whether a subnet routes to an internet gateway; False if this account may not read the routes.

        https://docs.aws.amazon.com/vpc/latest/userguide/configure-subnets.html (public subnets)
        """
        try:
            return _find_default_route(self.ec2, subnet).startswith("igw-")
        except AWSError as error:
            if not is_denied(error):
                raise
            return False

    def check_security_group(self, subnet: SubnetTypeDef | None) -> tuple[list[Problem], list[str]]:
        """Check that the security group exists in the subnet's VPC and has the rules that hosts need."""
        name, group_id = self.names.security_group, self.settings.security_group
        if not group_id:
            return [], []
        group, problems = look_up(lambda: api.describe_security_group(self.ec2, group_id), name, group_id)
        notes: list[str] = []
        if not group or not subnet:
            return problems, notes
        if group.get("VpcId") != subnet.get("VpcId"):
            message = f"security group {group_id} is in {group.get('VpcId')}, the subnet in {subnet.get('VpcId')}"
            problems.append(_problem(name, message, expected="a security group of the subnet's VPC"))
            return problems, notes
        sources = rules.find_ssh_sources(group)
        if not sources:
            message = f"security group {group_id} has no rule that lets SSH in (TCP port 22, IPv4)"
            problems.append(_problem(name, message, expected="an inbound rule for port 22 from this machine"))
        elif not sources.include(_find_own_address(public=self.needs.public)):
            notes.append(f"security group {group_id} lets SSH in only from {sources}; connect from there")
        if not rules.connects_members(group, subnet["CidrBlock"]):
            message = f"security group {group_id} does not let its members connect to each other"
            if self.needs.connected:
                expected = "an inbound rule for all traffic whose source is the group itself"
                problems.append(_problem(name, message, expected=expected))
            else:
                notes.append(message)
        return problems, notes

    def check_key(self) -> list[Problem]:
        """Check that the key pair exists, and that it is the one of the private key."""
        key_name = self.settings.key_name
        if not key_name:
            return []
        existing = {pair.get("KeyName", ""): pair for pair in api.describe_key_pairs(self.ec2)}
        if key_name in existing:
            return self._compare_keys(existing[key_name].get("PublicKey", ""))
        message = f"there is no key pair {key_name} in {self.ec2.meta.region_name}"
        expected = "the name of a key pair of the region"
        suggestion = find_closest(key_name, existing)
        return [_problem(self.names.key_name, message, expected=expected, suggestion=suggestion)]

    def _compare_keys(self, public_key: str) -> list[Problem]:
        """Compare the key pair's public key with the private key, if both can be read."""
        expected, found = " ".join(public_key.split()[:2]), read_public_key(self.settings.key)
        if not expected or not found or expected == found:
            return []
        message = f"{self.settings.key} ({_fingerprint(found)}) is not the private key of the key pair "
        message += f"{self.settings.key_name} ({_fingerprint(expected)})"
        return [_problem(self.names.key, message, expected="the private key of this key pair, or another key pair")]


def _find_default_route(ec2: EC2Client, subnet: SubnetTypeDef) -> str:
    """Return the id of the gateway to which a subnet sends what is for the internet; "" if there is none.

    https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Route_Tables.html
    """
    tables = api.describe_route_tables(ec2, {"association.subnet-id": [subnet["SubnetId"]]})
    if not tables:
        main = {"vpc-id": [subnet["VpcId"]], "association.main": ["true"]}
        tables = api.describe_route_tables(ec2, main)
    routes = [route for table in tables for route in table["Routes"]]
    default = next((route for route in routes if route.get("DestinationCidrBlock") == "0.0.0.0/0"), None)
    kinds = ("GatewayId", "NatGatewayId", "TransitGatewayId", "InstanceId", "NetworkInterfaceId")
    found: dict[str, Any] = {**default} if default else {}
    return next((found[kind] for kind in kinds if found.get(kind)), "")


def _find_own_address(*, public: bool) -> str:
    """Return the address from which this machine connects; 0.0.0.0, which only all networks include, if unknown.

    A private address says nothing about connections to public addresses, which pass a gateway. Nothing is sent.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((OUTSIDE, 9))
            address: str = probe.getsockname()[0]
    except OSError:
        return UNKNOWN_ADDRESS
    return UNKNOWN_ADDRESS if public and ipaddress.IPv4Address(address).is_private else address


def _fingerprint(public_key: str) -> str:
    """Return the fingerprint of a public key, as ssh-keygen -l shows it."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
