"""``ssh``, ``exec``, ``down`` and ``inventory``: the selected hosts and the commands that run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.errors import HostConnectionError
from flambe_ansible.hosts import Host, HostState, Location
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import FakeCluster, make_host


class LocalConnections:
    """Runs the commands of hosts on this machine, and records the hosts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.errors: dict[str, HostConnectionError] = {}

    def argv(self, host: Host, *, tty: bool = False) -> list[str]:
        self.asked.append(host.name)
        return ["env", f"HOST={host.name}", "sh", "-c"]

    def shared_argv(self, host: Host) -> list[str]:
        return self.argv(host)


@pytest.fixture
def local(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> LocalConnections:
    connections = LocalConnections()
    monkeypatch.setattr(cluster, "connections", connections, raising=False)
    monkeypatch.setattr(cluster, "attach", lambda hosts: None, raising=False)
    monkeypatch.setattr(cluster, "attach_each", lambda hosts: connections.errors, raising=False)
    return connections


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ([], "demo_orchestrator"),
        (["orchestrator"], "demo_orchestrator"),
        (["factory", "1"], "demo_factory_1"),
        (["factory"], "demo_factory_0"),
        (["factory 1"], "demo_factory_1"),
        (["factory_1"], "demo_factory_1"),
        (["demo_factory_1"], "demo_factory_1"),
        (["demo_orchestrator"], "demo_orchestrator"),
    ],
)
def test_ssh_finds_the_host_and_returns_the_exit_code(
    local: LocalConnections, run: Run, argv: list[str], name: str
) -> None:
    done = run("ssh", "c.yaml", *argv, "--", f"test $HOST = {name} && exit 7")
    assert (done.code, done.stderr) == (7, "")
    assert local.asked == [name]


def test_ssh_refuses_a_host_of_another_cluster(local: LocalConnections, run: Run) -> None:
    done = run("ssh", "c.yaml", "other_factory_1", "--", "true")
    assert (done.code, local.asked) == (9, [])
    assert done.stderr.startswith("error: other_factory_1 is not a host of cluster demo\n")


def test_ssh_lists_the_running_hosts(local: LocalConnections, run: Run) -> None:
    done = run("ssh", "c.yaml", "factory", "5")
    assert done.code == 9
    assert "factory 5 of cluster demo is not running; running hosts: orchestrator, factory 0, factory 1" in done.stderr


@pytest.mark.parametrize(
    ("group", "hosts"),
    [
        ("all", ["orchestrator", "factory 0", "factory 1"]),
        ("orchestrator", ["orchestrator"]),
        ("factories", ["factory 0", "factory 1"]),
    ],
)
def test_exec_prefixes_each_line_with_its_host(local: LocalConnections, run: Run, group: str, hosts: list[str]) -> None:
    done = run("exec", "c.yaml", "--on", group, "--", "echo one; echo $HOST >&2")
    width = max(map(len, hosts))
    assert done.code == 0
    assert sorted(done.stdout.splitlines()) == sorted(f"{host:<{width}} | one" for host in hosts)
    assert len(done.stderr.splitlines()) == len(hosts)


def test_exec_runs_on_the_hosts_that_answer(local: LocalConnections, run: Run) -> None:
    name = "demo_factory_1"
    local.errors = {name: HostConnectionError(f"{name}: no answer", host=name)}
    done = run("exec", "c.yaml", "--", "echo hi")
    assert (done.code, done.stderr) == (255, f"warning: {name}: no answer\n")
    assert sorted(done.stdout.splitlines()) == ["factory 0    | hi", "orchestrator | hi"]
    document = json.loads(run("exec", "c.yaml", "--json", "--", "echo hi").stdout)
    assert document[name] == {"returncode": 255, "stdout": "", "stderr": f"{name}: no answer"}
    assert document["demo_factory_0"]["stdout"] == "hi\n"


def test_exec_ends_with_the_worst_exit_code(local: LocalConnections, run: Run) -> None:
    done = run("exec", "c.yaml", "--json", "--", "echo hi; test $HOST = demo_factory_0 && exit 5; exit 0")
    document = json.loads(done.stdout)
    assert done.code == 5
    assert document["demo_factory_0"] == {"returncode": 5, "stdout": "hi\n", "stderr": ""}
    assert document["demo_orchestrator"]["returncode"] == 0


