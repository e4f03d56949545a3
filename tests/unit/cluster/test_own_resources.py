"""Clusters on EC2 whose configuration has no subnet, security group and key pair."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.ec2 import caller, groups, keypairs, launching
from flambe_ansible.errors import AWSError, ClusterConfigurationError, HostConnectionError
from flambe_ansible.events import Notice
from flambe_ansible.journal import RESOURCES_FILE, Journal
from flambe_ansible.providers import aws, own_resources
from flambe_ansible.ssh import Connections
from flambe_ansible.validation.keyfile import read_public_key
from tests.unit.ec2.support import SSH_RULE, Account, client_error, refuse, tags_of

OWN = dict.fromkeys(("subnet_id", "security_group", "key_name", "key"))
NAME = "flambe-trial-"
CREATING = {"CreateSecurityGroup", "ImportKeyPair", "AuthorizeSecurityGroupIngress", "RunInstances", "CreateTags"}


class Address:
    """The answer of checkip, which tests change."""

    text = "198.51.100.7\n"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """Serve the address of this machine on loopback."""
    known = Address()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(known.text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(caller, "CHECK_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # which must not be used
    yield known
    server.shutdown()
    server.server_close()


@pytest.fixture
def make(make_cluster: Any, address: Address, monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in (groups, own_resources):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    return lambda **changes: make_cluster(**{**OWN, **changes})


def find_group(account: Account) -> dict[str, Any] | None:
    found = account.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"{NAME}*"]}])
    return next(iter(found["SecurityGroups"]), None)


def find_pair(account: Account) -> dict[str, Any] | None:
    found = account.ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    return next((pair for pair in found if pair["KeyName"].startswith(NAME)), None)


def ssh_networks(account: Account) -> set[str]:
    group = find_group(account)
    assert group
    rules = [rule for rule in group["IpPermissions"] if rule.get("FromPort") == 22]
    networks = {one["CidrIp"] for rule in rules for one in rule["IpRanges"]}
    return networks | {one["CidrIpv6"] for rule in rules for one in rule["Ipv6Ranges"]}


def test_a_plan_shows_what_a_launch_makes_and_makes_nothing(make: Any, account: Account) -> None:
    cluster = make()
    plan = cluster.plan()
    assert cluster.calls.changing == []
    assert not (cluster.state_dir / keypairs.KEY_FILE).exists()
    assert list(plan.resources) == ["subnet", "security group", "key pair"]
    assert plan.resources["subnet"].endswith("(the default subnet of eu-west-1a)")
    group = plan.resources["security group"]
    assert group.startswith(NAME)
    assert group.endswith(", to be created: SSH from 198.51.100.7/32; all traffic inside the group")
    assert plan.resources["key pair"].endswith(f", to be created; private key: {cluster.state_dir}/id_ed25519")


def test_a_launch_makes_a_group_and_a_key_pair_with_the_tags(make: Any, account: Account) -> None:
    cluster = make(tags={"company": "engines"})
    cluster.load_all_instances()
    group, pair = find_group(account), find_pair(account)
    assert group
    assert pair
    wanted = {"company": "engines", "creator": "ada@example.com", "Purpose": "flambe", "Cluster-Name": "trial"}
    for one in (group, pair):
        assert tags_of(one).items() >= wanted.items()
    subnets = set()
    for one in account.instances():
        assert (one["KeyName"], [found["GroupId"] for found in one["SecurityGroups"]]) == (
            pair["KeyName"],
            [group["GroupId"]],
        )
        subnets.add(one["SubnetId"])
    assert len(subnets) == 1
    assert ssh_networks(account) == {"198.51.100.7/32"}
    inside = [rule for rule in group["IpPermissions"] if rule["IpProtocol"] == "-1"]
    assert [found["GroupId"] for rule in inside for found in rule["UserIdGroupPairs"]] == [group["GroupId"]]
    key = Path(cluster.key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert pair["PublicKey"].split()[:2] == read_public_key(key).split()
    assert cluster.calls.made.index(("CreateSecurityGroup", cluster.calls.of_kind("CreateSecurityGroup")[0])) >= 0
    assert all("198.51.100.7" not in str(params) for name, params in cluster.calls.made if name == "RunInstances")


def test_a_second_launch_reuses_them(make: Any, account: Account) -> None:
    make(factories_timeout=-1).load_all_instances()
    again = make(factories_timeout=-1)
    plan = again.plan()
    assert plan.resources["security group"].endswith(": unchanged")
    again.load_all_instances()
    assert again.calls.changing == []


def test_a_larger_cluster_reuses_them(make: Any, account: Account) -> None:
    make().load_all_instances()
    larger = make(factories_num=3)
    larger.load_all_instances()
    assert {"CreateSecurityGroup", "ImportKeyPair"}.isdisjoint(larger.calls.changing)
    assert len({one["SubnetId"] for one in account.instances()}) == 1
    assert len(account.instances()) == 4


def test_a_changed_address_replaces_the_rule_of_this_machine(make: Any, account: Account, address: Address) -> None:
    make().load_all_instances()
    group = find_group(account)
    assert group
    other = {**SSH_RULE, "IpRanges": [{"CidrIp": "203.0.113.0/24", "Description": "office"}]}
    account.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[other])
    address.text = "198.51.100.99"
    again = make()
    shown = again.plan().resources["security group"]
    assert "SSH from 198.51.100.99/32 to be added; SSH from 198.51.100.7/32 to be removed" in shown
    again.load_all_instances()
    assert ssh_networks(account) == {"198.51.100.99/32", "203.0.113.0/24"}
    assert again.calls.changing[:2] == ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"]


def test_a_launch_lets_this_machine_in_before_it_connects(
    make: Any, account: Account, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().load_all_instances()
    address.text = "198.51.100.99"
    again = make()
    seen: list[set[str]] = []
    monkeypatch.setattr(type(again), "find_hosts", lambda _self: seen.append(ssh_networks(account)) or [])
    with again.reserve("launch"):
        pass
    assert seen == [{"198.51.100.99/32"}]
    with again.reserve("launch"):
        again.load_all_instances()
    assert again.calls.changing.count("AuthorizeSecurityGroupIngress") == 1


def test_an_unreachable_host_may_not_know_the_address_of_this_machine(
    make: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().load_all_instances()
    error = HostConnectionError("no answer", host="trial_orchestrator", hint="check the host", unreachable=True)
    monkeypatch.setattr(Connections, "wait_each", lambda _self, hosts, **_: {hosts[0].name: error})
    again = make()
    with pytest.raises(HostConnectionError) as caught:
        again.attach(again.find_hosts()[:1])
    assert caught.value.hint == f"{aws.CHANGED_ADDRESS_HINT}; check the host"


@pytest.mark.parametrize("sources", [["192.0.2.0/24", "2001:db8::/48"], ["0.0.0.0/0"]])
def test_configured_networks_are_used_instead_of_the_address(
    make: Any, account: Account, address: Address, sources: list[str]
) -> None:
    address.text = "not asked"
    make(ssh_sources=sources).load_all_instances()
    assert ssh_networks(account) == set(sources)


def test_private_addresses_are_reached_from_this_machines_own(
    make: Any, account: Account, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    address.text = "not asked"
    asked: list[str] = []

    def find(toward: str) -> caller.Network:
        asked.append(toward)
        return original("127.0.0.1")

    original = caller.find_local_address
    monkeypatch.setattr(caller, "find_local_address", find)
    make(use_public=False).load_all_instances()
    assert ssh_networks(account) == {"127.0.0.1/32"}
    (subnet,) = {one["SubnetId"] for one in account.instances()}
    network = account.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["CidrBlock"]
    assert asked[0] == network.partition("/")[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("<html>", "did not answer with an IPv4 address"),
        ("0.0.0.0/0", "did not answer with an IPv4 address"),
        ("2001:db8::1", "did not answer with an IPv4 address"),
        (None, "did not answer: "),
    ],
)
def test_an_unknown_address_stops_a_creation_and_only_that(
    make: Any, account: Account, address: Address, monkeypatch: pytest.MonkeyPatch, answer: str | None, reason: str
) -> None:
    make().load_all_instances()
    address.text = answer or ""
    if answer is None:
        monkeypatch.setattr(caller, "CHECK_URL", "http://127.0.0.1:1")
    again = make()
    assert any(reason in note for note in again.plan().notes)
    again.load_all_instances()
    assert ssh_networks(account) == {"198.51.100.7/32"}
    with pytest.raises(ClusterConfigurationError) as caught:
        make(name="other").plan()
    assert reason in caught.value.message
    assert [one.field for one in caught.value.problems] == ["ssh_sources"]
    assert caught.value.message.endswith("expected ssh_sources, the networks from which SSH is allowed")


def test_down_deletes_them_once_the_hosts_have_ended(make: Any, account: Account) -> None:
    cluster = make()
    cluster.load_all_instances()
    again, notices = make(), []
    again.observer = notices.append
    in_use = client_error("DependencyViolation", "DeleteSecurityGroup")
    refuse(again.clients.ec2, "DeleteSecurityGroup", [in_use, in_use, None])
    again.terminate_instances()
    assert (find_group(account), find_pair(account), account.instances()) == (None, None, [])
    assert not (again.state_dir / keypairs.KEY_FILE).exists()
    (message,) = (one.message for one in notices if isinstance(one, Notice))
    assert message.startswith("deleted security group sg-")
    calls = again.calls.changing
    assert calls.index("TerminateInstances") < calls.index("DeleteSecurityGroup") < calls.index("DeleteKeyPair")


def test_a_second_down_finishes_an_interrupted_one(make: Any, account: Account) -> None:
    make().load_all_instances()
    first = make()
    refuse(first.clients.ec2, "DeleteSecurityGroup", [KeyboardInterrupt()])  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        first.terminate_instances()
    assert find_group(account)
    assert find_pair(account)
    assert make().terminate_instances() == []
    assert (find_group(account), find_pair(account)) == (None, None)


def test_down_names_a_group_that_is_still_used(make: Any, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "IN_USE_SECONDS", 0.0)
    make().load_all_instances()
    cluster = make()
    refuse(cluster.clients.ec2, "DeleteSecurityGroup", [client_error("DependencyViolation", "DeleteSecurityGroup")] * 9)
    with pytest.raises(AWSError) as caught:
        cluster.terminate_instances()
    assert "describe-network-interfaces" in str(caught.value.hint)


def test_down_keeps_what_belongs_to_others(make: Any, account: Account) -> None:
    """A user's group with the same tags, and the resources of another creator and of another cluster."""
    make(creator="bob").load_all_instances()
    make(name="trial-2").load_all_instances()
    vpc = account.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    tags = [{"Key": key, "Value": value} for key, value in make()._tags.common.items()]
    specification = [{"ResourceType": "security-group", "Tags": tags}]
    account.ec2.create_security_group(GroupName="mine", Description="m", VpcId=vpc, TagSpecifications=specification)
    account.ec2.import_key_pair(
        KeyName="mine",
        PublicKeyMaterial=b"ssh-ed25519 " + PUBLIC,
        TagSpecifications=[{**specification[0], "ResourceType": "key-pair"}],
    )

    def list_all() -> list[str]:
        found = account.ec2.describe_security_groups()["SecurityGroups"]
        pairs = account.ec2.describe_key_pairs()["KeyPairs"]
        return sorted([one["GroupName"] for one in found] + [one["KeyName"] for one in pairs])

    before = list_all()
    make().load_all_instances()
    assert len(list_all()) == len(before) + 2
    make().terminate_instances()
    assert list_all() == before


