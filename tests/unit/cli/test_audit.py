"""``audit`` against the account of a lab: clusters, what is left behind, exit codes, and denied lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flambe_ansible import ec2
from flambe_ansible.doctor import audit as examining
from flambe_ansible.ec2 import baked, instances, launching
from flambe_ansible.ec2.tags import BAKING, BASE, RECIPE
from flambe_ansible.lab import policies
from flambe_ansible.lab.authorization import Guard
from flambe_ansible.providers import accounts, own_resources
from tests.unit.cli.conftest import Run
from tests.unit.lab.served import ServedLab, serve

OWN = dict.fromkeys(("key", "key_name", "security_group", "subnet_id"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with serve(tmp_path_factory.mktemp("lab"), policy=ec2.POLICY.read_text()) as made:
        made.gate._throttle.check = lambda _operation: None  # type: ignore[method-assign]
        yield made


@pytest.fixture
def lab(served: ServedLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedLab]:
    """Return an empty account; resources are old enough to be left behind."""
    for module in (instances, launching, own_resources):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
        monkeypatch.setattr(module, "VISIBLE_SECONDS", 0.0)
    monkeypatch.setattr(examining, "YOUNG_SECONDS", 0.0)
    monkeypatch.setattr(accounts.session, "make_session", lambda _region: served.session)
    monkeypatch.setattr(accounts, "Clients", lambda make, _url: real(make, lambda: served.endpoint))
    yield served
    cloud = served.cloud
    served.gate._guard = Guard(cloud, policies.parse(ec2.POLICY.read_text()))
    for instance in cloud.instances():
        if instance.state != "terminated":
            cloud.ec2.terminate_instances([instance.id])
        cloud.forget(instance)
    cloud.ec2.volumes.clear()
    cloud.cloudwatch.alarms.clear()
    for vpc in cloud.ec2.groups.values():
        for group in [one for one in vpc.values() if one.name.startswith("flambe-trial-") or "other" in one.name]:
            cloud.ec2.delete_security_group(group_id=group.id)
    for name in [one for one in cloud.ec2.key_pairs if one.startswith(("flambe-trial-", "flambe-other-"))]:
        cloud.ec2.delete_key_pair(name)


real = accounts.Clients


def create(lab: ServedLab, **changes: Any) -> Any:
    cluster = lab.cluster(**{**OWN, "ssh_sources": ["203.0.113.0/24"], "orchestrator_timeout": 2, **changes})
    cluster.load_all_instances()
    return cluster


def deny(lab: ServedLab, *actions: str) -> None:
    document = json.loads(ec2.POLICY.read_text())
    for statement in document["Statement"]:
        named = statement["Action"]
        statement["Action"] = [one for one in ([named] if isinstance(named, str) else named) if one not in actions]
    lab.gate._guard = Guard(lab.cloud, policies.parse(json.dumps(document)))


def find(document: Any, name: str = "trial") -> Any:
    [region] = document["regions"]
    return next((one for one in region["clusters"] if one["name"] == name), None)


def count_kinds(cluster: Any) -> dict[str, int]:
    kinds = [one["kind"] for one in cluster["resources"]]
    return {kind: kinds.count(kind) for kind in kinds}


def test_an_empty_region(lab: ServedLab, run: Run) -> None:
    done = run("audit")
    assert (done.code, done.stdout) == (0, "us-east-1, account 123456789012: nothing has the tags of a cluster\n")
    assert run("audit", "--orphans").stdout.endswith("nothing is left behind\n")
    document = json.loads(run("audit", "--json").stdout)
    assert (document["schema_version"], document["orphans"], document["complete"]) == (1, 0, True)


def test_a_cluster_and_all_that_it_has(lab: ServedLab, run: Run) -> None:
    create(lab)
    create(lab, name="other", creator="bob smith", factories_num=0)
    done = run("audit", "--json")
    document = json.loads(done.stdout)
    assert done.code == 0, document
    cluster = find(document)
    wanted = {"instance": 3, "volume": 3, "alarm": 3, "security group": 1, "key pair": 1}
    assert (cluster["state"], cluster["creator"], count_kinds(cluster)) == ("running", "ada@example.com", wanted)
    assert all(one["remedy"] == cluster["remedy"] for one in cluster["resources"])
    assert cluster["remedy"] == "flambe-ans down --name trial --creator ada@example.com --region us-east-1"
    assert find(document, "other")["remedy"] == (
        "flambe-ans down --name other --creator 'bob smith' --region us-east-1"
    )
    assert all(one["since"] for one in cluster["resources"] if one["kind"] != "security group")


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits(lab: ServedLab, run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    create(lab)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run("audit").stdout.splitlines()
    table = lines[: lines.index("To remove:")]
    assert max(map(len, table)) <= width
    rows = [line.split()[0] for line in table if line.startswith("  ")]
    assert (rows[0], rows.count("orchestrator"), rows.count("factory")) == ("what", 1, 2)
    assert sum(" i-" in line for line in table) == 6  # hosts and their alarms
    assert lines[-1].startswith(
        "  flambe-ans down --name trial --creator ada@example.com --region us-east-1   # all of"
    )


def orphan_alarm(lab: ServedLab) -> None:
    for instance in lab.cloud.instances():
        lab.cloud.ec2.terminate_instances([instance.id])
        lab.fleet.terminate(instance)
        lab.cloud.forget(instance)


def test_what_is_left_behind_after_the_hosts(lab: ServedLab, run: Run) -> None:
    create(lab)
    orphan_alarm(lab)
    done = run("audit", "--json")
    cluster = find(json.loads(done.stdout))
    assert (done.code, cluster["state"]) == (12, "orphaned")
    found = {one["kind"]: one["orphan"] for one in cluster["resources"]}
    assert found == {
        "alarm": "its instance does not exist",
        "security group": "the cluster has no instance",
        "key pair": "the cluster has no instance",
    }
    done = run("audit", "--orphans")
    assert done.code == 12
    assert "left behind: security group sg-" in done.stdout


def test_a_volume_that_is_attached_to_nothing(lab: ServedLab, run: Run) -> None:
    create(lab)
    tags = [{"Key": key, "Value": value} for key, value in lab.cluster()._tags.common.items()]
    made = lab.cloud.ec2.create_volume(size=8, zone_name="us-east-1a")
    lab.cloud.ec2.create_tags([made.id], {tag["Key"]: tag["Value"] for tag in tags})
    document = json.loads(run("audit", "--orphans", "--json").stdout)
    cluster = find(document)
    assert document["orphans"] == 1
    [left] = cluster["resources"]
    assert (left["kind"], left["id"], left["orphan"]) == ("volume", made.id, "attached to no instance")
    assert left["remedy"] == f"aws ec2 delete-volume --volume-id {made.id} --region us-east-1"


def test_factories_without_an_orchestrator(lab: ServedLab, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    create(lab)
    lab.client().terminate_instances(InstanceIds=[find_head(lab).id])
    cluster = find(json.loads(run("audit", "--orphans", "--json").stdout))
    reasons = {one["orphan"] for one in cluster["resources"] if one["kind"] == "instance"}
    assert reasons == {"the cluster has no orchestrator"}
    # A launch requests the factories before the orchestrator.
    monkeypatch.setattr(examining, "YOUNG_SECONDS", 300.0)
    done = run("audit", "--json")
    assert (done.code, find(json.loads(done.stdout))["state"]) == (0, "starting")
    monkeypatch.setattr(examining, "datetime", Later)
    assert run("audit").code == 12


def test_the_stopped_host_of_a_bake_that_was_interrupted(lab: ServedLab, run: Run) -> None:
    cluster = create(lab, factories_num=0)
    head = find_head(lab)
    lab.cloud.ec2.create_tags([head.id], {BAKING: "0123456789ab"})
    assert run("audit", "--orphans").code == 0  # it powers itself off
    lab.client().stop_instances(InstanceIds=[head.id])
    tags = {**cluster._tags.common, RECIPE: "0123456789abcdef", BASE: "ubuntu-x86_64"}
    image = baked.create(cluster.clients.sender, head.id, name="trial", description="", tags=tags)
    lab.cloud.ec2.amis[image].state = "pending"
    assert run("audit", "--orphans").code == 0  # its image is being made
    lab.cloud.ec2.amis.pop(image)
    lab.cloud.ec2.snapshots.clear()
    assert run("audit", "--orphans").code == 12
    [host] = [one for one in find(json.loads(run("audit", "--json").stdout))["resources"] if one["id"] == head.id]
    assert host["orphan"] == "its bake was interrupted, and it does not end itself"
    assert host["remedy"].startswith("flambe-ans down --name trial ")


class Later(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz or UTC) + timedelta(minutes=6)


def test_two_orchestrators(lab: ServedLab, run: Run) -> None:
    create(lab)
    second = make_second(lab)
    document = json.loads(run("audit", "--orphans", "--json").stdout)
    left = find(document)["resources"]
    assert second in [one["id"] for one in left]
    assert [one["orphan"] for one in left] == ["the cluster has 2 orchestrators"] * 2


def find_head(lab: ServedLab) -> Any:
    [head] = [one for one in lab.cloud.instances() if ("Role", "Orchestrator") in read_pairs(one)]
    return head


def read_pairs(instance: Any) -> list[tuple[str, str]]:
    return [(tag["key"], tag["value"]) for tag in instance.get_tags()]


def make_second(lab: ServedLab) -> str:
    """Create a second orchestrator, as two launches at the same moment do."""
    lab.gate._guard = Guard(lab.cloud, None)
    tags = [{"Key": tag["key"], "Value": tag["value"]} for tag in find_head(lab).get_tags()]
    made = lab.client().run_instances(
        ImageId=lab.cloud.image_id,
        InstanceType="t3.small",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return str(made["Instances"][0]["InstanceId"])


def test_a_foreign_instance_of_the_same_name_is_not_listed(lab: ServedLab, run: Run) -> None:
    lab.gate._guard = Guard(lab.cloud, None)
    lab.client().run_instances(
        ImageId=lab.cloud.image_id,
        InstanceType="t3.small",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "trial_orchestrator"}]},
        ],
    )
    assert "nothing has the tags" in run("audit").stdout


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("ec2:DescribeInstances", "instance"),
        ("ec2:DescribeVolumes", "volume"),
        ("cloudwatch:DescribeAlarms", "alarm"),
        ("ec2:DescribeSpotInstanceRequests", "spot request"),
        ("ec2:DescribeSecurityGroups", "security group"),
        ("ec2:DescribeKeyPairs", "key pair"),
        ("ec2:DescribeImages", "image"),
        ("ec2:DescribeSnapshots", "snapshot"),
    ],
)
def test_a_denied_list_is_named(lab: ServedLab, run: Run, action: str, kind: str) -> None:
    create(lab)
    deny(lab, action)
    done = run("audit")
    assert done.code == 4
    assert f"not looked at: {kind}s: {action} is not allowed" in done.stdout
    document = json.loads(run("audit", "--json").stdout)
    assert (document["complete"], document["orphans"]) == (False, 0)
    assert document["regions"][0]["not_looked_at"] == {kind: action}
    if kind == "instance":
        assert find(document)["state"] == "unknown"


def test_region_and_lab_exclude_each_other(run: Run) -> None:
    done = run("audit", "--region", "us-east-1", "--lab")
    assert (done.code, "give either --region or --lab" in done.stderr) == (2, True)


def test_a_lab_that_is_not_running(run: Run) -> None:
    done = run("audit", "--lab", "no-such-lab")
    assert (done.code, "no-such-lab" in done.stderr) == (8, True)
