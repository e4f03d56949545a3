"""Faults of real hosts, with ``runtime: none``: a launch waits, or names the host and can be repeated.

The tests share one cluster and run in their order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from flambe_ansible import lab as labs
from flambe_ansible.lab import LabInfo
from tests.e2e import cloud
from tests.e2e.test_plain import Cluster as PlainCluster

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


class Cluster(PlainCluster):
    """A cluster on whose hosts faults act."""

    def configure(self, factories: int, *commands: str) -> None:
        lines = "".join(f"  - {command}\n" for command in commands)
        self.file.write_text(
            f"!LabCluster\nname: drill\nlab: {self.lab.name}\nfactories_num: {factories}\nruntime: none\n"
            f"boot_timeout: 60\nanswer_timeout: 20\nsetup_cmds:\n{lines or '  - hostname'}\n"
        )

    def launch(self, *, code: int = 0) -> str:
        return self.call("launch", str(self.file), "--yes", code=code)

    def count_hosts(self) -> int:
        found = self.document("status")
        return sum(one["state"] == "running" for one in (found["orchestrator"], *found["factories"]))


@pytest.fixture(scope="module")
def cluster(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("faults"), lab)
    made.configure(1)
    yield made
    labs.clear_faults(lab)
    made.call("down", str(made.file), "--yes")


@pytest.fixture(autouse=True)
def _clear(lab: LabInfo) -> Iterator[None]:
    yield
    labs.clear_faults(lab)


def test_a_launch_waits_for_slow_hosts_late_keys_and_the_lock_of_apt(cluster: Cluster, lab: LabInfo) -> None:
    labs.add_fault(lab, kind="slow-boot", host="drill_orchestrator", seconds=4.0)
    labs.add_fault(lab, kind="sshd-before-key", host="drill_factory*", seconds=4.0)
    labs.add_fault(lab, kind="apt-lock", seconds=8.0)
    cluster.configure(1, "sudo apt-get -y autoremove")
    cluster.launch()
    assert cluster.count_hosts() == 2


def test_a_host_with_another_key_than_its_console_is_refused(cluster: Cluster, lab: LabInfo) -> None:
    labs.add_fault(lab, kind="wrong-host-key", host="drill_factory*")
    cluster.configure(2, "sudo apt-get -y autoremove")
    text = cluster.launch(code=5)
    assert "drill_factory_1: the host at" in text and "shows the key" in text and "nothing was sent to it" in text, text
    _end_factory(cluster, lab)


@pytest.mark.long
def test_a_host_with_a_full_disk_is_named(cluster: Cluster, lab: LabInfo) -> None:
    labs.add_fault(lab, kind="disk-full", host="drill_factory*", count=4)
    cluster.configure(2, "sudo apt-get -y autoremove", "head -c 20M /dev/urandom > ~/data")
    text = cluster.call("launch", str(cluster.file), "--yes", code=None)
    assert "No space left on device" in text and "factory" in text, text
    _end_factory(cluster, lab)
    cluster.call("exec", str(cluster.file), "--", "rm -f ~/data")


@pytest.mark.long
def test_a_network_that_is_down_for_a_while_is_waited_for(cluster: Cluster, lab: LabInfo) -> None:
    cluster.configure(1, "sleep 1", "sleep 2")
    labs.add_fault(lab, kind="network-cut", host="drill_factory_0", seconds=8.0, times=1)
    time.sleep(1)
    cluster.launch()
    assert cluster.count_hosts() == 2


@pytest.mark.long
def test_a_host_that_reboots_during_the_play_is_named_and_the_next_launch_completes(
    cluster: Cluster, lab: LabInfo
) -> None:
    cluster.configure(1, "sleep 20")
    labs.add_fault(lab, kind="reboot", host="drill_factory_0", delay=8.0)
    text = cluster.call("launch", str(cluster.file), "--yes", code=None)
    if "error:" in text:
        assert "factory_0" in text or "factory 0" in text, text
    cluster.launch()
    assert cluster.count_hosts() == 2


def _end_factory(cluster: Cluster, lab: LabInfo) -> None:
    """Terminate the second factory, whose host has a fault on its disk."""
    labs.clear_faults(lab)
    ec2 = cloud.client(lab)
    filters = [{"Name": "tag:Name", "Values": ["drill_factory_1"]}]
    found = ec2.describe_instances(Filters=filters)["Reservations"]
    ids = [one["InstanceId"] for group in found for one in group["Instances"]]
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