PUBLIC = b"AAAAC3NzaC1lZDI1NTE5AAAAIKSTDBFr5aQTEmGGzKbBBcoDkPzKNIqqTnyNSBO3dvQE"


def test_a_launch_without_a_host_leaves_nothing(make: Any, account: Account) -> None:
    cluster = make()
    error = client_error("InsufficientInstanceCapacity", status=500)
    refuse(cluster.clients.ec2, "RunInstances", [None, None, *[error] * 9])
    with pytest.raises(AWSError) as caught:
        cluster.load_all_instances()
    assert (find_group(account), find_pair(account), account.instances()) == (None, None, [])
    assert str(caught.value.hint).startswith("no capacity in eu-west-1a: try subnet_id: subnet-")
    assert "(eu-west-1b)" in str(caught.value.hint)


def test_a_launch_whose_outcome_is_unknown_keeps_them(make: Any, account: Account) -> None:
    cluster = make()
    error = client_error("InternalError", status=500)
    refuse(cluster.clients.ec2, "RunInstances", [None, None, *[error] * 90])
    with pytest.raises(AWSError):
        cluster.load_all_instances()
    assert find_group(account)
    assert find_pair(account)
    again = make()
    again.load_all_instances()
    assert {"CreateSecurityGroup", "ImportKeyPair"}.isdisjoint(again.calls.changing)
    assert len(account.instances()) == 3


