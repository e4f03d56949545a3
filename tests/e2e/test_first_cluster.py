"""The first cluster of a new account: a file without subnet, security group and key pair; ``runtime: none``.

The file is an ``!AWSCluster``, and the variables of AWS's tools point to the lab. The tests run in their order.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from flambe_ansible.lab import LabInfo
from tests.e2e import cloud
from tests.e2e.listeners import GET, SERVE
from tests.e2e.test_plain import Cluster

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

FILE = """!AWSCluster
name: first
creator: ada@example.com
factories_num: 1
factories_type: t3.small
orchestrator_type: t3.small
runtime: none
"""
CREATING = ("Create", "Import", "Authorize", "Revoke", "RunInstances", "Delete")


class FirstCluster(Cluster):
    """The cluster, as a user of AWS calls it."""

    def read_account(self) -> dict[str, list[str]]:
        """List the names of the account's groups, key pairs and live instances."""
        ec2 = cloud.client(self.lab)
        live = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        owned = [*live, {"Name": "tag:Cluster-Name", "Values": ["first"]}]
        return {
            "groups": sorted(one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]),
            "key pairs": sorted(one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]),
            "rules": [
                str(one["IpPermissions"])
                for one in ec2.describe_security_groups(GroupNames=["default", "flambe-lab"])["SecurityGroups"]
            ],
            "instances": [
                one["InstanceId"]
                for group in ec2.describe_instances(Filters=owned)["Reservations"]
                for one in group["Instances"]
            ],
        }


@pytest.fixture(scope="module")
def cluster(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstCluster]:
    made = FirstCluster(tmp_path_factory.mktemp("first"), lab)
    made.environment |= lab.environment()
    made.file.write_text(FILE)
    yield made
    made.call("down", str(made.file), "--yes")


@pytest.fixture(scope="module")
def before(cluster: FirstCluster) -> dict[str, list[str]]:
    return cluster.read_account()


def test_1_a_launch_makes_all_that_the_file_does_not_have(cluster: FirstCluster, before: dict[str, list[str]]) -> None:
    plan = cluster.document("launch", "--dry-run")
    assert list(plan["resources"]) == ["subnet", "security group", "key pair"]
    assert cluster.read_account() == before
    document = cluster.document("launch", "--yes")
    assert (document["state"], sorted(document["created"])) == ("running", ["first_factory_0", "first_orchestrator"])
    after = cluster.read_account()
    (group,) = set(after["groups"]) - set(before["groups"])
    assert set(after["key pairs"]) - set(before["key pairs"]) == {group}
    assert group.startswith("flambe-first-")
    assert after["rules"] == before["rules"]


def test_2_a_second_launch_creates_nothing(cluster: FirstCluster) -> None:
    log = cluster.lab.state_dir / "calls.jsonl"
    known = cluster.read_account()
    size = log.stat().st_size
    document = cluster.document("launch", "--yes")
    assert (document["created"], set(document["changed"].values())) == ([], {0})
    with log.open() as calls:
        calls.seek(size)
        made = calls.read()
    assert '"DescribeSecurityGroups"' in made
    creating = [line for line in made.splitlines() for word in CREATING if f'"operation": "{word}' in line]
    assert [line for line in creating if "DeleteAlarms" not in line] == []
    assert cluster.read_account() == known


def test_3_only_ssh_and_the_other_hosts_reach_a_host(cluster: FirstCluster) -> None:
    found = cluster.document("status")
    address = found["orchestrator"]["private_ip"]
    cluster.call("ssh", str(cluster.file), "orchestrator", "--", SERVE.format(port=8000))
    get = GET.format(address=address, port=8000)
    assert cluster.call("ssh", str(cluster.file), "orchestrator", "--", get) == "200"
    assert cluster.call("ssh", str(cluster.file), "factory", "0", "--", get) == "200"
    done = subprocess.run(["sh", "-c", get], capture_output=True, text=True, check=False)
    assert done.stdout == "000"


def test_4_down_leaves_nothing(cluster: FirstCluster, before: dict[str, Any]) -> None:
    cluster.call("down", str(cluster.file), "--yes")
    assert "deleted security group sg-" in cluster.progress
    assert cluster.read_account() == before
    assert list(cluster.file.parent.rglob("id_ed25519")) == []
