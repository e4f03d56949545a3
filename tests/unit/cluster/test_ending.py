"""Terminations of what interrupted and simultaneous launches leave, and without the cluster's file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible import cli, journal
from flambe_ansible.cluster import without_file
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.ec2 import groups, instances, launching
from flambe_ansible.errors import AWSError, ClusterError
from flambe_ansible.files import StateVersionError
from flambe_ansible.journal import RESOURCES_FILE, Journal
from flambe_ansible.providers import own_resources
from flambe_ansible.providers.accounts import Clients
from tests.unit.ec2.support import REGION, Account, client_error, refuse, tags_of

OWN = {
    **dict.fromkeys(("subnet_id", "security_group", "key_name", "key")),
    "ssh_sources": ["203.0.113.0/24"],
    "orchestrator_timeout": 2,
}


@pytest.fixture
def make(make_cluster: Any, aws_session: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in (instances, launching, groups, own_resources):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(without_file, "open_region", lambda _region: Clients(lambda: aws_session, lambda: None))
    monkeypatch.setattr(Cluster, "_access", property(lambda _self: NoHosts()))
    return lambda **changes: make_cluster(**{**OWN, **changes})


class NoHosts:
    """Connections to hosts, none of which answers."""

    def open(self, hosts: list[Any], **_: Any) -> None:
        from flambe_ansible.errors import HostConnectionError

        if hosts:
            raise HostConnectionError(f"{hosts[0].name}: no answer", host=hosts[0].name)

    def close(self) -> None:
        pass


def list_left(account: Account) -> list[str]:
    """List what is left of all clusters."""
    found = account.ec2.describe_security_groups()["SecurityGroups"]
    pairs = account.ec2.describe_key_pairs()["KeyPairs"]
    named = [one["GroupName"] for one in found] + [one["KeyName"] for one in pairs]
    return [*account.names(), *account.alarms(), *(name for name in named if name.startswith("flambe-"))]


def add_orchestrator(account: Account, **changes: str) -> str:
    """Create a second orchestrator, as two launches at the same moment do; or with other tags."""
    [head] = [one for one in account.instances() if tags_of(one).get("Role") == "Orchestrator"]
    tags = {**tags_of(head), **changes}
    made = account.ec2.run_instances(
        ImageId=head["ImageId"],
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items() if value]}
        ],
    )
    return str(made["Instances"][0]["InstanceId"])


# Two orchestrators.


def test_a_launch_names_both_orchestrators_and_changes_nothing(make: Any, account: Account) -> None:
    make().load_all_instances()
    second = add_orchestrator(account)
    again = make()
    with pytest.raises(ClusterError, match="has 2 orchestrators with the same tags") as caught:
        again.run()
    assert second in caught.value.message
    assert "flambe-ans down CLUSTER terminates all hosts" in str(caught.value.hint)
    assert again.calls.changing == []


def test_down_removes_both_orchestrators(make: Any, account: Account) -> None:
    make().load_all_instances()
    add_orchestrator(account)
    cluster = make()
    with cluster.reserve("down") as reservation:
        assert reservation.unanswered == "cluster trial has 2 orchestrators"
        assert len(cluster.terminate_instances()) == 4
    assert list_left(account) == []
    make().load_all_instances()
    assert len(account.instances()) == 3


# The journal.


@pytest.mark.parametrize("file", [journal.FILE, RESOURCES_FILE])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', None])
def test_down_with_a_damaged_or_lost_journal_leaves_nothing(
    make: Any, account: Account, monkeypatch: pytest.MonkeyPatch, file: str, content: str | None
) -> None:
    make().load_all_instances()
    cluster = make()
    path = cluster.state_dir / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
        os.utime(path, (0, 0))
    cluster.terminate_instances()
    assert list_left(account) == []
    assert Journal(cluster.state_dir).unfinished() == []
    make().load_all_instances()
    assert len(account.instances()) == 3


def test_down_waits_for_hosts_that_a_damaged_journal_may_have_had(
    make: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 shows the hosts of a request a moment later."""
    make().load_all_instances()
    cluster = make()
    (cluster.state_dir / journal.FILE).write_text("{")
    for module in (launching, own_resources):
        monkeypatch.setattr(module, "VISIBLE_SECONDS", 1.0)
    original, started = instances.find, time.monotonic()

    def find(*arguments: Any) -> Any:
        return original(*arguments) if time.monotonic() - started > 0.5 else []

    monkeypatch.setattr(instances, "find", find)
    cluster.terminate_instances()
    assert list_left(account) == []


