"""``launch``: its text, JSON output, prompts and failures."""

from __future__ import annotations

import json

import pytest

from flambe_ansible.cli.output import Output
from flambe_ansible.errors import (
    AWSError,
    FlambeAnsibleError,
    HostConnectionError,
    PlaybookError,
    RayError,
    TaskFailure,
)
from flambe_ansible.launch.launch import FailedHost
from flambe_ansible.launch.plan import Action
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import HOSTS, FakeCluster, make_plan

FAILURE = PlaybookError(
    "1 of 3 hosts failed",
    failures=[
        TaskFailure(
            host="demo_factory_0",
            role="setup_cmds",
            task="Run the user's commands",
            message="a command failed",
            command="apt-get install [nosuch]",
            returncode=100,
            output="\n".join(f"line {number}" for number in range(1, 31)),
        )
    ],
    log="/state/logs/playbook.log",
)


def answer(monkeypatch: pytest.MonkeyPatch, *answers: str | BaseException) -> list[str]:
    """Simulate a terminal with these answers; return the prompts."""
    asked: list[str] = []
    given = iter(answers)

    def ask(_self: Output, question: str) -> bool:
        asked.append(question)
        reply = next(given)
        if isinstance(reply, BaseException):
            raise reply
        return reply == "y"

    monkeypatch.setattr(Output, "can_ask", property(lambda _self: True))
    monkeypatch.setattr(Output, "ask", ask)
    return asked


