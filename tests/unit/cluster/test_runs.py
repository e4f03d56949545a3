"""What an orchestrator tells of its run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import yaml

from flambe_ansible import inventory
from flambe_ansible.cluster import runs, sites
from flambe_ansible.errors import RunError
from flambe_ansible.paths import collection
from flambe_ansible.ssh import Completed, Connections
from tests.unit.cli.made_up import HOSTS

DOCUMENT = {
    "id": "abc", "name": "topics", "state": "running", "active": True, "settling": False, "exit_code": None,
    "since": "2026-11-22T04:00:00Z", "until": None, "reason": "", "stage": "train",
    "stages": {"data": "succeeded", "train": "running"},
    "lost": [{"name": "demo_factory_0", "address": "10.0.0.11", "since": "2026-11-22T04:01:00Z", "reason": "gone"}],
    "invocation": "unknown here", "save_path": "/home/ml/topics/output__topics", "log": "/home/ml/output.log",
}  # fmt: skip


@dataclass
class Wire:
    """Stands in for the connections: answers each command with the same words."""

    stdout: str
    stderr: str = ""
    returncode: int = 0
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def run(self, _host: Any, command: str, *, input: Any = None, **_options: Any) -> Completed:  # noqa: A002
        self.asked.append((command, input))
        return Completed(returncode=self.returncode, stdout=self.stdout, stderr=self.stderr)


def connect(*args: Any) -> tuple[Wire, Connections]:
    wire = Wire(*args)
    return wire, cast(Connections, wire)


def test_a_state_is_read_and_written() -> None:
    state = runs.parse("Welcome to this host!\n" + json.dumps(DOCUMENT) + "\n")
    assert (state.state, state.stage, state.active, state.until) == ("running", "train", True, "")
    assert state.lost[0].reason == "gone"
    assert list(state.stages) == ["data", "train"]
    document = json.loads(json.dumps(state.to_dict()))
    assert {**document, "until": None, "invocation": "unknown here"} == DOCUMENT


@pytest.mark.parametrize("text", ["", "bash: no such file\n", '{"state": "none", "active": false, "settling": false}'])
def test_where_nothing_ever_ran(text: str) -> None:
    _, connections = connect(text)
    assert runs.ask(connections, HOSTS[0]) == runs.RunState()


def test_a_call_hands_over_its_document_and_reads_the_answer() -> None:
    wire, connections = connect('{"restarted": true, "failed": {}}\n')
    hosts = runs.describe_hosts(HOSTS, user="ml")
    assert runs.call(connections, HOSTS[0], "refresh", "--always", document=hosts) == {"restarted": True, "failed": {}}
    [(command, given)] = wire.asked
    assert command == "/opt/flambe/bin/flambe-run refresh --always"
    assert json.loads(given) == {
        "user": "ml",
        "head": {"name": "demo_orchestrator", "address": "10.0.0.10", "port": 22},
        "workers": [
            {"name": "demo_factory_0", "address": "10.0.0.11", "port": 22},
            {"name": "demo_factory_1", "address": "10.0.0.12", "port": 22},
        ],
    }


def test_a_refusal_says_why() -> None:
    _, connections = connect(json.dumps({"error": "a run is under way", "busy": True, "run": DOCUMENT}), "", 1)
    with pytest.raises(RunError, match="demo_orchestrator: a run is under way") as caught:
        runs.call(connections, HOSTS[0], "start", document={})
    assert (caught.value.state, caught.value.exit_code) == ("running", 11)


def test_a_host_without_the_command_says_so() -> None:
    _, connections = connect("", "bash: line 1: /opt/flambe/bin/flambe-run: No such file or directory\n", 127)
    with pytest.raises(RunError, match=r"flambe-run state: bash: line 1: .*No such file"):
        runs.call(connections, HOSTS[0], "state")


def read_defaults(role: str) -> dict[str, Any]:
    defaults: dict[str, Any] = yaml.safe_load((collection() / "roles" / role / "defaults/main.yml").read_text())
    return defaults


def test_the_roles_own_the_facts() -> None:
    runner, tensorboard, site = map(read_defaults, ("runner", "tensorboard", "report_site"))
    assert (runner["runner_unit"], runner["runner_root"]) == (runs.RUN_UNIT, inventory.FLAMBE_ROOT)
    assert f"{runner['runner_root']}/bin/flambe-run" == runs.FLAMBE_RUN
    assert (runner["runner_ray_unit"], runner["runner_ray_nodes"]) == (inventory.RAY_UNIT, inventory.RAY_NODES)
    assert (tensorboard["tensorboard_port"], tensorboard["tensorboard_unit"]) == (
        sites.TENSORBOARD_PORT,
        sites.TENSORBOARD_UNIT,
    )
    assert (site["report_site_port"], site["report_site_unit"]) == (sites.REPORT_SITE_PORT, sites.REPORT_SITE_UNIT)
    assert site["report_site_tensorboard_port"] == sites.TENSORBOARD_PORT
    assert site["report_site_output_log"] == runs.RUN_LOG
    assert tensorboard["tensorboard_host"] == site["report_site_host"] == sites.LOOPBACK


@pytest.mark.parametrize(
    ("name", "experiment"), [("topics", True), ("a-b_1", True), ("survey.Survey", False), ("", False)]
)
def test_what_flambe_does_is_told_by_its_name(name: str, experiment: bool) -> None:
    assert runs.RunState(name=name).is_experiment is experiment