def test_down_with_a_journal_that_cannot_be_written_leaves_nothing(
    make: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    refuse(first.clients.ec2, "RunInstances", [None, None, KeyboardInterrupt()])  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        first.load_all_instances()
    cluster = make()
    assert Journal(cluster.state_dir).unfinished()
    monkeypatch.setattr(launching, "VISIBLE_SECONDS", 0.0)

    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(journal, "write_json", fail)
    monkeypatch.setattr(journal, "lock", fail)
    cluster.terminate_instances()
    assert list_left(account) == []


def test_a_newer_journal_is_kept(make: Any, account: Account) -> None:
    make().load_all_instances()
    cluster = make()
    path = cluster.state_dir / journal.FILE
    path.write_text('{"version": 2, "creations": []}')
    for call in (cluster.load_all_instances, cluster.terminate_instances):
        with pytest.raises(StateVersionError) as caught:
            call()
        assert caught.value.message.startswith(f"{path} has version 2, and flambe-ansible ")
        assert caught.value.message.endswith(" supports version 1")
        assert "remove it if no launch of this cluster is running" in str(caught.value.hint)
    assert path.read_text() == '{"version": 2, "creations": []}'
    assert len(account.instances()) == 3


class _KilledError(BaseException):
    """Simulates the end of the process."""


@pytest.mark.parametrize("moment", ["provide-client-params", "after-call"])
@pytest.mark.parametrize(
    "operation",
    ["ec2.TerminateInstances", "cloudwatch.DeleteAlarms", "ec2.DeleteSecurityGroup", "ec2.DeleteKeyPair"],
)
@pytest.mark.parametrize("finish", ["down", "launch"])
def test_a_killed_termination_can_be_completed_or_followed_by_a_launch(
    make: Any, account: Account, moment: str, operation: str, finish: str
) -> None:
    make().load_all_instances()
    cluster = make()

    def kill(**_: Any) -> None:
        raise _KilledError

    client = cluster.clients.ec2 if operation.startswith("ec2") else cluster.clients.cloudwatch
    client.meta.events.register(f"{moment}.{operation}", kill)
    with pytest.raises(_KilledError):
        cluster.terminate_instances()
    again = make()
    if finish == "launch":
        again.load_all_instances()
        assert (len(account.instances()), len(account.alarms())) == (3, 3)
        again = make()
    again.terminate_instances()
    assert list_left(account) == []


# Without the file.


def run_down(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = cli.run(["down", *arguments])
    streams = capsys.readouterr()
    return code, streams.out + streams.err


def test_a_cluster_ends_without_its_file(
    make: Any, account: Account, aws_session: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make().load_all_instances()
    make(name="trial-2", factories_num=0).load_all_instances()
    make(name="third", creator="bob", factories_num=0).load_all_instances()
    foreign = add_foreign(account)
    kept = len(list_left(account))
    monkeypatch.setattr("flambe_ansible.cluster.aws.session.make_session", lambda _region: aws_session)
    code, output = run_down("--name", "trial", "--region", REGION, capsys=capsys)
    assert (code, "Terminate 3 hosts of trial" in output) == (2, True)
    assert len(list_left(account)) == kept
    code, output = run_down("--name", "trial", "--region", REGION, "--yes", capsys=capsys)
    assert code == 0, output
    assert "no answer; so it is unknown whether another user works on the cluster" in output
    assert "trial: terminated 3 hosts and deleted their alarms." in output
    # The hosts, their alarms, the group and the key pair.
    assert len(list_left(account)) == kept - 3 - 3 - 2
    assert foreign in [one["InstanceId"] for one in account.instances()]
    assert not (make().state_dir / "places.json").exists() or make().location().notes == ()
    code, output = run_down("--name", "trial", "--region", REGION, "--yes", capsys=capsys)
    assert (code, output) == (0, "trial: there are no hosts.\n")


def add_foreign(account: Account) -> str:
    """Create an instance with the orchestrator's Name, and without the tags of a cluster."""
    [head, *_] = [one for one in account.instances() if tags_of(one)["Name"] == "trial_orchestrator"]
    made = account.ec2.run_instances(
        ImageId=head["ImageId"],
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "trial_orchestrator"}, ROLE, CREATOR]}
        ],
    )
    return str(made["Instances"][0]["InstanceId"])