def test_exec_runs_on_a_bounded_number_of_hosts_at_once(
    cluster: FakeCluster, local: LocalConnections, run: Run, tmp_path: Path
) -> None:
    cluster.hosts = [make_host(), *(make_host(index) for index in range(40))]
    command = f"mkdir {tmp_path}/$HOST; ls {tmp_path} | wc -l; sleep 0.1; rmdir {tmp_path}/$HOST"
    done = run("exec", "c.yaml", "--at-once", "5", "--", command)
    running = [int(line.rpartition("|")[2]) for line in done.stdout.splitlines()]
    assert (done.code, len(running)) == (0, 41)
    assert max(running) <= 5


def test_several_words_are_passed_unchanged(local: LocalConnections, run: Run) -> None:
    argv = [sys.executable, "-c", "import sys; print(sys.argv[1:])", "a b", "$HOME", "--yes"]
    done = run("exec", "c.yaml", "--on", "orchestrator", "--", *argv)
    assert done.stdout == "orchestrator | ['a b', '$HOME', '--yes']\n"


def test_hosts_that_are_not_running_are_skipped(cluster: FakeCluster, local: LocalConnections, run: Run) -> None:
    cluster.hosts = [make_host(), make_host(0, state=HostState.STOPPED)]
    assert run("exec", "c.yaml", "--", "true").code == 0
    assert local.asked == ["demo_orchestrator"]
    assert run("exec", "c.yaml", "--on", "factories", "--", "true").code == 9


def test_down_requires_yes_without_a_terminal(cluster: FakeCluster, run: Run) -> None:
    done = run("down", "c.yaml")
    assert done.code == 2
    assert "Terminate 3 hosts of demo" in done.stderr
    assert "terminate" not in cluster.calls


def test_down_confirms(cluster: FakeCluster, run: Run) -> None:
    done = run("down", "c.yaml", "--yes")
    assert done.code == 0
    assert done.stdout.endswith("demo: terminated 3 hosts and deleted their alarms.\n")
    assert cluster.calls[:2] == [("reserve", "down"), "terminate"]


def test_down_of_a_cluster_that_does_not_answer_warns(cluster: FakeCluster, run: Run) -> None:
    cluster.unanswered = "demo_orchestrator: no answer"
    done = run("down", "c.yaml", "--yes")
    assert "demo_orchestrator: no answer; so it is unknown whether another user works on the cluster" in done.stderr
    assert "terminate" in cluster.calls


def test_down_shows_region_account_and_other_places(cluster: FakeCluster, run: Run) -> None:
    cluster.where = Location(region="eu-west-1", account="123456789012", notes=("also in us-east-1",))
    done = run("down", "c.yaml", "--yes")
    assert "demo in eu-west-1, account 123456789012:" in done.stdout
    assert "warning: also in us-east-1" in done.stderr


def test_status_shows_region_account_and_other_places(cluster: FakeCluster, run: Run) -> None:
    where = Location(region="eu-west-1", account="123456789012", notes=("also in us-east-1",))
    cluster.found = replace(cluster.found, location=where)
    done = run("status", "c.yaml")
    assert "(eu-west-1, account 123456789012)" in done.stdout
    assert "warning: also in us-east-1" in done.stderr
    document = json.loads(run("status", "c.yaml", "--json").stdout)
    assert (document["region"], document["account"]) == ("eu-west-1", "123456789012")


def test_down_without_hosts_succeeds_without_a_question(cluster: FakeCluster, run: Run) -> None:
    cluster.hosts = []
    done = run("down", "c.yaml", "--json")
    assert (done.code, json.loads(done.stdout)["terminated"]) == (0, [])
    assert "demo: there are no hosts" in done.stderr


def test_inventory_is_readable_by_ansible(cluster: FakeCluster, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {"all": {"vars": {"setup_cmds_commands": ["echo {{ x }}"]}, "children": {}}}
    monkeypatch.setattr(cluster, "inventory", lambda: found, raising=False)
    done = run("inventory", "c.yaml", "--format", "yaml")
    assert done.code == 0
    assert '!unsafe "echo {{ x }}"' in done.stdout
    assert json.loads(run("inventory", "c.yaml").stdout)["all"]["children"] == {}