def test_a_launch_shows_plan_steps_and_card(cluster: FakeCluster, run: Run) -> None:
    done = run("launch", "demo cluster.yaml", "--yes")
    assert done.code == 0
    for part in (
        "Plan: 3 to add, 0 to change, 0 to replace, 0 unchanged",
        "ami-0123456789abcdef0 (Ubuntu 24.04 LTS, by SSM parameter)",
        "us-east-1",
        "gp2, 100 GB, encrypted",
        "0.4.18 (the last release; none is installed here)",
        "demo_factory_1: create ok in 1.2s",
        "demo_factory_0: flambe changed in 75s: installed 0.4.18",
        "warning: the first key seen was kept",
        "demo is running: 3 hosts, 3 Ray nodes alive (Ray 0.7.6), in 83s",
        "created: orchestrator, factory 0, factory 1",
        "flambe-ans ssh 'demo cluster.yaml'",
        "ssh -i /home/me/key.pem -o",
        "flambe-ans down 'demo cluster.yaml'",
    ):
        assert part in done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_a_launch_is_prepared_unless_hosts_will_change(
    cluster: FakeCluster, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's answer may take long, and no other command can reserve the cluster meanwhile."""
    run("launch", "c.yaml", "--dry-run")
    assert cluster.prepared is None
    found = []
    monkeypatch.setattr(Output, "can_ask", property(lambda _self: True))
    monkeypatch.setattr(Output, "ask", lambda _self, _question: found.append(cluster.prepared))
    run("launch", "c.yaml")
    assert found == [False]
    run("launch", "c.yaml", "--yes")
    assert cluster.prepared is False
    cluster.planned = make_plan(Action.REUSE)
    run("launch", "c.yaml")
    assert cluster.prepared is True


def test_json_is_one_document_and_text_goes_to_stderr(cluster: FakeCluster, run: Run) -> None:
    done = run("launch", "c.yaml", "--yes", "--json")
    document = json.loads(done.stdout)
    assert document["state"] == "running"
    assert document["ray"]["alive"] == 3
    assert document["created"] == [host.name for host in HOSTS]
    assert document["notices"] == ["the first key seen was kept"]
    assert {
        "host": "demo_factory_0",
        "step": "flambe",
        "status": "changed",
        "seconds": 75,
        "detail": "installed 0.4.18",
    } in (document["steps"])
    assert "demo is running" in done.stderr


def test_options_are_passed_to_the_cluster(cluster: FakeCluster, run: Run) -> None:
    run("launch", "c.yaml", "-y", "--rerun-setup", "--secrets", "s.ini")
    (_, options), *_ = cluster.calls
    assert options["rerun_setup"] is True
    assert str(options["secrets_file"]) == "s.ini"


def test_without_a_terminal_launch_requires_yes(cluster: FakeCluster, run: Run) -> None:
    done = run("launch", "c.yaml")
    assert done.code == 2
    assert "Create 3 hosts?" in done.stderr
    assert done.stderr.endswith("next: flambe-ans launch c.yaml --yes\n")
    assert not any(call[0] == "run" for call in cluster.calls)


def test_declining_creates_nothing(cluster: FakeCluster, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, "n")
    done = run("launch", "c.yaml")
    assert asked == ["Create 3 hosts?"]
    assert (done.code, done.stderr) == (130, "error: cancelled; nothing was created\n")
    assert not any(call[0] == "run" for call in cluster.calls)


def test_a_launch_that_creates_nothing_does_not_ask(cluster: FakeCluster, run: Run) -> None:
    cluster.planned = make_plan(Action.REUSE)
    done = run("launch", "c.yaml")
    assert done.code == 0
    assert "Plan: 0 to add, 0 to change, 0 to replace, 3 unchanged" in done.stdout
    assert "changed: flambe on factory 0: installed 0.4.18" in done.stdout


def test_dry_run_does_nothing(cluster: FakeCluster, run: Run) -> None:
    done = run("launch", "c.yaml", "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert done.code == 0
    assert document["changes_hosts"] is True
    assert [host["action"] for host in document["hosts"]] == ["create"] * 3
    assert cluster.calls == ["close"]


def test_a_failure_shows_the_failed_hosts_and_the_next_command(cluster: FakeCluster, run: Run) -> None:
    cluster.failure = FAILURE
    done = run("launch", "c.yaml", "--yes")
    assert done.code == 6
    assert done.stderr.splitlines()[:5] == [
        "error: 1 of 3 hosts failed",
        "demo_factory_0: failed in setup_cmds: Run the user's commands",
        "  a command failed",
        "  $ apt-get install [nosuch]  (exit code 100)",
        "  | ... 10 earlier lines",
    ]
    assert "  | line 30" in done.stderr
    assert "line 10\n" not in done.stderr
    assert done.stderr.endswith("full log: /state/logs/playbook.log\nnext: flambe-ans launch c.yaml --yes\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AWSError("no capacity", operation="RunInstances", code="InsufficientInstanceCapacity"), 4),
        (HostConnectionError("demo_factory_0: no SSH", host="demo_factory_0"), 5),
        (FAILURE, 6),
        (RayError("no live node on demo_factory_1", missing=["demo_factory_1"], logs={"demo_factory_1": "boom"}), 7),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("oops"), 1),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    cluster: FakeCluster, run: Run, error: BaseException, code: int
) -> None:
    cluster.failure = error
    done = run("launch", "c.yaml", "--yes", "--json")
    document = json.loads(done.stdout)
    assert done.code == code
    assert document["error"]["exit_code"] == code
    assert document["kept"] == [host.name for host in HOSTS]
    assert "rollback" not in cluster.calls
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", [FAILURE, KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("arguments", "answers", "rolled_back"),
    [
        (["--on-failure", "terminate"], [], True),
        (["--on-failure", "keep"], [], False),
        ([], ["y"], True),
        ([], ["n"], False),
        ([], [KeyboardInterrupt()], False),
    ],
)
def test_new_hosts_are_kept_or_terminated_on_request(
    cluster: FakeCluster,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    arguments: list[str],
    answers: list[str],
    rolled_back: bool,
) -> None:
    asked = answer(monkeypatch, *answers)
    cluster.failure = error
    done = run("launch", "c.yaml", "--yes", *arguments)
    assert done.code == (6 if error is FAILURE else 130)
    assert ("rollback" in cluster.calls) is rolled_back
    assert len(asked) == len(answers)
    assert ("Terminated" if rolled_back else "Kept") + " the 3 new hosts" in done.stdout