ROLE = {"Key": "Role", "Value": "Orchestrator"}
CREATOR = {"Key": "creator", "Value": "ada@example.com"}


def test_several_creators_are_named(
    make: Any, account: Account, aws_session: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make().load_all_instances()
    make(creator="bob", factories_num=0).load_all_instances()
    monkeypatch.setattr("flambe_ansible.cluster.aws.session.make_session", lambda _region: aws_session)
    code, output = run_down("--name", "trial", "--yes", capsys=capsys)
    assert code == 3
    assert f"2 creators have a cluster trial in {REGION}: ada@example.com, bob" in output
    code, output = run_down("--name", "trial", "--creator", "bob", "--yes", capsys=capsys)
    assert (code, "trial: terminated 1 host" in output) == (0, True)
    assert len(account.instances()) == 3


def test_a_creator_that_cannot_be_listed_is_required(make: Any, account: Account) -> None:
    denied = client_error("UnauthorizedOperation", "DescribeInstances")
    clients = make().clients
    refuse(clients.ec2, "DescribeInstances", [denied] * 3)
    with pytest.raises(AWSError, match="not allowed: ec2:DescribeInstances") as caught:
        without_file._find_creator("trial", clients)
    assert caught.value.hint == "add --creator CREATOR"


def test_a_killed_launch_whose_hosts_are_not_shown_yet_is_found(make: Any, account: Account) -> None:
    first = make()
    refuse(first.clients.ec2, "CreateSecurityGroup", [KeyboardInterrupt()])  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        first.load_all_instances()
    found = without_file.find_cluster("trial", region=None, lab=None, creator=None)
    assert found is not None
    assert found.creator == "ada@example.com"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("!AWSCluster\nname: demo\nregion_name: eu-west-1\nnope: 1\n", "--name demo --region eu-west-1 "),
        ("!AWSCluster\nname: demo\n  - [\n", "--name demo --region REGION "),
        ("!LabCluster\nname: 'demo'\nlab: blue\nnope: 1\n", "--name demo --lab blue "),
        ("!LabCluster\nname: demo\nnope: 1\n", "--name demo --lab default "),
        ("!LabCluster\nname: $(id)\nnope: 1\n", "--name NAME --lab default "),
        ("!SSHCluster\nname: demo\nnope: 1\n", None),
        (None, "--name NAME --region REGION "),
    ],
)
def test_the_hint_for_a_file_that_does_not_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, hint: str | None
) -> None:
    path = tmp_path / "cluster.yaml"
    if text is not None:
        path.write_text(text)
    code, output = run_down(str(path), "--yes", capsys=capsys)
    assert code == 3, output
    assert (f"next: flambe-ans down {hint}" in output) if hint else ("down --name" not in output)


@pytest.mark.parametrize(
    "arguments", [[], ["c.yaml", "--name", "x"], ["c.yaml", "--lab"], ["--name", "x", "--lab", "--region", "y"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_down(*arguments, capsys=capsys)[0] == 2


@pytest.mark.parametrize("name", ["tria?", "../x", "", "a b"])
def test_a_name_that_no_cluster_can_have_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run_down("--name", name, "--creator", "ada", "--yes", capsys=capsys)
    assert (code, f"name is {name!r}; expected 1 to 64 letters" in output) == (3, True)
