"""Clusters on EC2, with moto in this process."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible import journal
from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.cluster.options import ClusterOptions
from flambe_ansible.ec2 import alarms, api, images
from flambe_ansible.errors import AWSError, ClusterConfigurationError, ClusterError, PlaybookError, SourceError
from flambe_ansible.events import Notice, Status, StepEvent
from flambe_ansible.fleet.receipts import read_defaults
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.hosts import HostState, Role
from flambe_ansible.jobs.jobs import Jobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.launch import converging, lock
from flambe_ansible.launch.launch import LaunchResult
from flambe_ansible.launch.plan import Action, Effect
from flambe_ansible.runtimes import RuntimeVersion, flambe_version
from flambe_ansible.validation.fields import EXTRA_FIELDS
from tests.unit.ec2.support import REGION, SSH_RULE, Account, client_error, refuse, tags_of
from tests.unit.keys import private_key, public_key, write_key

REQUIRED = ["name", "factories_num", "factories_type", "orchestrator_type"]
WITHOUT_COSTS = {"factories_type": "m5.large", "orchestrator_type": "m5.large"}  # types without a note about costs
ALL = ["trial_factory_0", "trial_factory_1", "trial_orchestrator"]


def test_the_arguments_are_those_of_flambe_in_their_order() -> None:
    arguments = inspect.signature(AWSCluster).parameters
    assert {name: one.default for name, one in arguments.items() if one.kind is one.POSITIONAL_OR_KEYWORD} == {
        **dict.fromkeys(REQUIRED, inspect.Parameter.empty),
        **dict.fromkeys(["key_name", "security_group", "subnet_id"]),
        "creator": "",  # required, after optional ones
        "key": None,
        "volume_type": "gp2",
        "region_name": None,
        "username": "ubuntu",
        "tags": None,
        "orchestrator_ami": None,
        "factory_ami": None,
        "dedicated": False,
        "orchestrator_timeout": -1,
        "factories_timeout": 1,
        "volume_size": 100,
        "setup_cmds": None,
    }
    assert list(ClusterOptions.__annotations__) == [one.name for one in EXTRA_FIELDS]
    shared = inspect.signature(Cluster).parameters
    assert {one.name: one.default for one in EXTRA_FIELDS}.items() <= {
        name: one.default for name, one in shared.items()
    }.items()


# Launching.


def test_a_launch_creates_one_orchestrator_and_all_factories(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(tags={"company": "engines"})
    cluster.load_all_instances()
    assert account.names() == ALL
    assert sorted(host.name for host in cluster.hosts) == ALL
    assert cluster.hosts[0].role is Role.ORCHESTRATOR
    assert [host.index for host in cluster.hosts] == [0, 0, 1]
    assert all(host.state is HostState.RUNNING and host.private_ip for host in cluster.hosts)
    assert sorted(cluster.created) == ALL
    requests = {tags_of(one["TagSpecifications"][0])["Role"]: one for one in cluster.calls.of_kind("RunInstances")}
    assert {role: (one["MinCount"], one["MaxCount"]) for role, one in requests.items()} == {
        "Orchestrator": (1, 1),
        "Factory": (2, 2),
    }
    assert len({one["ClientToken"] for one in requests.values()}) == 2


def test_hosts_and_volumes_carry_the_tags_and_volumes_are_encrypted(make_cluster: Any, account: Account) -> None:
    make_cluster(tags={"company": "engines"}, volume_type="gp3", volume_size=150).load_all_instances()
    volumes = {one["VolumeId"]: one for one in account.ec2.describe_volumes()["Volumes"]}
    for one in account.instances():
        tags = tags_of(one)
        assert tags == {
            "company": "engines",
            "creator": "ada@example.com",
            "Purpose": "flambe",
            "Cluster-Name": "trial",
            "Role": "Orchestrator" if "orch" in tags["Name"] else "Factory",
            "Name": tags["Name"],
        }
        volume = volumes[one["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]]
        assert tags_of(volume) == tags
        assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (True, "gp3", 150)
        assert one["MetadataOptions"]["HttpTokens"] == "required"


def test_the_orchestrator_is_created_when_the_factories_are_accepted(make_cluster: Any) -> None:
    cluster = make_cluster()
    cluster.plan()  # after the dry runs
    order: list[str] = []

    def ask(params: dict[str, Any], **_: Any) -> None:
        order.append(tags_of(params["TagSpecifications"][0])["Role"])

    events = cluster.clients.ec2.meta.events
    events.register("provide-client-params.ec2.RunInstances", ask)
    events.register("after-call.ec2.RunInstances", lambda **_: order.append("accepted"))
    cluster.load_all_instances()
    assert order == ["Factory", "accepted", "Orchestrator", "accepted"]


def test_the_alarms_of_the_factories_do_not_delay_the_orchestrator(make_cluster: Any) -> None:
    cluster = make_cluster()
    created = threading.Event()

    def wait(params: dict[str, Any], **_: Any) -> None:
        assert alarms.NO_INSTANCE in params["AlarmName"] or created.wait(60)

    def create(params: dict[str, Any], **_: Any) -> None:
        if params["InstanceType"] == "t3.small" and not params.get("DryRun"):
            created.set()

    cluster.clients.cloudwatch.meta.events.register("provide-client-params.cloudwatch.PutMetricAlarm", wait)
    cluster.clients.ec2.meta.events.register("provide-client-params.ec2.RunInstances", create)
    cluster.load_all_instances()
    assert created.is_set()


def test_factories_keep_their_alarms_if_the_orchestrator_is_refused(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster()

    def report_shortage(params: dict[str, Any], **_: Any) -> None:
        if params["InstanceType"] == "t3.small" and not params.get("DryRun"):
            raise client_error("InsufficientInstanceCapacity", message="We do not have sufficient capacity", status=500)

    cluster.clients.ec2.meta.events.register("provide-client-params.ec2.RunInstances", report_shortage)
    with pytest.raises(AWSError, match="sufficient capacity"):
        cluster.load_all_instances()
    assert cluster.created == account.names() or len(account.names()) == 2
    assert len(account.alarms()) == 2
    cluster.rollback_env()
    assert account.instances() == []
    assert account.alarms() == {}


def test_a_second_launch_changes_nothing_but_alarms_of_an_hour_before(
    make_cluster: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cluster().load_all_instances()
    before = account.instances()
    again = make_cluster()
    again.load_all_instances()
    assert again.calls.changing == []
    monkeypatch.setattr(alarms, "KEPT_SECONDS", -1)
    again.load_all_instances()
    assert again.calls.changing == ["PutMetricAlarm", "PutMetricAlarm", "DeleteAlarms"]
    assert again.created == []
    assert [one["InstanceId"] for one in account.instances()] == [one["InstanceId"] for one in before]
    without = make_cluster(factories_timeout=-1)
    without.load_all_instances()
    assert without.calls.changing == ["DeleteAlarms"]
    without.calls.clear()
    without.load_all_instances()
    assert without.calls.changing == []


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_instances_in_all_live_states_are_found(make_cluster: Any, account: Account, state: str) -> None:
    make_cluster().load_all_instances()
    cluster = make_cluster()

    def show(parsed: dict[str, Any], **_: Any) -> None:
        for group in parsed["Reservations"]:
            for one in group["Instances"]:
                one["State"]["Name"] = state

    cluster.clients.ec2.meta.events.register("after-call.ec2.DescribeInstances", show)
    plan = cluster.plan()
    assert plan.to_create == ()
    assert plan.changes_hosts is (state in ("stopping", "stopped"))
    filters = cluster.calls.of_kind("DescribeInstances")[0]["Filters"]
    assert state in filters[-1]["Values"]


def test_a_larger_number_of_factories_adds_the_missing_ones(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    kept = {one["InstanceId"] for one in account.instances()}
    cluster = make_cluster(factories_num=3)
    cluster.load_all_instances()
    assert cluster.created == ["trial_factory_2"]
    (request,) = cluster.calls.of_kind("RunInstances")
    assert (request["MinCount"], request["MaxCount"]) == (1, 1)
    assert account.names() == [*ALL[:2], "trial_factory_2", ALL[2]]
    assert kept < {one["InstanceId"] for one in account.instances()}


def test_a_gap_is_filled_with_the_missing_number(make_cluster: Any, account: Account) -> None:
    make_cluster(factories_num=3).load_all_instances()
    _terminate(account, "trial_factory_1")
    cluster = make_cluster(factories_num=3)
    assert [one.name for one in cluster.plan().to_create] == ["trial_factory_1"]
    cluster.load_all_instances()
    assert cluster.created == ["trial_factory_1"]
    assert [host.name for host in cluster.hosts[1:]] == [f"trial_factory_{index}" for index in range(3)]


def test_a_lost_orchestrator_is_replaced_and_factories_are_kept(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    _terminate(account, "trial_orchestrator")
    cluster = make_cluster()
    cluster.load_all_instances()
    assert cluster.created == ["trial_orchestrator"]
    assert account.names() == ALL


def test_dead_hosts_are_replaced(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    before = {tags_of(one)["Name"]: one["InstanceId"] for one in account.instances()}
    cluster = make_cluster()
    cluster.replace_hosts(["trial_factory_0"])
    plan = cluster.plan()
    assert [host.name for host in plan.to_replace] == ["trial_factory_0"]
    assert (plan.to_replace[0].host.instance_id, plan.changes_hosts) == (before["trial_factory_0"], True)
    assert {one["InstanceId"] for one in account.instances()} == set(before.values())
    cluster.load_all_instances()
    after = {tags_of(one)["Name"]: one["InstanceId"] for one in account.instances()}
    assert {name: before[name] == after[name] for name in before} == {
        "trial_orchestrator": True, "trial_factory_0": False, "trial_factory_1": True,
    }  # fmt: skip
    assert cluster.created == ["trial_factory_0"]
    assert not cluster.has_alarm(before["trial_factory_0"])
    assert all(host.age < 60 for host in cluster.hosts)


def test_a_replacement_that_cannot_be_created_terminates_nothing(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    before = account.instances()
    cluster = make_cluster(factory_ami="ami-99999999999999999")
    cluster.replace_hosts(["trial_factory_0"])
    with pytest.raises(ClusterConfigurationError):
        cluster.load_all_instances()
    assert [one["InstanceId"] for one in account.instances()] == [one["InstanceId"] for one in before]


def test_hosts_that_started_long_ago_get_the_short_limit(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    cluster = make_cluster(boot_timeout=1000, answer_timeout=40)
    cluster.load_all_instances()
    [host, *_] = cluster.hosts
    limits = [cluster._limits.for_launch(replace(host, started=host.started - age)) for age in (0, 900, 2000)]
    assert [(round(one.seconds, -2), one.reach, one.setting) for one in limits] == [
        (1000, None, "boot_timeout"), (100, None, "boot_timeout"), (0, 20, "answer_timeout"),
    ]  # fmt: skip


def test_stopped_hosts_get_the_limit_of_booting_hosts(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    account.ec2.stop_instances(InstanceIds=[one["InstanceId"] for one in account.instances()][:1])
    cluster = make_cluster()
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)

    def show(parsed: dict[str, Any], **_: Any) -> None:
        for group in parsed["Reservations"]:
            for one in group["Instances"]:
                one["LaunchTime"] = long_ago

    cluster.clients.ec2.meta.events.register("after-call.ec2.DescribeInstances", show)
    cluster.load_all_instances()
    assert sum(host.age < 60 for host in cluster.hosts) == 1


def test_a_smaller_number_of_factories_is_reported_and_changes_nothing(make_cluster: Any, account: Account) -> None:
    make_cluster(factories_num=3).load_all_instances()
    cluster = make_cluster(factories_num=1, factories_timeout=-1)
    notices: list[Any] = []
    cluster.observer = notices.append
    cluster.load_all_instances()
    assert cluster.calls.changing == ["DeleteAlarms"]
    assert len(cluster.hosts) == 4
    assert [one.message for one in notices if isinstance(one, Notice)] == [
        "3 factories exist and factories_num is 1; all are kept"
    ]


def test_stopped_hosts_are_started(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    ids = [one["InstanceId"] for one in account.instances()]
    account.ec2.stop_instances(InstanceIds=ids)
    cluster = make_cluster()
    assert [one.action for one in cluster.plan().hosts] == [Action.START] * 3
    cluster.load_all_instances()
    assert cluster.calls.of_kind("RunInstances") == []
    assert sorted(cluster.calls.of_kind("StartInstances")[0]["InstanceIds"]) == sorted(ids)
    assert {host.state for host in cluster.hosts} == {HostState.RUNNING}


def test_other_clusters_are_unchanged(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    make_cluster(name="trial2").load_all_instances()
    make_cluster(creator="eve@example.com").load_all_instances()
    assert len(account.instances()) == 9
    assert len(make_cluster().find_hosts()) == 3
    make_cluster().terminate_instances()
    assert len(account.instances()) == 6
    assert len(account.alarms()) == 4


def test_two_orchestrators_are_an_error_that_lists_both(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    head = account.instances()[-1]
    account.ec2.run_instances(
        ImageId=head["ImageId"],
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": head["Tags"]}],
    )
    ids = [one["InstanceId"] for one in account.instances() if tags_of(one)["Role"] == "Orchestrator"]
    for call in ("plan", "load_all_instances", "find_hosts"):
        with pytest.raises(ClusterError) as caught:
            getattr(make_cluster(), call)()
        assert all(one in caught.value.message for one in ids)
    assert len(make_cluster().check_termination()) == 4
    assert len(make_cluster().terminate_instances()) == 4


def test_events_of_a_launch(make_cluster: Any) -> None:
    cluster = make_cluster()
    events: list[StepEvent] = []
    cluster.observer = events.append
    cluster.load_all_instances()
    seen = {(one.host, one.step, one.status) for one in events if isinstance(one, StepEvent)}
    for name in ALL:
        assert {(name, "create", Status.RUNNING), (name, "create", Status.CHANGED), (name, "boot", Status.OK)} <= seen


def _terminate(account: Account, name: str) -> None:
    (doomed,) = [one["InstanceId"] for one in account.instances() if tags_of(one)["Name"] == name]
    account.ec2.terminate_instances(InstanceIds=[doomed])


# Names and tags.


def test_each_launch_updates_names_and_tags(make_cluster: Any, account: Account) -> None:
    make_cluster(factories_timeout=-1).load_all_instances()
    first, second, _ = account.instances()
    volume = first["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    account.ec2.create_tags(Resources=[first["InstanceId"]], Tags=[{"Key": "Name", "Value": "renamed"}])
    account.ec2.create_tags(Resources=[second["InstanceId"]], Tags=[{"Key": "mine", "Value": "stays"}])
    account.ec2.delete_tags(Resources=[volume], Tags=[{"Key": "creator"}])
    cluster = make_cluster(factories_timeout=-1, tags={"company": "engines"})
    cluster.load_all_instances()
    assert set(cluster.calls.changing) == {"CreateTags"}
    assert account.names() == ALL
    assert all(tags_of(one)["company"] == "engines" for one in account.instances())
    assert tags_of(account.instances()[1])["mine"] == "stays"
    for one in account.ec2.describe_volumes()["Volumes"]:
        assert tags_of(one).items() >= {"company": "engines", "creator": "ada@example.com"}.items()
    cluster.calls.clear()
    cluster.load_all_instances()
    assert cluster.calls.changing == []


def test_volumes_that_a_user_attached_are_not_tagged(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    zone = account.instances()[0]["Placement"]["AvailabilityZone"]
    data = account.ec2.create_volume(Size=10, AvailabilityZone=zone)["VolumeId"]
    account.ec2.create_tags(Resources=[data], Tags=[{"Key": "Name", "Value": "my data"}])
    account.ec2.attach_volume(Device="/dev/sdf", InstanceId=account.instances()[0]["InstanceId"], VolumeId=data)
    make_cluster(tags={"company": "engines"}).load_all_instances()
    volumes = {one["VolumeId"]: tags_of(one) for one in account.ec2.describe_volumes()["Volumes"]}
    assert volumes.pop(data) == {"Name": "my data"}
    assert all(tags["company"] == "engines" for tags in volumes.values())


def test_unnamed_factories_get_their_names(make_cluster: Any, account: Account) -> None:
    """A launch killed between creation and naming leaves factories with their common base name."""
    cluster = make_cluster()
    refuse(cluster.clients.ec2, "CreateTags", [client_error("RequestLimitExceeded", "CreateTags")])
    with pytest.raises(AWSError, match="tag instances"):
        cluster.load_all_instances()
    assert account.names().count("trial_factory") >= 1
    make_cluster().load_all_instances()
    assert account.names() == ALL
    assert len(account.instances()) == 3


def test_single_steps_on_names_and_tags(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    cluster = make_cluster(tags={"company": "engines"})
    head, factories = cluster._existing_cluster()
    assert (head.name, [one.name for one in factories]) == (ALL[2], ALL[:2])
    assert sorted(name for _, name in cluster.flambe_own_running_instances()) == ALL
    cluster.name_instance(head.id, "else")
    assert "else" in account.names()
    cluster.name_hosts()
    assert account.names() == ALL
    cluster.update_tags()
    assert all(tags_of(one)["company"] == "engines" for one in account.instances())
    assert cluster._get_existing_tags(head)["Role"] == "Orchestrator"
    assert cluster._get_all_tags() == {
        "company": "engines",
        "creator": "ada@example.com",
        "Purpose": "flambe",
        "Cluster-Name": "trial",
    }
    assert cluster._get_creation_name("Orchestrator") == "trial_orchestrator"
    assert cluster._get_creation_name("Factory") == "trial_factory"


# Alarms.


@pytest.mark.parametrize(
    ("orchestrator", "factories", "counts"),
    [(-1, -1, []), (-1, 1, [24, 24]), (5, 0, [12, 12, 72]), (0, 0, [12, 12, 12]), (168, 23, [168, 288, 288])],
)
def test_timeouts_are_set_as_alarms(
    make_cluster: Any, account: Account, orchestrator: int, factories: int, counts: list[int]
) -> None:
    make_cluster(orchestrator_timeout=orchestrator, factories_timeout=factories).load_all_instances()
    found = account.alarms()
    assert sorted(one["EvaluationPeriods"] for one in found.values()) == counts
    ids = {one["InstanceId"] for one in account.instances()}
    for name, alarm in found.items():
        assert name.removeprefix("Flambe_Instance_Terminate_CPU_Utilization_") in ids
        assert alarm["AlarmActions"] == [f"arn:aws:automate:{REGION}:ec2:terminate"]


def test_alarms_are_set_before_hosts_are_awaited(make_cluster: Any) -> None:
    cluster = make_cluster(orchestrator_timeout=2)
    order: list[str] = []
    for client, name in (
        (cluster.clients.ec2, "ec2.DescribeInstances"),
        (cluster.clients.cloudwatch, "cloudwatch.PutMetricAlarm"),
    ):
        client.meta.events.register(
            f"provide-client-params.{name}",
            lambda params, model, **_: order.append(
                "wait"
                if any(one["Name"] == "instance-id" for one in params.get("Filters", []))
                else params.get("AlarmName", model.name)
            ),
        )
    cluster.load_all_instances()
    places = [place for place, name in enumerate(order) if name.startswith(alarms.PREFIX)]
    assert order.index("wait") > max(places)
    assert len(places) == 4  # one alarm is tried before hosts exist
    assert alarms.NO_INSTANCE in order[places[0]]


def test_an_alarm_that_cannot_be_set_is_an_error_and_hosts_can_be_rolled_back(
    make_cluster: Any, account: Account
) -> None:
    cluster = make_cluster()
    refused = client_error("AccessDenied", "PutMetricAlarm", status=403)
    refuse(cluster.clients.cloudwatch, "PutMetricAlarm", [None, *[refused] * 9])
    with pytest.raises(AWSError, match="Failed to set an alarm"):
        cluster.load_all_instances()
    assert sorted(cluster.created) == ALL
    cluster.rollback_env()
    assert account.instances() == []


def test_a_missing_permission_for_alarms_is_found_before_hosts_exist(make_cluster: Any, account: Account) -> None:
    """The first alarm of an account creates a role.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    cluster = make_cluster()
    message = "User: ada is not authorized to perform: iam:CreateServiceLinkedRole on resource: arn:aws:iam::1:role/x"
    refused = client_error("AccessDenied", "PutMetricAlarm", message, status=403)
    refuse(cluster.clients.cloudwatch, "PutMetricAlarm", [refused])
    with pytest.raises(AWSError, match="iam:CreateServiceLinkedRole") as caught:
        cluster.load_all_instances()
    assert "aws iam create-service-linked-role --aws-service-name events.amazonaws.com" in (caught.value.hint or "")
    assert cluster.calls.of_kind("RunInstances") == []
    assert account.instances() == []
    make_cluster(factories_num=1, factories_timeout=-1).load_all_instances()
    again = make_cluster(factories_num=1)
    again.replace_hosts(["trial_orchestrator", "trial_factory_0"])
    refuse(again.clients.cloudwatch, "PutMetricAlarm", [refused])
    with pytest.raises(AWSError, match="iam:CreateServiceLinkedRole"):
        again.load_all_instances()
    assert len(account.instances()) == 2  # none was terminated to be replaced