def test_existing_hosts_are_never_terminated(cluster: FakeCluster, run: Run) -> None:
    cluster.planned = make_plan(Action.REUSE)
    cluster.failure = FAILURE
    done = run("launch", "c.yaml", "--on-failure", "terminate")
    assert done.code == 6
    assert "rollback" not in cluster.calls


def test_a_failed_rollback_keeps_the_first_error(
    cluster: FakeCluster, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise FlambeAnsibleError("the API went away")

    monkeypatch.setattr(cluster, "rollback_env", fail)
    cluster.failure = FAILURE
    done = run("launch", "c.yaml", "--yes", "--on-failure", "terminate")
    assert done.code == 6
    assert "the API went away" in done.stderr
    assert "flambe-ans down c.yaml" in done.stdout


NO_SSH = HostConnectionError("demo_factory_1: no SSH", host="demo_factory_1", hint="check it", unreachable=True)
FAILED = PlaybookError(
    "site.yml failed on demo_factory_0",
    failures=[TaskFailure(host="demo_factory_0", role="setup_cmds", task="Run", message="no disk", returncode=3)],
    log="/log",
)


def test_failed_factories_are_listed_at_the_end_with_the_next_commands(cluster: FakeCluster, run: Run) -> None:
    cluster.failed = (FailedHost(host=HOSTS[2], error=NO_SSH),)
    done = run("launch", "my c.yaml", "--yes")
    assert done.code == 5
    assert "demo is degraded: 2 of 3 hosts ready, 2 Ray nodes alive" in done.stdout
    assert done.stderr == (
        "error: demo_factory_1: no SSH\nnext: check it\n"
        "warning: factory 1 is not ready; the other 2 hosts are ready\n"
        "next: flambe-ans launch 'my c.yaml'   # try again\n"
        "      flambe-ans launch 'my c.yaml' --replace-dead   # replace the hosts that do not answer\n"
    )
    assert "Kept the 3 new hosts of this launch" in done.stdout
    assert "rollback" not in cluster.calls


def test_several_failures_return_the_highest_code_and_json_has_them(cluster: FakeCluster, run: Run) -> None:
    cluster.failed = (FailedHost(host=HOSTS[1], error=FAILED), FailedHost(host=HOSTS[2], error=NO_SSH))
    done = run("launch", "c.yaml", "--yes", "--json")
    assert done.code == 6
    document = json.loads(done.stdout)
    assert document["state"] == "degraded"
    assert {name: error["exit_code"] for name, error in document["failed"].items()} == {
        "demo_factory_0": 6, "demo_factory_1": 5,
    }  # fmt: skip
    assert [host["error"] for host in document["factories"]] == [FAILED.message, NO_SSH.message]
    assert (document["kept"], "no disk" in done.stderr) == (document["created"], True)


def test_on_failure_terminate_terminates_the_new_hosts_of_a_launch_with_a_failed_factory(
    cluster: FakeCluster, run: Run
) -> None:
    cluster.failed = (FailedHost(host=HOSTS[2], error=NO_SSH),)
    done = run("launch", "c.yaml", "--yes", "--json", "--on-failure", "terminate")
    assert (done.code, json.loads(done.stdout)["kept"]) == (5, [])
    assert "rollback" in cluster.calls


def test_dead_hosts_are_replaced_after_a_question(cluster: FakeCluster, run: Run) -> None:
    cluster.dead = {"demo_factory_1": NO_SSH}
    done = run("launch", "c.yaml", "--replace-dead")
    assert done.code == 2
    assert "Replace factory 1 and delete all data on it? There is no terminal" in done.stderr
    assert "Plan: 0 to add, 0 to change, 1 to replace, 2 unchanged" in done.stdout
    assert not [call for call in cluster.calls if call[0] == "run"]
    assert run("launch", "c.yaml", "--replace-dead", "--yes").code == 0


def test_the_replacement_of_the_orchestrator_names_what_is_lost(cluster: FakeCluster, run: Run) -> None:
    cluster.dead = {"demo_orchestrator": NO_SSH}
    done = run("launch", "c.yaml", "--replace-dead", "--dry-run")
    assert done.code == 0
    assert "The orchestrator will be replaced: the results and logs on it will be lost." in done.stdout