def test_a_rollback_deletes_them_with_the_last_host(make: Any, account: Account) -> None:
    cluster = make()
    cluster.load_all_instances()
    cluster.rollback_env()
    assert (find_group(account), find_pair(account), account.instances()) == (None, None, [])
    make().load_all_instances()
    larger = make(factories_num=3)
    larger.load_all_instances()
    larger.rollback_env()
    assert find_group(account)
    assert len(account.instances()) == 3


@pytest.mark.parametrize("operation", ["CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair"])
def test_a_killed_launch_is_finished_by_the_next(make: Any, account: Account, operation: str) -> None:
    cluster = make()
    refuse(cluster.clients.ec2, operation, [KeyboardInterrupt()])  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        cluster.load_all_instances()
    assert account.instances() == []
    make().load_all_instances()
    assert ssh_networks(account) == {"198.51.100.7/32"}
    pair = find_pair(account)
    assert pair
    assert pair["PublicKey"].split()[:2] == read_public_key(Path(make().key)).split()


def test_down_waits_for_a_group_that_aws_does_not_show_yet(
    make: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launch was killed after its request; EC2 shows the group a moment later."""
    make().load_all_instances()
    cluster = make()
    Journal(cluster.state_dir, RESOURCES_FILE).open(role="security group", count=1, digest="")
    original, asked = groups.find, []

    def find(*arguments: Any) -> Any:
        asked.append(arguments)
        return original(*arguments) if len(asked) > 3 else []

    monkeypatch.setattr(groups, "find", find)
    cluster.terminate_instances()
    assert find_group(account) is None
    assert Journal(cluster.state_dir, RESOURCES_FILE).unfinished() == []


def test_a_group_that_ec2_does_not_know_yet_is_used_a_moment_later(make: Any, account: Account) -> None:
    cluster = make()
    late = client_error("InvalidGroup.NotFound")
    refuse(cluster.clients.ec2, "AuthorizeSecurityGroupIngress", [late, late])
    refuse(cluster.clients.ec2, "RunInstances", [None, None, late, client_error("InvalidKeyPair.NotFound")])
    cluster.load_all_instances()
    assert len(account.instances()) == 3
    assert len(launching.RETRY_PAUSES) > 2


def test_a_group_of_this_name_that_is_not_ours_is_kept(
    make: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_resources, "VISIBLE_SECONDS", 0.0)
    cluster = make()
    vpc = account.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    account.ec2.create_security_group(GroupName=cluster._tags.resource_name, Description="mine", VpcId=vpc)
    with pytest.raises(AWSError, match="that was not made for this cluster"):
        cluster.load_all_instances()
    group = find_group(account)
    assert group
    assert group["IpPermissions"] == []


def test_another_machine_needs_a_copy_of_the_private_key(
    make: Any, account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make().load_all_instances()
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(tmp_path / "laptop"))
    other = make(factories_num=3)
    with pytest.raises(ClusterConfigurationError) as caught:
        other.plan()
    assert "of this cluster was made on another machine" in caught.value.message
    assert "\n" not in caught.value.message
    assert [one.field for one in caught.value.problems] == ["key"]
    hosts = other.find_hosts()
    with pytest.raises(HostConnectionError) as lost:
        other.attach(hosts)
    assert "the private key of this cluster is not on this machine" in lost.value.message
    assert "id_ed25519" in str(lost.value.hint)
    keypairs.make_private_key(other.aws.own.key_file, comment="another")
    with pytest.raises(ClusterConfigurationError, match="its private key is not"):
        make(factories_num=3).plan()
    make().terminate_instances()
    assert (find_group(account), find_pair(account), account.instances()) == (None, None, [])


def test_the_creator_is_required() -> None:
    with pytest.raises(ClusterConfigurationError, match="creator is empty"):
        AWSCluster(name="trial", factories_num=1, factories_type="t3.large", orchestrator_type="t3.large").parse()


def test_a_region_without_a_default_vpc_is_refused_in_one_line(make: Any, account: Account) -> None:
    for subnet in account.ec2.describe_subnets()["Subnets"]:
        account.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    with pytest.raises(ClusterConfigurationError) as caught:
        make().plan()
    assert "\n" not in caught.value.message
    assert "aws ec2 create-default-vpc --region eu-west-1" in caught.value.message
    assert [one.field for one in caught.value.problems] == ["subnet_id"]


def offer(cluster: AWSCluster, offers: dict[str, list[str]]) -> None:
    """Change which zones offer which types."""

    def show(parsed: dict[str, Any], **_: Any) -> None:
        parsed["InstanceTypeOfferings"] = [
            {"Location": zone, "InstanceType": kind, "LocationType": "availability-zone"}
            for zone, kinds in offers.items()
            for kind in kinds
        ]

    cluster.clients.ec2.meta.events.register("after-call.ec2.DescribeInstanceTypeOfferings", show)


BOTH = ["t3.small", "t3.large"]


@pytest.mark.parametrize(
    ("offers", "zone"),
    [
        ({"eu-west-1a": ["t3.small"], "eu-west-1b": ["t3.large"], "eu-west-1c": BOTH}, "eu-west-1c"),
        ({"eu-west-1b": BOTH, "eu-west-1c": BOTH}, "eu-west-1b"),
        ({"eu-west-1a": BOTH}, "eu-west-1a"),
    ],
)
def test_the_zone_offers_all_types(make: Any, account: Account, offers: dict[str, list[str]], zone: str) -> None:
    cluster = make()
    offer(cluster, offers)
    assert f"of {zone})" in cluster.plan().resources["subnet"]


def test_new_hosts_join_the_zone_of_the_existing_ones(make: Any, account: Account) -> None:
    first = make()
    offer(first, {"eu-west-1c": BOTH})
    first.load_all_instances()
    larger = make(factories_num=3)
    assert "of eu-west-1c)" in larger.plan().resources["subnet"]


def test_a_configured_subnet_gets_a_group_in_its_vpc(make: Any, account: Account) -> None:
    vpc = account.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = account.ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    make(subnet_id=subnet, ssh_sources=["192.0.2.1/32"]).load_all_instances()
    group = find_group(account)
    assert group
    assert group["VpcId"] == vpc
    assert {one["SubnetId"] for one in account.instances()} == {subnet}
