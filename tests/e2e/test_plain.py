"""A cluster with ``runtime: none`` in the lab: hosts with keys and setup commands, nothing installed, no Ray.

The tests share one cluster and run in their order.
"""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.lab import LabInfo
from flambe_ansible.paths import collections_root
from tests.e2e import cloud
from tests.e2e.commands import Commands

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

EXPERIMENT = Path(__file__).parents[2] / "examples" / "experiment.yaml"
STATE = "cat ~/.local/state/flambe/setup_cmds.json; ls -a ~"
# The role uses the uv of the controller, which it copies to this path, or the one on the PATH.
UV = "/usr/local/lib/flambe-uv"
FAKE_UV = f"printf '#!/bin/sh\\n{{}}\\n' | sudo tee {UV}; sudo chmod 755 {UV}; sudo ln -sf {UV} /usr/local/bin/uv"
SETUP = ("touch ~/was-set-up", "echo fetching the data; sleep 8")
STRICT_SSH = "ssh -i ~/ray_bootstrap_key.pem -o BatchMode=yes -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"


class Cluster(Commands):
    """A configuration, and commands on it."""

    def __init__(self, folder: Path, lab: LabInfo) -> None:
        super().__init__(folder)
        self.lab = lab
        self.progress = ""  # standard error of the latest command

    def write(
        self, factories_num: int, runtime: str = "none", *, setup_cmds: Sequence[str] = SETUP, more: str = ""
    ) -> None:
        self.file.write_text(
            f"!LabCluster\nname: plain\nlab: {self.lab.name}\nfactories_num: {factories_num}\nruntime: {runtime}\n"
            f"boot_timeout: 30\nanswer_timeout: 20\nsetup_cmds: {json.dumps(setup_cmds)}\n"
            f"{more}\n"
        )

    def call(self, command: str, *arguments: str, code: int | None = 0) -> str:
        """Run a command; return its standard output, and its standard error, too, if a failure is expected."""
        done = self.execute(command, *arguments, code=code)
        self.progress = done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def document(self, command: str, *arguments: str, code: int | None = 0) -> dict[str, Any]:
        output = self.call(command, str(self.file), "--json", *arguments, code=code)
        found, _ = json.JSONDecoder().raw_decode(output[output.index("{") :])
        return dict(found)

    @contextmanager
    def launching(self, process: str) -> Iterator[subprocess.Popen[str]]:
        """Start a launch, and wait until a process runs on all hosts; kill the launch at the end."""
        launch = self.start("launch", self.file, "--yes", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            cloud.wait_until(lambda: self.count(process) == 3, f"{process} on all hosts", 180)
            yield launch
        finally:
            launch.kill()
            launch.wait()

    def count(self, process: str) -> int:
        """Return on how many hosts a process runs; -1 if a host does not answer."""
        command = f"pgrep -xfc '{process}'; :"
        found = list(self.document("exec", "--", command, code=None).values())
        return sum(int(one["stdout"]) > 0 for one in found) if all(one["stdout"] for one in found) else -1


@pytest.fixture(scope="module")
def cluster(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("plain"), lab)
    made.write(1)
    yield made
    made.call("down", str(made.file), "--yes")


def test_1_a_launch_configures_hosts_and_installs_nothing(cluster: Cluster) -> None:
    plan = cluster.document("launch", "--dry-run")
    assert (plan["runtime"], plan["none_version"], len(plan["hosts"])) == ("none", "", 2)
    _examine(cluster, needed=4)
    document = cluster.document("launch", "--yes")
    assert sorted(document["created"]) == ["plain_factory_0", "plain_orchestrator"]
    assert (document["state"], document["runtime"], document["ray"]["alive"]) == ("running", "none", 0)
    assert "flambe" not in document
    assert "] plain_orchestrator: setup_cmds: command 2 of 2: fetching the data\n" in cluster.progress
    found = cluster.document(
        "exec", "--", "ls -d was-set-up /opt/flambe /run/flambe-ans/* /etc/systemd/system/flambe-[rt]*; :"
    )
    assert {result["stdout"] for result in found.values()} == {"was-set-up\n"}


def _examine(cluster: Cluster, *, needed: int) -> None:
    """Check what the launch needs: nothing prevents it, and nothing stays."""
    log = cluster.lab.state_dir / "calls.jsonl"
    before = len(log.read_text().splitlines())
    document = cluster.document("doctor")
    assert (document["schema"], document["ok"]) == (1, True), document
    levels = {one["check"]: one["level"] for one in document["checks"]}
    assert {levels[name] for name in ("ssh", "rsync", "ansible", "lab", "identity", "clock", "key pair")} == {"ok"}
    (quota,) = (one["message"] for one in document["checks"] if one["check"] == "vCPU quota")
    assert quota.endswith(f"{needed} more needed")
    calls = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    changes = [one["operation"] for one in calls if not one["read_only"] and not one["dry_run"]]
    assert changes in ([], ["PutMetricAlarm", "DeleteAlarms"])


def test_2_a_second_launch_changes_nothing(cluster: Cluster) -> None:
    """The factory has an alarm by default; one that was set less than an hour before is kept."""
    known = _list_alarms(cluster)
    document = cluster.document("launch", "--yes")
    assert (document["created"], set(document["changed"].values())) == ([], {0})
    assert (document["region"], document["account"]) == ("us-east-1", "123456789012")
    assert _list_alarms(cluster) == known != []


def _list_alarms(cluster: Cluster) -> list[str]:
    found = cloud.client(cluster.lab, "cloudwatch").describe_alarms(AlarmNamePrefix="Flambe_")["MetricAlarms"]
    return [alarm["AlarmName"] for alarm in found if "cluster plain of" in alarm["AlarmDescription"]]


def test_3_a_larger_number_adds_a_host_and_all_reach_each_other(cluster: Cluster) -> None:
    cluster.write(2)
    document = cluster.document("launch", "--yes")
    assert document["created"] == ["plain_factory_1"]
    assert "] plain_factory_0: setup_cmds: waiting for the other hosts\n" in cluster.progress
    address = document["factories"][1]["private_ip"]
    found = cluster.document("exec", "--", f"{STRICT_SSH} {address} hostname -I")
    assert len(found) == 3
    assert all(address in result["stdout"].split() for result in found.values())


def test_4_status_ssh_and_inventory_work(cluster: Cluster) -> None:
    status = cluster.document("status")
    assert (status["state"], status["runtime"], status["run"]) == ("running", "none", None)
    assert "Ray: not part of runtime none" in cluster.call("status", str(cluster.file))
    assert cluster.call("ssh", str(cluster.file), "factory", "1", "--", "id -un") == "ubuntu\n"
    variables = json.loads(cluster.call("inventory", str(cluster.file)))["all"]["children"]["plain"]["vars"]
    assert variables["cluster_runtime"] == "none"
    assert [name for name in variables if name.startswith("flambe_")] == ["flambe_cluster_group"]


def test_4_a_factory_that_has_its_copy_serves_the_next_one(cluster: Cluster) -> None:
    factory, _ = (one["private_ip"] for one in cluster.document("status")["factories"])
    script = (
        "import sys; from flambe_ansible import load_cluster; from flambe_ansible.fleet import copying\n"
        "copying._FROM_ORCHESTRATOR = 1\n"
        "with load_cluster(sys.argv[1]) as cluster:\n"
        "    cluster.attach()\n"
        "    cluster.fleet.connections.run(cluster.fleet.head, 'mkdir -p ~/tree && seq 1000 > ~/tree/numbers')\n"
        "    cluster.fleet.copy_to_factories(['tree'])\n"
    )
    log = f"sudo journalctl -q -o cat -u ssh | grep -c 'Accepted publickey .* from {factory} '; :"
    before = cluster.call("ssh", str(cluster.file), "factory", "1", "--", log)
    subprocess.run([sys.executable, "-c", script, str(cluster.file)], env=cluster.environment, check=True)
    assert int(cluster.call("ssh", str(cluster.file), "factory", "1", "--", log)) == int(before) + 1
    found = cluster.document("exec", "--", "cksum ~/tree/numbers")
    assert len(found) == 3
    assert len({result["stdout"] for result in found.values()}) == 1


def test_4_the_inventory_plugin_groups_the_hosts_of_two_clusters(cluster: Cluster) -> None:
    text = cluster.file.read_text().replace("name: plain", "name: absent")
    (cluster.file.parent / "absent.yaml").write_text(text)
    source = cluster.file.parent / "both.flambe.yml"
    options: dict[str, Any] = {
        "plugin": "flambe.cluster.flambe",
        "cluster": ["cluster.yaml", "absent.yaml"],
        "strict": True,
    }
    options["keyed_groups"] = [{"key": key, "prefix": key} for key in ("cluster_role", "instance_type", "zone")]
    options["keyed_groups"].append({"key": "tags.Role", "prefix": "tag_role"})
    source.write_text(json.dumps(options))
    environment = {**cluster.environment, "ANSIBLE_COLLECTIONS_PATH": str(collections_root()), "COLUMNS": "300"}
    run = partial(subprocess.run, env=environment, cwd=cluster.file.parent, capture_output=True, text=True, check=False)
    programs = Path(sys.executable).parent
    done = run([programs / "ansible-inventory", "-i", source, "--list"])
    assert done.returncode == 0, done.stderr
    [warning] = done.stderr.splitlines()
    assert "no host of cluster absent is running; it has no hosts in the inventory" in warning
    groups = json.loads(done.stdout)
    factories = ["plain_factory_0", "plain_factory_1"]
    assert groups["cluster_role_orchestrator"]["hosts"] == groups["plain"]["hosts"] == ["plain_orchestrator"]
    assert groups["plain_factories"]["hosts"] == groups["tag_role_Factory"]["hosts"] == factories
    assert [name for name in groups if name.startswith("zone_")]
    assert [name for name in groups if name.startswith("instance_type_")]
    reached = run([programs / "ansible", "-i", source, "plain", "-m", "ansible.builtin.ping"])
    assert reached.stdout.count('"ping": "pong"') == 3, reached.stdout + reached.stderr


def test_4_plain_ssh_and_rsync_reach_the_hosts_with_verified_keys(cluster: Cluster, tmp_path: Path) -> None:
    hosts = tmp_path / "ssh config"
    hosts.write_text(cluster.call("ssh-config", str(cluster.file)))
    assert hosts.read_text().count("StrictHostKeyChecking yes") == 3

    def run(*argv: object, code: int = 0) -> str:
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    login = ("ssh", "-F", hosts, "-o", "BatchMode=yes")
    assert run(*login, "plain_factory_1", "id -un; cat /etc/machine-id").startswith("ubuntu\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/one").write_text("sent by rsync")
    run("rsync", "-a", "-e", f"ssh -F '{hosts}'", f"{tmp_path}/data/", "plain_orchestrator:data/")
    assert run(*login, "plain_orchestrator", "cat data/one") == "sent by rsync"
    # An entry whose address now belongs to another host is refused.
    addresses = [line.split()[1] for line in hosts.read_text().splitlines() if line.strip().startswith("HostName ")]
    hosts.write_text(hosts.read_text().replace(f"HostName {addresses[0]}\n", f"HostName {addresses[1]}\n"))
    assert "Host key verification failed" in run(*login, "plain_orchestrator", "true", code=255)


def test_4_a_cluster_has_one_writer_and_a_killed_launch_ends(cluster: Cluster, lab: LabInfo, tmp_path: Path) -> None:
    other = Cluster(tmp_path, lab)
    other.write(2, setup_cmds=["touch ~/other"])
    cluster.write(2, setup_cmds=["sleep 301"])
    with cluster.launching("sleep 301") as launch:
        cloud.wait_until(lambda: bool(other.document("status")["reservation"]), "a reservation", 60)
        reserved = other.document("status")["reservation"]
        assert (reserved["who"], reserved["what"]) == (f"{getpass.getuser()}@{socket.gethostname()}", "launch")
        assert f"Reserved: launch by {reserved['who']} since " in other.call("status", str(other.file))
        before = other.document("exec", "--", STATE)
        for command in ("launch", "down"):
            error = other.document(command, "--yes", code=11)["error"]
            assert error["kind"] == "ClusterBusyError"
            for part in reserved.values():
                assert part in error["message"]
        assert other.document("exec", "--", STATE) == before
        assert launch.poll() is None
        launch.kill()
        cloud.wait_until(lambda: other.document("status")["reservation"] is None, "no reservation", 60)
        cloud.wait_until(lambda: cluster.count("sleep 301") == 0, "the setup command ended", 60)
    assert other.document("exec", "--", STATE) == before
    document = other.document("launch", "--yes")
    assert (document["created"], set(document["changed"].values())) == ([], {1})
    assert other.document("exec", "--", "ls -d other")["plain_factory_1"]["stdout"] == "other\n"


# It fails if another launch runs it at the same time.
ALONE = "mkdir /tmp/turn && sleep 3 && rmdir /tmp/turn && touch ~/turn-{}"


def test_4_waiting_launches_take_turns(cluster: Cluster, lab: LabInfo, tmp_path: Path) -> None:
    """Two launches of other users wait for a third one; then they run one after the other."""
    cluster.write(2, setup_cmds=["sleep 303 || :"])
    waiters = [Cluster(tmp_path / name, lab) for name in ("first", "second")]
    for number, waiter in enumerate(waiters):
        waiter.file.parent.mkdir()
        waiter.write(2, setup_cmds=[ALONE.format(number)])
    impatient = Cluster(tmp_path, lab)
    impatient.write(2)
    with cluster.launching("sleep 303") as holder:
        cloud.wait_until(lambda: bool(impatient.document("status")["reservation"]), "a reservation", 60)
        started = [one.start("launch", "--wait", one.file, "--yes", stderr=subprocess.STDOUT) for one in waiters]
        for one in started:
            assert one.stdout
            assert any("waiting: cluster plain is reserved by" in line for line in one.stdout)
        impatient.document("exec", "--", "pkill -xf 'sleep 303'; :")
        holder.wait(120)
        outputs = [one.communicate(timeout=200)[0] for one in started]
    assert [one.returncode for one in started] == [0, 0], outputs
    found = impatient.document("exec", "--", "ls -d turn-0 turn-1 /tmp/turn 2>/dev/null; :")
    assert {one["stdout"] for one in found.values()} == {"turn-0\nturn-1\n"}


def test_4_a_killed_installation_ends_and_does_not_disturb_the_next(cluster: Cluster) -> None:
    cluster.write(2, runtime="flambe", setup_cmds=[FAKE_UV.format("exec sleep 302")])
    with cluster.launching("sleep 302") as launch:
        launch.terminate()
        cloud.wait_until(lambda: cluster.count("sleep 302") == 0, "uv ended", 60)
    cluster.write(2, runtime="flambe", setup_cmds=[FAKE_UV.format("echo the second uv >&2; exit 3")])
    error = cluster.document("launch", "--yes", code=6)["error"]
    assert {failure["output"] for failure in error["failures"]} == {"the second uv"}
    cluster.write(2, setup_cmds=[f"sudo rm -r /opt/flambe {UV} /usr/local/bin/uv"])
    cluster.document("launch", "--yes")


FAILS_ON = "if hostname -I | grep -qw {}; then echo no disk; exit 7; fi"


def test_5_a_launch_goes_on_without_the_hosts_that_fail(cluster: Cluster) -> None:
    cluster.write(3)
    factories = cluster.document("launch", "--yes")["factories"]
    cluster.call("ssh", str(cluster.file), "factory", "1", "--", "sudo systemctl mask --now ssh.service ssh.socket")
    started = time.monotonic()
    status = cluster.document("status")
    assert time.monotonic() - started < 20
    assert status["state"] == "degraded"
    assert [bool(host["error"]) for host in (status["orchestrator"], *status["factories"])] == [
        False,
        False,
        True,
        False,
    ]
    assert "no SSH at" in status["factories"][1]["error"]

    cluster.write(3, setup_cmds=[SETUP[0], "touch ~/again", FAILS_ON.format(factories[2]["private_ip"])])
    launched = cluster.document("launch", "--yes", "--on-failure", "keep", code=6)
    assert launched["state"] == "degraded"
    failed = launched["failed"]
    assert {name: error["kind"] for name, error in failed.items()} == {
        "plain_factory_1": "HostConnectionError", "plain_factory_2": "PlaybookError",
    }  # fmt: skip
    assert "connection refused" in failed["plain_factory_1"]["message"]
    assert (failed["plain_factory_2"]["failures"][0]["returncode"], launched["created"]) == (7, [])
    output = cluster.call("exec", str(cluster.file), "--", "ls ~/again", code=255)
    assert [f"{name} | /home/ubuntu/again" in output for name in ("orchestrator", "factory 0   ")] == [True, True]


def test_5_a_dead_host_is_replaced_and_little_else_changes(cluster: Cluster) -> None:
    cluster.write(3, setup_cmds=[SETUP[0], "touch ~/again"])
    before = cluster.document("status")["factories"]
    assert "Replace factory 1 and delete all data on it?" in cluster.call(
        "launch", str(cluster.file), "--replace-dead", code=2
    )
    assert cluster.document("status")["factories"][1]["instance_id"] == before[1]["instance_id"]
    document = cluster.document("launch", "--replace-dead", "--yes")
    assert (document["created"], document["failed"]) == (["plain_factory_1"], {})
    after = cluster.document("status")
    assert after["state"] == "running"
    ids = [[host["instance_id"] for host in hosts] for hosts in (before, after["factories"])]
    assert [old == new for old, new in zip(*ids, strict=True)] == [True, False, True]
    steps = {(step["host"], step["step"]) for step in document["steps"] if step["status"] == "changed"}
    others = {step for host, step in steps if host != "plain_factory_1"}
    assert others == {"cluster_keys", "setup_cmds"}  # a command was removed from the file
    assert set(cluster.document("launch", "--yes")["changed"].values()) == {0}


@pytest.mark.parametrize("command", ["submit", "logs", "stop", "open", "pull"])
def test_6_jobs_are_refused_with_a_hint(cluster: Cluster, command: str) -> None:
    argv = [str(cluster.file), *(["results"] if command == "pull" else [])]
    if command == "submit":
        argv = [str(EXPERIMENT), "--cluster", str(cluster.file), "--yes"]
    output = cluster.call(command, *argv, code=3)
    assert "cluster plain has runtime none, which cannot run jobs" in output
    assert "runtime: flambe" in output


def test_7_a_wrong_runtime_is_refused_before_anything_changes(cluster: Cluster) -> None:
    cluster.write(3, runtime="nnoe")
    output = cluster.call("launch", str(cluster.file), "--yes", code=3)
    assert "did you mean none?" in output
    cluster.write(3)


def test_7_a_lack_of_capacity_is_final_and_creates_nothing(cluster: Cluster) -> None:
    """EC2 answers with HTTP 500, which is otherwise an unclear answer."""
    cluster.write(40)
    output = cluster.call("launch", str(cluster.file), "--yes", code=4)
    assert "InsufficientInstanceCapacity" in output
    assert "another type" in output
    lines = (cluster.lab.state_dir / "calls.jsonl").read_text().splitlines()
    calls = [call for call in map(json.loads, lines) if call["operation"] == "RunInstances" and not call["dry_run"]]
    token = calls[-1]["parameters"]["ClientToken"]
    assert (calls[-1]["status"], calls[-1]["error"]) == (500, "InsufficientInstanceCapacity")
    assert [call["parameters"]["ClientToken"] for call in calls].count(token) == 1
    cluster.write(3)
    assert len(cluster.document("status")["factories"]) == 3


def test_7_a_suspended_cluster_keeps_its_disks_and_resumes(cluster: Cluster) -> None:
    before = cluster.document("exec", "--", "touch ~/kept; hostname -I; cat /etc/machine-id")
    document = cluster.document("suspend", "--yes")
    assert (document["state"], len(document["stopped"])) == ("suspended", 4)
    assert cluster.document("status")["state"] == "suspended"
    assert "plain is suspended" in cluster.call("status", str(cluster.file))
    assert _list_alarms(cluster) == []
    resumed = cluster.document("resume", "--yes")
    assert (resumed["state"], resumed["created"]) == ("running", [])
    assert cluster.document("exec", "--", "ls ~/kept >/dev/null && hostname -I; cat /etc/machine-id") == before
    assert len(_list_alarms(cluster)) == 3


def test_7_factories_are_removed_and_added(cluster: Cluster) -> None:
    address = cluster.document("status")["factories"][1]["private_ip"]
    removed = cluster.document("remove", "factory", "1", "--yes")
    assert (removed["removed"], removed["created"]) == (["plain_factory_1"], [])
    assert "still has factories_num: 3; the next launch creates 1 more" in cluster.progress
    assert [host["name"] for host in cluster.document("status")["factories"]] == ["plain_factory_0", "plain_factory_2"]
    assert len(_list_alarms(cluster)) == 2
    found = cluster.document("exec", "--", f"cat ~/.ssh/known_hosts ~/.ssh/config | grep -cw {address}; :")
    assert {one["stdout"] for one in found.values()} == {"0\n"}
    cluster.write(2)
    assert set(cluster.document("launch", "--yes")["changed"].values()) == {0}
    assert cluster.document("resize", "3", "--yes")["created"] == ["plain_factory_1"]
    assert "still has factories_num: 2; the next launch keeps all of them" in cluster.progress
    assert cluster.document("resize", "2", "--yes")["removed"] == ["plain_factory_2"]
    assert set(cluster.document("launch", "--yes")["changed"].values()) == {0}
    output = cluster.call("remove", str(cluster.file), "factory", "7", "--yes", code=9)
    assert "its factories: factory 0, factory 1" in output


def test_8_down_without_the_file_leaves_nothing(cluster: Cluster, lab: LabInfo, tmp_path: Path) -> None:
    other = Cluster(tmp_path, lab)
    found = audit(other)
    kinds = [one["kind"] for one in found["resources"]]
    assert (found["state"], kinds.count("instance"), kinds.count("volume")) == ("running", 3, 3)
    assert {*kinds} == {"instance", "volume", "alarm"}
    assert found["remedy"].endswith(f"--lab {lab.name}")
    other.file.write_text(f"!LabCluster\nname: plain\nlab: {lab.name}\nfactories: 3\n")
    hint = f"next: flambe-ans down --name plain --lab {lab.name} "
    assert hint in other.call("down", str(other.file), "--yes", code=3)
    ended = other.call("down", "--name", "plain", "--lab", lab.name, "--yes", "--json")
    assert len(json.loads(ended)["terminated"]) == 3
    assert "so it is unknown" not in other.progress  # the orchestrator was reserved
    assert audit(other) is None
    assert cluster.document("status")["state"] == "absent"


def audit(cluster: Cluster) -> Any:
    """Return what the audit of the lab shows about the cluster; None if that is nothing."""
    output = cluster.call("audit", "--lab", cluster.lab.name, "--json", code=None)
    [region] = json.loads(output[: output.rindex("}") + 1])["regions"]
    return next((one for one in region["clusters"] if one["name"] == "plain"), None)


SPENT = "budget is {:g} USD, and the cluster has spent"


@pytest.mark.long
def test_9_a_budget_ends_busy_hosts_at_a_fixed_time(cluster: Cluster) -> None:
    cluster.write(1, setup_cmds=[], more="budget: 1\nmax_price_per_hour: 0.05")
    assert "max_price_per_hour is 0.05 USD" in cluster.call("launch", str(cluster.file), "--yes", code=3)
    assert cluster.document("status")["state"] == "absent"
    cluster.write(1, setup_cmds=[], more="budget: 1\nmax_price_per_hour: 0.1")
    plan = cluster.call("plan", str(cluster.file), "--detailed-exitcode", code=2)
    assert "Plan: 2 to add, 0 to change, 0 to replace, 0 unchanged" in plan
    assert "Price: 0.0690 USD per hour, 1.66 USD per day" in plan
    cluster.document("launch", "--yes")
    budget = cluster.document("status")["costs"]["budget"]
    assert set(cluster.document("launch", "--yes")["changed"].values()) == {0}
    status = cluster.document("status")
    assert status["costs"]["budget"]["ends"] == budget["ends"]
    assert (status["costs"]["prices"], status["costs"]["per_hour"]) == ("AWS Pricing API", pytest.approx(0.068997))
    cluster.document("plan", "--detailed-exitcode", code=0)
    kept = cluster.document("keep", "2h")
    hosts = [status["orchestrator"], *status["factories"]]
    assert {one["latest_end"] for one in kept.values()} == {budget["ends"]}
    _let_the_budget_end(cluster, hosts)


def _let_the_budget_end(cluster: Cluster, hosts: list[dict[str, Any]]) -> None:
    """Lower the budget, so that it ends soon; the hosts are kept and have a connection."""
    spent = cluster.document("status")["costs"]["budget"]["spent"]
    small = round(spent + 0.069 * 40 / 3600, 6)
    cluster.write(1, setup_cmds=[], more=f"budget: {small:.6f}")
    cluster.document("launch", "--yes", code=None)
    command = ("ssh", cluster.file, "factory", "0", "--", "sleep 600")
    busy = cluster.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for host, state in zip(hosts, ("stopped", "terminated"), strict=True):  # their timeouts are -1 and 1
            cloud.wait_for(cluster.lab, [host["instance_id"]], state, timeout=150)
    finally:
        busy.kill()
        busy.wait()
    assert SPENT.format(small) in cluster.call("launch", str(cluster.file), "--yes", code=3)
    assert cluster.document("status")["state"] == "stopped"
