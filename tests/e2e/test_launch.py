"""A cluster in the lab: launch, repeated launch, more factories, repairs, wrong host keys, down.

The tests of this module share one cluster and run in their order.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.lab import LabInfo
from tests.e2e.commands import Commands

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

NAME = "e2e_launch"
FLAMBE = "import importlib_metadata as m, flambe; print(m.version('flambe'))"
ASK = f'/opt/flambe/venv/bin/python -W ignore -c "{FLAMBE}"'
ASK_MARK = ASK.replace("print(", "print(flambe.version.MARK, ")
BOOT = "cat /proc/sys/kernel/random/boot_id"  # differs after each boot
START = re.compile(r"(?<!re)start Ray")
KILL_RAY = "sudo systemctl kill --signal=KILL flambe-ray; while systemctl is-active -q flambe-ray; do sleep 0.2; done"
MARKER = "/tmp/setup-was-here"


class Cluster(Commands):
    """A configuration, commands on it, and the API calls that the lab received."""

    def __init__(self, folder: Path, lab: LabInfo, *, image: str) -> None:
        super().__init__(folder)
        self.lab = lab
        self.image = image  # with flambé's runtime
        self.write()

    def write(self, factories_num: int = 2, **more: Any) -> None:
        """Write the configuration."""
        fields = {"name": NAME, "lab": self.lab.name, "factories_num": factories_num, **more}
        lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
        self.file.write_text("\n".join(["!LabCluster", *lines, ""]))

    def call(self, command: str, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command on the cluster."""
        return self.execute(command, self.file, *arguments, code=code)

    def launch(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Launch, and return the document."""
        document: dict[str, Any] = json.loads(self.call("launch", "--yes", "--json", *arguments, code=code).stdout)
        return document

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.call("status", "--json").stdout)
        return document

    def run(self, command: str, *, on: str = "all") -> dict[str, str]:
        """Run a command on hosts and return their outputs by name."""
        document = json.loads(self.call("exec", "--on", on, "--json", "--", command, code=None).stdout)
        assert {result["returncode"] for result in document.values()} == {0}, document
        return {name: result["stdout"].strip() for name, result in document.items()}

    def list_calls(self, since: int = 0) -> list[str]:
        """List the API operations that the lab received."""
        lines = (self.lab.state_dir / "calls.jsonl").read_text().splitlines()
        return [json.loads(line)["operation"] for line in lines][since:]


@pytest.fixture(scope="module")
def cluster(lab: LabInfo, runtime_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("launch"), lab, image=runtime_image)
    yield made
    made.call("down", "--yes", code=None)


def find_details(document: dict[str, Any], host: str) -> str:
    """Join the details that a launch reports for one host."""
    return "; ".join(
        step["detail"] for step in document["steps"] if step["host"] == host and step["status"] == "changed"
    )


def test_1_a_launch_creates_three_ray_nodes_from_the_image(cluster: Cluster) -> None:
    assert cluster.status()["state"] == "absent"
    plan = json.loads(cluster.call("plan", "--json").stdout)
    assert {host["image"] for host in plan["hosts"]} == {cluster.image}
    assert "with flambe 0.4.18" in plan["hosts"][0]["image_name"]
    document = cluster.launch()
    steps = {step["step"] for step in document["steps"]}
    assert "flambe" not in steps  # the image has its receipt
    assert {"cluster_keys", "ray_node"} <= steps
    assert sorted(document["created"]) == [f"{NAME}_factory_0", f"{NAME}_factory_1", f"{NAME}_orchestrator"]
    status = cluster.status()
    assert (status["state"], status["ray"]["alive"]) == ("running", 3)
    assert set(cluster.run(ASK).values()) == {"0.4.18"}


def test_2_a_second_launch_creates_and_changes_nothing(cluster: Cluster) -> None:
    before = len(cluster.list_calls())
    document = cluster.launch()
    assert document["created"] == []
    assert set(document["changed"].values()) == {0}
    assert [step for step in document["steps"] if step["status"] in ("changed", "failed")] == []
    asked = cluster.list_calls(before)
    assert asked
    assert not {"RunInstances", "CreateTags", "TerminateInstances", "StartInstances"} & set(asked)
    assert document["log"] is None  # no playbook was played
    assert set(cluster.launch("--full")["changed"].values()) == {0}


@pytest.fixture(scope="module")
def checkout(cluster: Cluster, flambe_sdist: Path) -> Path:
    """A checkout of flambé beside the configuration."""
    return Path(shutil.copytree(flambe_sdist, cluster.file.parent / "flambe"))


def mark(checkout: Path, text: str) -> None:
    """Change the checkout."""
    with (checkout / "flambe" / "version.py").open("a") as file:
        file.write(f"MARK = {text!r}\n")


def test_2_a_checkout_is_installed_unchanged_on_all_hosts(cluster: Cluster, checkout: Path) -> None:
    mark(checkout, "one")
    cluster.write(flambe_source=checkout.name)
    document = cluster.launch()
    version = document["flambe"]["version"]
    assert version.startswith("0.4.18+content.")
    assert set(cluster.run(ASK_MARK).values()) == {f"one {version}"}
    assert "restart Ray: its runtime changed" in find_details(document, f"{NAME}_orchestrator")
    for host in document["changed"]:
        assert f"change to flambe=={version}" in find_details(document, host)
    again = cluster.launch()
    assert (again["flambe"]["version"], set(again["changed"].values())) == (version, {0})
    assert [one for one in again["notices"] if "building" in one] == []
    inventory = json.loads(cluster.call("inventory").stdout)
    assert (
        Path(inventory["all"]["children"][NAME]["vars"]["flambe_wheel_src"]).name
        == f"flambe-{version}-py3-none-any.whl"
    )


def test_2_a_checkout_that_cannot_be_built_changes_nothing(cluster: Cluster, checkout: Path) -> None:
    setup = checkout / "setup.py"
    text = setup.read_text()
    setup.write_text("raise SystemExit('not today')\n")
    before = len(cluster.list_calls())
    document = cluster.launch(code=10)
    assert document["error"]["kind"] == "SourceError"
    assert "not today" in document["error"]["message"]
    assert cluster.list_calls(before) == []
    assert cluster.status()["state"] == "running"
    setup.write_text(text)


def test_3_a_larger_number_adds_one_host_and_keeps_the_key(cluster: Cluster, checkout: Path) -> None:
    before = set(cluster.run("sha256sum < ray_bootstrap_key.pem").values())
    mark(checkout, "two")  # changes of a checkout are installed on existing and new hosts
    cluster.write(3, flambe_source=checkout.name, factory_ami=cluster.image)
    document = cluster.launch()
    assert document["created"] == [f"{NAME}_factory_2"]
    assert document["ray"]["alive"] == 4
    version = document["flambe"]["version"]
    assert set(cluster.run(ASK_MARK).values()) == {f"two {version}"}
    assert set(cluster.run("ls /opt/flambe/wheels").values()) == {f"flambe-{version}-py3-none-any.whl"}
    assert len(before) == 1
    assert set(cluster.run("sha256sum < ray_bootstrap_key.pem").values()) == before


def test_3_a_smaller_number_is_reported_and_changes_nothing(cluster: Cluster) -> None:
    cluster.write(1)
    plan = json.loads(cluster.call("launch", "--dry-run", "--json").stdout)
    assert plan["changes_hosts"] is False
    assert len(plan["hosts"]) == 4
    assert [(one["field"], one["effect"]) for one in plan["changes"]] == [("factories_num", "not applied")]
    cluster.write(3)


def test_4_a_deleted_file_is_restored(cluster: Cluster) -> None:
    cluster.write(3)  # without the checkout
    cluster.run("rm ray_bootstrap_key.pem", on="orchestrator")
    key = set(cluster.run("sha256sum < ray_bootstrap_key.pem", on="factories").values())
    document = cluster.launch()
    assert "the private key" in find_details(document, f"{NAME}_orchestrator")
    assert set(cluster.run("sha256sum < ray_bootstrap_key.pem").values()) == key
    assert set(cluster.run(ASK).values()) == {"0.4.18"}


def test_4_a_killed_ray_is_restarted(cluster: Cluster) -> None:
    cluster.run(KILL_RAY, on="orchestrator")
    assert cluster.status()["state"] == "degraded"
    document = cluster.launch()
    assert START.search(find_details(document, f"{NAME}_orchestrator"))
    assert cluster.status()["ray"]["alive"] == 4


def wait_until_down(address: str) -> None:
    """Wait until the sshd of a rebooting host has ended, for at most 30 s: the host may boot faster."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection((address, 22), timeout=2).close()
        except OSError:
            return
        time.sleep(0.05)


def test_4_a_rebooted_host_rejoins_the_cluster(cluster: Cluster) -> None:
    name = f"{NAME}_factory_0"
    before = cluster.run(BOOT)[name]
    address = cluster.status()["factories"][0]["private_ip"]
    cluster.call("ssh", "factory", "0", "--", "sudo systemctl reboot", code=None)
    wait_until_down(address)
    document = cluster.launch()
    assert document["ray"]["alive"] == 4
    assert cluster.run(BOOT)[name] != before
    assert cluster.status()["state"] == "running"


def test_5_the_orchestrator_reaches_every_factory_with_host_keys_checked(cluster: Cluster) -> None:
    for factory in cluster.status()["factories"]:
        output = cluster.run(
            "ssh -i ~/ray_bootstrap_key.pem -o BatchMode=yes -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
            f" {factory['private_ip']} hostname -I",
            on="orchestrator",
        )
        assert factory["private_ip"] in output[f"{NAME}_orchestrator"]


def test_5_nothing_is_sent_to_a_host_with_another_key(cluster: Cluster, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.ini"
    secrets.write_text("[A]\nb = planted-secret\n")
    swap = "sudo rm /etc/ssh/ssh_host_*; sudo ssh-keygen -A >/dev/null; sudo systemctl restart ssh"
    cluster.run(swap, on="orchestrator")
    cluster.write(3, setup_cmds=[f"touch {MARKER}"])
    document = cluster.launch("--secrets", str(secrets), code=5)
    assert document["error"]["kind"] == "HostKeyError"
    assert document["error"]["host"] == f"{NAME}_orchestrator"
    address = cluster.status()["orchestrator"]["private_ip"]
    unchecked = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    found = subprocess.run(
        ["ssh", "-F", "none", "-i", cluster.lab.key, *unchecked, f"ubuntu@{address}", f"ls {MARKER} secrets.ini"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == ""
    assert found.stderr.count("No such file") == 2


def test_6_down_leaves_nothing(cluster: Cluster) -> None:
    cluster.call("down", code=2)
    assert cluster.status()["state"] != "absent"
    document = json.loads(cluster.call("down", "--yes", "--json").stdout)
    assert len(document["terminated"]) == 4
    assert cluster.status()["state"] == "absent"
    assert cluster.call("exec", "--", "true", code=9).stdout == ""
    assert json.loads(cluster.call("down", "--yes", "--json").stdout)["terminated"] == []


def test_7_a_failed_launch_terminates_only_the_hosts_it_created(cluster: Cluster) -> None:
    cluster.write(1, setup_cmds=["echo problem {{ here }} >&2; exit 3"])
    document = cluster.launch("--on-failure", "terminate", code=6)
    failure = document["error"]["failures"][0]
    assert failure["returncode"] == 3
    assert "problem {{ here }}" in json.dumps(failure)
    assert Path(document["error"]["log"]).is_file()
    assert len(document["created"]) == 2
    assert cluster.status()["state"] == "absent"