@pytest.mark.parametrize(("timeout", "tried"), [(1, True), (-1, False)])
def test_an_alarm_that_was_tried_does_not_stay(make_cluster: Any, account: Account, timeout: int, tried: bool) -> None:
    cluster = make_cluster(factories_timeout=timeout)
    cluster.load_all_instances()
    names = [one["AlarmName"] for one in cluster.calls.of_kind("PutMetricAlarm")]
    assert any(alarms.NO_INSTANCE in name for name in names) is tried
    assert not any(alarms.NO_INSTANCE in name for name in account.alarms())
    assert len(account.alarms()) == (2 if tried else 0)


def test_single_steps_on_alarms(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(orchestrator_timeout=2)
    cluster.load_all_instances()
    one = cluster.hosts[0].instance_id
    assert cluster._get_alarm_name(one) == alarms.alarm_name(one)
    assert cluster.has_alarm(one)
    cluster._delete_cloudwatch_event(one)
    assert not cluster.has_alarm(one)
    cluster._create_cloudwatch_event(one, mins=30, cpu_thresh=2.0)
    alarm = account.alarms()[alarms.alarm_name(one)]
    assert (alarm["Period"], alarm["EvaluationPeriods"], alarm["Threshold"]) == (300, 6, 2.0)
    cluster.remove_existing_events()
    assert account.alarms() == {}
    cluster.create_cloudwatch_events()
    assert len(account.alarms()) == 3


# Failures.


def test_a_shortage_creates_no_host_of_the_role_and_has_a_hint(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(factories_num=5)

    def report_shortage(params: dict[str, Any], **_: Any) -> None:
        if params["MaxCount"] == 5 and not params.get("DryRun"):
            raise client_error("InsufficientInstanceCapacity", message="We do not have sufficient capacity")

    cluster.clients.ec2.meta.events.register("provide-client-params.ec2.RunInstances", report_shortage)
    with pytest.raises(AWSError, match="sufficient capacity") as caught:
        cluster.load_all_instances()
    assert "another type" in (caught.value.hint or "")
    assert cluster.created == []
    assert account.instances() == []
    assert [one["MaxCount"] for one in cluster.calls.of_kind("RunInstances")] == [5]
    assert [one.outcome for one in journal.Journal(cluster.state_dir).read()] == [
        "refused: InsufficientInstanceCapacity"
    ]
    make_cluster(factories_num=5).load_all_instances()
    assert len(account.instances()) == 6


def test_rollback_terminates_only_hosts_that_this_object_created(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    cluster = make_cluster(factories_num=4)
    cluster.load_all_instances()
    assert cluster.created == ["trial_factory_2", "trial_factory_3"]
    cluster.rollback_env()
    assert account.names() == ALL
    assert sorted(host.name for host in cluster.hosts) == ALL
    assert len(account.alarms()) == 2
    cluster.calls.clear()
    cluster.rollback_env()
    assert cluster.calls.made == []


@pytest.mark.parametrize("launched", [False, True])
def test_an_error_in_the_block_terminates_new_hosts_unless_they_were_launched(
    make_cluster: Any, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: bool
) -> None:
    key = tmp_path / "key.pem"
    key.write_text(private_key())
    key.chmod(0o600)
    outcome = LaunchResult(
        hosts=(), created=(), version=RuntimeVersion(), playbook={}, ray=None, seconds=1.0, log=Path("log")
    )
    failure = PlaybookError("site.yml failed")
    converge = create_autospec(converging.converge, side_effect=[outcome if launched else failure])
    monkeypatch.setattr(converging, "converge", converge)
    with pytest.raises(SystemExit if launched else PlaybookError), make_cluster(key=str(key)) as cluster:
        monkeypatch.setattr(cluster, "connect_each", create_autospec(cluster.connect_each, return_value=[]))
        monkeypatch.setattr(Reservation, "take", create_autospec(Reservation.take))
        monkeypatch.setattr(Jobs, "get", create_autospec(Jobs.get, return_value=JobState()))
        cluster.run()
        sys.exit(0)
    assert account.names() == (ALL if launched else [])


def test_rollback_without_created_hosts_does_nothing(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    cluster = make_cluster()
    cluster.load_all_instances()
    cluster.calls.clear()
    cluster.rollback_env(unfinished=True)
    assert cluster.calls.made == []
    assert account.names() == ALL


class _KilledError(BaseException):
    """Simulates the end of the process."""


# The calls of a launch that change something, in order; it is killed before or after each of them.
@pytest.mark.parametrize("moment", ["provide-client-params", "after-call"])
@pytest.mark.parametrize("operation", ["ec2.RunInstances", "cloudwatch.PutMetricAlarm", "ec2.CreateTags"])
@pytest.mark.parametrize("finish", [True, False])
def test_a_launch_killed_at_any_moment_can_be_completed_or_undone(
    make_cluster: Any, account: Account, moment: str, operation: str, finish: bool
) -> None:
    cluster = make_cluster(orchestrator_timeout=3)

    tried = iter([operation == "cloudwatch.PutMetricAlarm"])  # the first alarm is one of no instance

    def kill(params: Any = None, **_: Any) -> None:
        if not (isinstance(params, dict) and params.get("DryRun")) and not next(tried, False):
            raise _KilledError

    client = cluster.clients.ec2 if operation.startswith("ec2") else cluster.clients.cloudwatch
    if operation == "ec2.RunInstances" and moment == "after-call":
        cluster.plan()  # after the dry runs

    client.meta.events.register(f"{moment}.{operation}", kill)
    with pytest.raises(_KilledError):
        cluster.load_all_instances()
    unfinished = journal.Journal(cluster.state_dir).unfinished()
    assert unfinished or operation == "ec2.CreateTags"
    tokens = {one.token for one in unfinished}
    again = make_cluster(orchestrator_timeout=3)
    if finish:
        again.load_all_instances()
        assert account.names() == ALL
        assert len(account.alarms()) == 3
        new = [one for one in again.calls.of_kind("RunInstances") if one["ClientToken"] not in tokens]
        # The orchestrator is requested after the factories: the killed launch has not requested it.
        roles = [tags_of(one["TagSpecifications"][0])["Role"] for one in new]
        assert roles == (["Orchestrator"] if operation == "ec2.RunInstances" else [])
        assert journal.Journal(cluster.state_dir).unfinished() == []
    else:
        _age_creations(cluster.state_dir)
        again.rollback_env(unfinished=True)
        assert account.instances() == []
        assert account.alarms() == {}


def _age_creations(folder: Path) -> None:
    """Make unanswered creations old enough for EC2 to show their hosts."""
    path = folder / journal.FILE
    path.write_text(path.read_text().replace('"asked": "2', '"asked": "1'))


def test_two_launches_at_once_are_refused(make_cluster: Any) -> None:
    cluster = make_cluster()
    with lock.hold(cluster.state_dir), pytest.raises(ClusterError, match="is running"):
        make_cluster().terminate_instances()


# Termination.


def test_down_terminates_all_hosts_and_deletes_their_alarms(make_cluster: Any, account: Account) -> None:
    make_cluster(orchestrator_timeout=2).load_all_instances()
    _terminate(account, "trial_factory_1")  # as its alarm does: the alarm itself is kept
    stopped = account.instances()[0]["InstanceId"]
    account.ec2.stop_instances(InstanceIds=[stopped])
    assert len(account.alarms()) == 3
    gone = make_cluster().terminate_instances()
    assert sorted(host.name for host in gone) == ["trial_factory_0", "trial_orchestrator"]
    assert {host.state for host in gone} == {HostState.TERMINATED}
    assert account.instances() == []
    assert account.alarms() == {}
    assert make_cluster().find_hosts() == []
    assert make_cluster().terminate_instances() == []


def test_down_reports_alarms_that_remain(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    cluster = make_cluster()
    cluster.clients.cloudwatch.meta.events.register(
        "provide-client-params.cloudwatch.DeleteAlarms", lambda params, **_: params.update(AlarmNames=["other"])
    )
    with pytest.raises(AWSError, match="alarms still exist: Flambe_Instance"):
        cluster.terminate_instances()


# Plans and hosts.


def test_plan_of_a_new_cluster(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(volume_type="io1")
    plan = cluster.plan()
    assert cluster.calls.changing == []
    assert (plan.cluster, plan.provider, plan.region) == ("trial", "aws", REGION)
    assert [one.name for one in plan.hosts] == [ALL[2], *ALL[:2]]
    assert {one.action for one in plan.hosts} == {Action.CREATE}
    assert [one.instance_type for one in plan.hosts] == ["t3.small", "t3.large", "t3.large"]
    assert {(one.image, one.image_name) for one in plan.hosts} == {
        (account.arguments["factory_ami"], "named by orchestrator_ami"),
        (account.arguments["factory_ami"], "named by factory_ami"),
    }
    assert {one.volume for one in plan.hosts} == {"io1, 5000 IOPS, 100 GB, encrypted"}
    assert plan.version.version


def test_plan_with_a_checkout_reports_the_build(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(found: RuntimeVersion, **_given: Any) -> RuntimeVersion:
        return replace(found, version="0.4.18+content.1a", wheel=Path("/cache/flambe.whl"))

    monkeypatch.setattr(flambe_version, "build", build)
    cluster = make_cluster(flambe_source="/me/flambe")
    plan = cluster.plan()
    assert (plan.version.version, plan.version.origin) == ("0.4.18+content.1a", "built from /me/flambe")
    variables = cluster._role_variables()
    assert (variables["flambe_version"], variables["flambe_wheel_src"]) == ("0.4.18+content.1a", "/cache/flambe.whl")


def test_install_timeout_limits_all_installations(make_cluster: Any) -> None:
    variables = make_cluster(install_timeout=7.5)._role_variables()
    limits = [name for name, value in variables.items() if value == 7.5]
    assert limits == ["flambe_timeout", "cluster_extensions_timeout", "tensorboard_install_timeout"]
    for name in limits:
        role = re.sub("_install_timeout$|_timeout$", "", name)
        assert isinstance(read_defaults(role)[name], int)
    assert 7.5 not in make_cluster(install_timeout=7.5, runtime="none")._role_variables().values()


def test_a_checkout_that_cannot_be_built_fails_before_any_call_of_ec2(make_cluster: Any, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(private_key())
    key.chmod(0o600)
    (tmp_path / "flambe").mkdir()
    (tmp_path / "flambe" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text("this is no TOML")
    cluster = make_cluster(flambe_source=str(tmp_path), key=str(key))
    for launch in (cluster.plan, cluster.run):
        with pytest.raises(SourceError, match="cannot be built into a wheel") as caught:
            launch()
        assert caught.value.exit_code == 10
    assert cluster.calls.made == []


def test_plan_of_an_existing_cluster_lists_what_is_kept(make_cluster: Any) -> None:
    make_cluster().load_all_instances()
    plan = make_cluster(factories_type="t3.xlarge").plan()
    assert not plan.changes_hosts
    assert [one.host.name for one in plan.hosts if one.host] == [ALL[2], *ALL[:2]]
    assert (plan.counts["unchanged"], plan.changes_anything) == (3, False)
    changes = {one.name: [change.field for change in one.changes] for one in plan.hosts}
    assert [changes[name] for name in ALL] == [["factories_type"], ["factories_type"], []]
    (change,) = next(one for one in plan.hosts if one.name == ALL[0]).changes
    assert (change.current, change.wanted, change.effect) == ("t3.large", "t3.xlarge", Effect.NEW_HOSTS)


def test_a_launch_after_a_plan_does_not_repeat_notes_and_checks(make_cluster: Any) -> None:
    make_cluster().load_all_instances()
    cluster = make_cluster(factories_num=3, factories_type="t3.xlarge")
    notices: list[Any] = []
    cluster.observer = lambda event: notices.append(event) if isinstance(event, Notice) else None
    assert cluster.plan().notes
    cluster.calls.clear()
    cluster.load_all_instances()
    assert notices == []
    assert cluster.calls.of_kind("DescribeSubnets") == []


def test_find_hosts_includes_hosts_that_are_shutting_down(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    cluster = make_cluster()

    def show(parsed: dict[str, Any], **_: Any) -> None:
        for group in parsed["Reservations"]:
            for one in group["Instances"]:
                one["State"]["Name"] = "shutting-down"

    cluster.clients.ec2.meta.events.register("after-call.ec2.DescribeInstances", show)
    hosts = cluster.find_hosts()
    assert {host.state for host in hosts} == {HostState.SHUTTING_DOWN}
    assert sorted(host.name for host in hosts) == ALL


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"subnet_id": "subnet-00000000"}, "subnet_id", "subnet-00000000"),
        ({"security_group": "sg-00000000"}, "security_group", "sg-00000000"),
        ({"key_name": "wrok"}, "key_name", "did you mean work?"),
        ({"factories_type": "t3.lagre"}, "factories_type", "did you mean t3.large?"),
        ({"factories_type": "g3.4xlagre"}, "factories_type", "did you mean g4dn.4xlarge?"),
        ({"factories_type": "g5.xlarge"}, "factories_type", "supports (CUDA compute capability 7.5)"),
        ({"factories_type": "g6.xlarge"}, "factories_type", "did you mean g4dn.xlarge?"),
        ({"factories_type": "p4d.24xlarge"}, "factories_type", "does not offer p4d.24xlarge"),
        ({"orchestrator_type": "t4g.small"}, "orchestrator_type", "not an x86_64 machine"),
        ({"factory_ami": "ami-00000000"}, "factory_ami", "ami-00000000"),
    ],
)
def test_missing_resources_are_reported_before_anything_is_created(
    make_cluster: Any, account: Account, changes: dict[str, Any], field: str, message: str
) -> None:
    for call in ("plan", "load_all_instances"):
        cluster = make_cluster(**changes)
        with pytest.raises(ClusterConfigurationError) as caught:
            getattr(cluster, call)()
        assert [one.field for one in caught.value.problems] == [field]
        assert message in caught.value.message
        assert cluster.calls.changing == []
    assert account.instances() == []
    assert not account.alarms()


def test_current_ray_runs_on_arm64_hosts_with_the_image_of_each_type(make_cluster: Any) -> None:
    types = {"orchestrator_type": "t3.small", "factories_type": "c7g.large"}
    default = {"orchestrator_ami": None, "factory_ami": None}
    cluster = make_cluster(runtime="ray", **types, **default)
    planned = {host.name: (host.instance_type, host.image) for host in cluster.plan().hosts}
    assert planned == {
        "trial_orchestrator": ("t3.small", "ami-00000086"),
        "trial_factory_0": ("c7g.large", "ami-00000064"),
        "trial_factory_1": ("c7g.large", "ami-00000064"),
    }
    with pytest.raises(ClusterConfigurationError) as caught:
        make_cluster(runtime="flambe", **types, **default).plan()
    assert [one.message for one in caught.value.problems] == ["c7g.large is not an x86_64 machine"]


def test_an_image_for_another_processor_than_that_of_its_type_is_refused(make_cluster: Any) -> None:
    for kind, image, found, wanted in (
        ("c7g.large", "ami-00000086", "x86_64", "arm64"),
        ("t3.large", "ami-00000064", "arm64", "x86_64"),
    ):
        with pytest.raises(ClusterConfigurationError) as caught:
            make_cluster(runtime="ray", factories_type=kind, factory_ami=image).plan()
        [problem] = caught.value.problems
        assert (problem.field, problem.message) == ("factory_ami", f"image {image} is for {found}")
        assert problem.expected == f"an image for {wanted}"


@pytest.fixture
def default_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the default images by whether they have a driver; moto has no Deep Learning AMI."""

    def find(ec2: Any, _ssm: Any, *, gpu: bool = False, architecture: str = images.X86) -> images.Image:
        assert architecture == images.X86
        return images.get_image(ec2, "ami-00000086", origin="with NVIDIA driver" if gpu else "without driver")

    monkeypatch.setattr(images, "find_default", find)


@pytest.mark.parametrize(
    ("kind", "gpu"),
    [
        ("g5.xlarge", "1 x A10G, 22 GiB"), ("g6.xlarge", "1 x L4, 22 GiB"), ("p4d.24xlarge", "8 x A100, 40 GiB"),
        ("p5.48xlarge", "8 x H100, 80 GiB"), ("g6e.xlarge", "1 x L40S, 45 GiB"), ("p5en.48xlarge", "8 x H200, 141 GiB"),
    ],
)  # fmt: skip
def test_flambe_refuses_newer_gpus_by_name(
    make_cluster: Any, default_images: None, monkeypatch: pytest.MonkeyPatch, kind: str, gpu: str
) -> None:
    cluster = make_cluster(factories_type=kind, factory_ami=None)
    offered = api.list_offered_types
    monkeypatch.setattr(api, "list_offered_types", lambda *args: {kind, *offered(*args)})
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.plan()
    [problem] = caught.value.problems
    assert problem.message == (
        f"the GPUs of {kind} ({gpu}) are newer than the runtime supports (CUDA compute capability 7.5)"
    )
    assert problem.expected == (
        "a type with older GPUs, or none; runtime: ray supports all GPUs, and nvidia_driver: ignore uses only the CPUs"
    )
    for changes in ({"runtime": "ray"}, {"runtime": "none"}, {"nvidia_driver": "ignore"}):
        planned = make_cluster(factories_type=kind, factory_ami=None, **changes).plan().hosts
        assert [one.gpus for one in planned] == ["", gpu, gpu]
        assert planned[1].image_name == "with NVIDIA driver"


def test_the_type_for_flambe_gets_the_image_with_a_driver(make_cluster: Any, default_images: None) -> None:
    planned = make_cluster(factories_type="g4dn.xlarge", factory_ami=None, orchestrator_ami=None).plan().hosts
    assert [(one.gpus, one.image_name) for one in planned] == [
        ("", "without driver"), *[("1 x T4, 16 GiB", "with NVIDIA driver")] * 2,
    ]  # fmt: skip


def test_newer_gpus_are_accepted_on_the_orchestrator(make_cluster: Any) -> None:
    assert make_cluster(orchestrator_type="g5.xlarge").plan()


def test_all_problems_are_reported_together(make_cluster: Any) -> None:
    cluster = make_cluster(
        subnet_id="subnet-00000000", key_name="x", factories_type="z9.huge", orchestrator_ami="ami-00000000"
    )
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.plan()
    assert {one.field for one in caught.value.problems} == {
        "subnet_id",
        "key_name",
        "factories_type",
        "orchestrator_ami",
    }
    assert len(caught.value.message.splitlines()) == 4


def test_unsuitable_images_are_refused(make_cluster: Any, account: Account) -> None:
    head, factory = [one["ImageId"] for one in account.ec2.describe_images()["Images"]][:2]
    cluster = make_cluster(orchestrator_ami=head, factory_ami=factory)

    def show(parsed: dict[str, Any], **_: Any) -> None:
        if not parsed["Images"]:  # of baked images
            return
        (image,) = parsed["Images"]
        image["RootDeviceName"] = "/dev/sda1"
        image["Architecture"] = "arm64" if image["ImageId"] == head else "x86_64"
        size = 8 if image["ImageId"] == head else 120
        image["BlockDeviceMappings"] = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": size}}]
        image["State"] = "available" if image["ImageId"] == head else "deregistered"

    cluster.clients.ec2.meta.events.register("after-call.ec2.DescribeImages", show)
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.plan()
    assert {one.field: one.message for one in caught.value.problems} == {
        "orchestrator_ami": f"image {head} is for arm64",
        "factory_ami": f"image {factory} is deregistered",
        "volume_size": f"volume_size is 100, image {factory} needs 120 GB",
    }


def test_a_security_group_of_another_network_is_refused(make_cluster: Any, account: Account) -> None:
    other = account.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = account.ec2.create_security_group(GroupName="o", Description="o", VpcId=other)["GroupId"]
    with pytest.raises(ClusterConfigurationError, match=rf"{group} is in {other}"):
        make_cluster(security_group=group).plan()


def _make_group(account: Account, *permissions: dict[str, Any]) -> str:
    vpc = account.ec2.describe_subnets(SubnetIds=[account.arguments["subnet_id"]])["Subnets"][0]["VpcId"]
    group: str = account.ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    if permissions:
        account.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(permissions))
    return group


def test_a_security_group_without_the_needed_rules_is_refused(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(security_group=_make_group(account))
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.plan()
    assert {one.field for one in caught.value.problems} == {"security_group"}
    first, second = (one.message for one in caught.value.problems)
    assert "has no rule that lets SSH in (TCP port 22, IPv4)" in first
    assert "does not let its members connect to each other" in second


def test_a_plan_shows_where_a_security_group_lets_ssh_in_from(make_cluster: Any, account: Account) -> None:
    group = _make_group(account, {**SSH_RULE, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]})
    plan = make_cluster(security_group=group, runtime="none", **WITHOUT_COSTS).plan()
    assert plan.notes == (
        f"security group {group} lets SSH in only from 203.0.113.7/32; connect from there",
        f"security group {group} does not let its members connect to each other",
    )


def test_a_private_source_is_not_compared_if_the_hosts_have_public_addresses(
    make_cluster: Any, account: Account
) -> None:
    ranges = [{"CidrIp": "127.0.0.0/8"}, {"CidrIp": "172.31.0.0/16"}]
    group = _make_group(account, {"IpProtocol": "-1", "IpRanges": ranges})
    assert len(make_cluster(security_group=group, **WITHOUT_COSTS).plan().notes) == 1
    assert make_cluster(security_group=group, use_public=False, **WITHOUT_COSTS).plan().notes == ()


@pytest.mark.parametrize(("kind", "file_format"), [("rsa", "RFC4716"), ("rsa", "PEM")])
def test_the_private_key_must_be_the_one_of_the_key_pair(
    make_cluster: Any, account: Account, tmp_path: Path, kind: str, file_format: str
) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeKeyPairs.html, IncludePublicKey."""
    content = private_key(kind, file_format=file_format)
    key = write_key(tmp_path / "key.pem", content)
    account.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=f"{public_key(content).strip()} comment".encode())
    assert len(make_cluster(key_name="mine", key=str(key)).plan().to_create) == 3
    cluster = make_cluster(key=str(key))
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.plan()
    (problem,) = caught.value.problems
    assert problem.field == "key"
    shown = subprocess.run(["ssh-keygen", "-l", "-f", key], capture_output=True, check=True, text=True).stdout
    assert f"{key} ({shown.split()[1]}) is not the private key of the key pair work (SHA256:" in problem.message
    assert caught.value.exit_code == 3
    assert cluster.calls.changing == []


def test_a_key_with_a_passphrase_is_compared_by_its_public_file(
    make_cluster: Any, account: Account, tmp_path: Path
) -> None:
    key = write_key(tmp_path / "key.pem", private_key(passphrase="secret"))
    assert make_cluster(key=str(key)).plan()
    for content in (public_key(private_key()), "", "ssh-rsa", "ssh-rsa no/base64?", "\xe9"):
        (tmp_path / "key.pem.pub").write_text(content, encoding="latin-1")
        assert make_cluster(key=str(key)).plan()
    (tmp_path / "key.pem.pub").write_text(public_key(private_key("ecdsa")))
    with pytest.raises(ClusterConfigurationError, match="is not the private key"):
        make_cluster(key=str(key)).plan()


def test_a_missing_permission_is_reported_before_the_question(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster()
    refuse(cluster.clients.ec2, "RunInstances", [client_error("UnauthorizedOperation", status=403)])
    with pytest.raises(AWSError, match="create instances"):
        cluster.plan()
    assert account.instances() == []


def test_a_subnet_without_public_addresses_is_noted(make_cluster: Any, account: Account) -> None:
    subnet = account.arguments["subnet_id"]
    account.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": False})
    assert any("no public addresses" in note for note in make_cluster().plan().notes)
    assert make_cluster(use_public=False, **WITHOUT_COSTS).plan().notes == ()
    cluster = make_cluster()
    cluster.load_all_instances()
    assert all(host.address == host.private_ip and host.public_ip is None for host in cluster.hosts)


def _make_subnet(account: Account, *, gateway: bool) -> str:
    """Make a subnet that assigns no public addresses, with its own route table."""
    known = account.ec2.describe_subnets(SubnetIds=[account.arguments["subnet_id"]])["Subnets"][0]
    subnet: str = account.ec2.create_subnet(VpcId=known["VpcId"], CidrBlock="172.31.240.0/24")["Subnet"]["SubnetId"]
    table = account.ec2.create_route_table(VpcId=known["VpcId"])["RouteTable"]["RouteTableId"]
    account.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    if gateway:
        igw = account.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        account.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=igw)
    return subnet


@pytest.mark.parametrize(
    ("gateway", "use_public", "public"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_public_addresses_are_requested_in_a_subnet_that_assigns_none(
    make_cluster: Any, account: Account, gateway: bool, use_public: bool, public: bool
) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html."""
    cluster = make_cluster(subnet_id=_make_subnet(account, gateway=gateway), use_public=use_public)
    assert any("the hosts request them" in note for note in cluster.plan().notes) is public
    cluster.load_all_instances()
    assert all((host.public_ip is not None) is public for host in cluster.hosts)
    assert all(host.address == (host.public_ip if public else host.private_ip) for host in cluster.hosts)
    for one in account.instances():
        (interface,) = one["NetworkInterfaces"]
        assert [group["GroupId"] for group in interface["Groups"]] == [account.arguments["security_group"]]
        assert one["SubnetId"] == cluster.subnet_id


def test_a_subnet_without_ipv4_addresses_is_refused(make_cluster: Any, account: Account) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Subnet.html, ipv6Native."""
    cluster = make_cluster()

    def show(parsed: dict[str, Any], **_: Any) -> None:
        (subnet,) = parsed["Subnets"]
        subnet.update(Ipv6Native=True, AvailableIpAddressCount=0)
        del subnet["CidrBlock"]

    cluster.clients.ec2.meta.events.register("after-call.ec2.DescribeSubnets", show)
    with pytest.raises(ClusterConfigurationError, match="has IPv6 addresses only") as caught:
        cluster.plan()
    assert [one.field for one in caught.value.problems] == ["subnet_id"]


@pytest.mark.parametrize(
    ("changes", "noted"),
    [
        ({}, ["t3.large, t3.small: AWS bills CPU use above"]),
        ({"factories_type": "t2.large", "orchestrator_type": "m5.large"}, []),
        ({**WITHOUT_COSTS, "dedicated": True}, ["AWS adds a fee for each hour"]),
    ],
)
def test_a_plan_names_costs_beyond_the_price_of_the_types(
    make_cluster: Any, changes: dict[str, Any], noted: list[str]
) -> None:
    notes = make_cluster(**changes).plan().notes
    assert len(notes) == len(noted)
    assert all(text in note for text, note in zip(noted, notes, strict=True))


# Quotas.


def test_a_plan_refuses_hosts_beyond_the_quota(make_cluster: Any, account: Account) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html."""
    account.quotas["L-DB2E81BA"] = 0.0
    cluster = make_cluster(factories_type="g4dn.xlarge")
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.plan()
    (problem,) = caught.value.problems
    assert problem.field == "factories_type"
    assert problem.message == (
        f"in {REGION}, quota L-DB2E81BA (Running On-Demand G and VT instances) is 0 vCPUs: 0 in use, 8 more needed"
    )
    assert "request-service-quota-increase --region eu-west-1 --service-code ec2 --quota-code L-DB2E81BA " in (
        problem.expected
    )
    assert problem.expected.endswith("--desired-value 8")
    assert (caught.value.exit_code, caught.value.hint) == (3, "change this, then launch again; nothing was created")
    account.quotas["L-DB2E81BA"] = 8.0
    assert make_cluster(factories_type="g4dn.xlarge").plan()


def test_running_hosts_count_towards_the_quota(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()  # 3 hosts with 2 vCPUs each
    account.quotas["L-1216C47A"] = 9.0
    assert make_cluster(factories_num=3).plan()
    with pytest.raises(ClusterConfigurationError, match=r"is 9 vCPUs: 6 in use, 4 more needed"):
        make_cluster(factories_num=4).plan()
    replaced = make_cluster(factories_num=3)
    replaced.replace_hosts(["trial_factory_0"])  # 4 in use after it ended, 4 more for two new hosts
    assert replaced.plan()


def test_stopped_hosts_need_the_quota_when_they_start(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    account.ec2.stop_instances(InstanceIds=[one["InstanceId"] for one in account.instances()])
    account.quotas["L-1216C47A"] = 5.0
    with pytest.raises(ClusterConfigurationError, match=r"is 5 vCPUs: 0 in use, 6 more needed"):
        make_cluster().load_all_instances()
    assert {one["State"]["Name"] for one in account.instances()} == {"stopped"}
    account.quotas["L-1216C47A"] = 6.0
    make_cluster().load_all_instances()


def test_quotas_that_may_not_be_read_are_noted(make_cluster: Any) -> None:
    cluster = make_cluster(**WITHOUT_COSTS)
    refused = client_error("AccessDeniedException", "GetServiceQuota", status=400)
    refuse(cluster.clients.service_quotas, "GetServiceQuota", [refused])
    assert cluster.plan().notes == (
        "the vCPU quotas of this account were not compared: these credentials may not read them",
    )


def test_routes_that_may_not_be_read_count_as_private(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(subnet_id=_make_subnet(account, gateway=True))
    refuse(cluster.clients.ec2, "DescribeRouteTables", [client_error("UnauthorizedOperation", status=403)])
    assert any("private addresses will be used" in note for note in cluster.plan().notes)


def test_use_public_selects_the_address(make_cluster: Any) -> None:
    make_cluster().load_all_instances()
    assert all(host.address == host.public_ip for host in make_cluster().find_hosts())
    assert all(host.address == host.private_ip for host in make_cluster(use_public=False).find_hosts())


# Arguments.


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"orchestrator_timeout": 1, "factories_timeout": 2}, "orchestrator_timeout"),
        ({"orchestrator_timeout": 1, "factories_timeout": -1}, "orchestrator_timeout"),
        ({"factories_timeout": 169}, "factories_timeout"),
        ({"factories_timeout": -2}, "factories_timeout"),
        ({"volume_type": "gp9"}, "volume_type"),
        ({"volume_type": "io1", "volume_size": 99}, "volume_size"),
        ({"tags": {"Creator": "x"}}, "tags.Creator"),
        ({"tags": {"NAME": "x"}}, "tags.NAME"),
        ({"name": "no/slash"}, "name"),
    ],
)
def test_parse_rejects_invalid_values(make_cluster: Any, tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    cluster = make_cluster(**{**_parsable(tmp_path), **changes})
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.parse()
    assert [one.field for one in caught.value.problems] == [field]
    assert cluster.calls.made == []


@pytest.mark.parametrize(
    "changes",
    [{}, {"volume_size": 100.0}, {"orchestrator_timeout": 5, "factories_timeout": 5}, {"volume_type": "io1"}],
)
def test_parse_accepts_valid_values(make_cluster: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    cluster = make_cluster(**{**_parsable(tmp_path), **changes})
    cluster.parse()
    assert cluster._settings.volume_size == 100


def _parsable(folder: Path) -> dict[str, Any]:
    key = folder / "key.pem"
    key.write_text(private_key())
    key.chmod(0o600)
    return {"key": str(key)}


def test_identity_consists_of_creator_region_and_endpoint(make_cluster: Any) -> None:
    assert make_cluster().identity() == ("ada@example.com", REGION, "")
    folders = {make_cluster(**changes).state_dir for changes in ({}, {"creator": "eve"}, {"region_name": "us-west-2"})}
    assert len(folders) == 3
