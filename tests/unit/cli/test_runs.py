"""The commands for jobs, with a fake cluster."""

from __future__ import annotations

import io
import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from flambe_ansible.cli.render.run import describe_submission, render_run, render_submission
from flambe_ansible.cluster.cluster import Cluster as RealCluster
from flambe_ansible.jobs.results import Pulled
from flambe_ansible.jobs.sites import make_sites
from flambe_ansible.jobs.state import JobState, LostHost
from flambe_ansible.launch.launch import LaunchResult, Submission
from flambe_ansible.runtimes import make_runtime
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import HOSTS, RELEASE, FakeCluster, make_nodes, make_plan
from tests.unit.fleets import make_fleet

NOW = datetime(2026, 11, 22, 4, 10, tzinfo=UTC)
LOST = LostHost(name="demo_factory_0", address="10.0.0.11", since="2026-11-22T04:05:00Z", reason="the host is gone")
RUNNING = JobState(
    state="running", active=True, name="topics", since="2026-11-22T04:00:00Z", stage="train", lost=(LOST,),
    stages={"data": "succeeded", "train": "running", "test": "pending"},
)  # fmt: skip
FAILED = JobState(
    state="failed", name="topics", since="2026-11-22T04:00:00Z", until="2026-11-22T04:02:30Z", exit_code=255,
    reason="exit code 255: TagError", settling=True,
)  # fmt: skip


TOPICS = JobState(state="running", active=True, name="topics", save_path="/home/ubuntu/topics/output__topics")
# Custom runnables, with results and without.
SURVEY = JobState(state="running", active=True, name="survey.Survey", save_path="/home/ubuntu/survey")
BARE = JobState(state="running", active=True, name="survey.Bare")
REPORT, PLOTS = "http://10.0.0.10:49558/", "http://10.0.0.10:49556/"


def draw(what: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=100, markup=False, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("run", "lines"),
    [
        (JobState(), ["Job: none yet"]),
        (
            RUNNING,
            [
                "Job: topics running since 2026-11-22T04:00:00Z, for 10m00",
                "  data > train (running) > test",
                "  lost host: demo_factory_0 (10.0.0.11): the host is gone",
            ],
        ),
        (
            FAILED,
            [
                "Job: topics failed at 2026-11-22T04:02:30Z, after 2m30",
                "  exit code 255: TagError",
                "  Ray is restarting on all hosts for the next job",
            ],
        ),
    ],
)
def test_a_run_as_text(run: JobState, lines: list[str]) -> None:
    assert draw(render_run(run, now=NOW)) == lines


class Cluster(FakeCluster):
    """A cluster with a last run."""

    state = RUNNING
    expose_sites = False

    def find_running(self) -> Any:
        return list(HOSTS)

    def attach(self, hosts: Any) -> None:
        self.calls.append(("attach", [host.name for host in hosts]))

    @property
    def fleet(self) -> Any:
        return make_fleet()

    @property
    def file_jobs(self) -> Any:
        return SimpleNamespace(get=lambda: self.state)

    _runtime = make_runtime("flambe")
    attach_job = RealCluster.attach_job
    attach_orchestrator = RealCluster.attach_orchestrator
    check_file_jobs = RealCluster.check_file_jobs
    runs_commands = RealCluster.runs_commands
    check_free = RealCluster.check_free
    submit = RealCluster.submit

    def shutdown_flambe_execution(self) -> JobState:
        return JobState(state="stopped", name="topics", until="2026-11-22T04:11:00Z")


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    fake = Cluster()
    monkeypatch.setattr("flambe_ansible.cluster.loading.load_cluster", lambda _file: fake)
    return fake


def test_stop_prints_what_it_stopped(run: Run, busy: Cluster) -> None:
    assert run("stop", "c.yaml").stdout == "topics is stopped; the hosts are ready for the next job.\n"
    assert busy.calls == [("attach", ["demo_orchestrator"]), "close"]
    document = json.loads(run("stop", "c.yaml", "--json").stdout)
    assert (document["stopped"], document["run"]["state"]) == (True, "stopped")


def test_stop_if_nothing_runs(run: Run, busy: Cluster) -> None:
    busy.state = FAILED
    outcome = run("stop", "c.yaml")
    assert (outcome.code, outcome.stdout) == (
        0,
        "No job was running; the last one, topics, stopped at 2026-11-22T04:11:00Z.\n",
    )


@pytest.mark.parametrize(
    "command", [("logs", "c.yaml"), ("stop", "c.yaml"), ("open", "c.yaml"), ("pull", "c.yaml", "x")]
)
def test_without_any_job(run: Run, busy: Cluster, command: tuple[str, ...]) -> None:
    busy.state = JobState()
    outcome = run(*command)
    assert outcome.code == 11
    assert "no job was started on cluster demo yet" in outcome.stderr
    assert busy.calls[-1] == "close"


def test_open_prints_public_addresses_if_the_sites_are_exposed(run: Run, busy: Cluster) -> None:
    busy.expose_sites = True
    sites = make_sites("10.0.0.10")
    assert json.loads(run("open", "c.yaml", "--json").stdout) == {
        "report_site": sites.report_site,
        "tensorboard": sites.tensorboard,
    }
    assert "http://10.0.0.10:49558/" in run("open", "c.yaml").stdout


def test_open_prints_no_report_site_of_a_custom_runnable(run: Run, busy: Cluster) -> None:
    busy.expose_sites, busy.state = True, SURVEY
    assert json.loads(run("open", "c.yaml", "--json").stdout) == {"report_site": None, "tensorboard": PLOTS}
    lines = [line.rstrip() for line in run("open", "c.yaml").stdout.splitlines()]
    assert lines == ["Report site  none (only experiments have one)", f"TensorBoard  {PLOTS}"]


@pytest.mark.parametrize("expose", [True, False])
def test_open_fails_if_there_is_nothing_to_show(run: Run, busy: Cluster, expose: bool) -> None:
    busy.expose_sites, busy.state = expose, BARE
    outcome = run("open", "c.yaml")
    assert (outcome.code, outcome.stdout) == (11, "")
    assert outcome.stderr.startswith("error: survey.Bare has nothing to show: its class sets no folder of results\n")


@pytest.mark.parametrize(("missing", "lines"), [("", []), ("this is the log alone", ["this is the log alone"])])
def test_pull_prints_what_it_downloaded(
    run: Run, busy: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str, lines: list[str]
) -> None:
    def pull(_cluster: Any, state: JobState, destination: Path, **options: Any) -> Pulled:
        assert (state, options) == (SURVEY, {"name": None, "checkpoints": True})
        return Pulled(path=destination, missing=missing)

    busy.state = SURVEY
    monkeypatch.setattr("flambe_ansible.jobs.results.pull_results", pull)
    there = tmp_path / "survey.Survey"
    there.mkdir()
    (there / "output.log").touch()
    assert run("pull", "c.yaml", str(there)).stdout.splitlines() == [*lines, f"1 file in {there}"]
    assert json.loads(run("pull", "c.yaml", str(there), "--json").stdout) == {
        "name": "survey.Survey",
        "path": str(there),
        "files": 1,
        "results": not missing,
    }


@pytest.mark.parametrize(("below", "reason"), [("", "File exists"), ("survey.Survey/a", "Not a directory")])
def test_pull_names_a_destination_that_cannot_be_a_folder(
    run: Run, busy: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, below: str, reason: str
) -> None:
    def pull(_cluster: Any, _state: JobState, destination: Path, **_options: Any) -> Pulled:
        (destination / "survey.Survey").mkdir(parents=True, exist_ok=True)  # as pull_results does
        raise AssertionError("this folder cannot be made")

    busy.state = SURVEY
    monkeypatch.setattr("flambe_ansible.jobs.results.pull_results", pull)
    (tmp_path / "survey.Survey").touch()
    done = run("pull", "c.yaml", str(tmp_path / below))
    there = tmp_path / below / "survey.Survey"
    assert (done.code, done.stderr) == (1, f"error: {there}: cannot make this folder: {reason}\n")


PULL = {"results": "flambe-ans pull c.yaml results/"}


@pytest.mark.parametrize(
    ("state", "expose", "offered", "sites"),
    [
        (TOPICS, False, {"sites": "flambe-ans open c.yaml", **PULL}, None),
        (TOPICS, True, {"report": REPORT, "plots": PLOTS, **PULL}, {"report_site": REPORT, "tensorboard": PLOTS}),
        (SURVEY, False, {"plots": "flambe-ans open c.yaml", **PULL}, None),
        (SURVEY, True, {"plots": PLOTS, **PULL}, {"report_site": None, "tensorboard": PLOTS}),
        (BARE, False, {}, None),
        (BARE, True, {}, None),
    ],
)
def test_a_submission_lists_the_available_sites(
    state: JobState, expose: bool, offered: dict[str, str], sites: dict[str, str | None] | None
) -> None:
    facts: dict[str, Any] = {"version": RELEASE, "playbook": {}, "ray": make_nodes(), "seconds": 1.0}
    launch = LaunchResult(hosts=HOSTS, created=(), log=Path("/log"), **facts)
    done = Submission(run=state, launch=launch, replaced=False)
    cluster: Any = Cluster()
    cluster.expose_sites = expose
    always = {
        "log": "flambe-ans logs c.yaml --follow",
        "status": "flambe-ans status c.yaml",
        "stop": "flambe-ans stop c.yaml",
    }
    rows = [line.split("  ", 1) for line in draw(render_submission(done, file="c.yaml", cluster=cluster))[3:]]
    assert {name: value.strip() for name, value in rows} == {**always, **offered}
    assert describe_submission(done, state, cluster=cluster)["sites"] == sites


def test_submit_reports_all_problems_of_the_file_and_changes_nothing(run: Run, busy: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("!Experiment\nname: a b\npipeline: {}\n")
    outcome = run("submit", str(file), "--cluster", "c.yaml")
    assert outcome.code == 3
    assert f'{file}:2:7: the name "a b"' in outcome.stderr
    assert f"{file}:3:11:" in outcome.stderr
    assert busy.calls == ["close"]


def test_submit_is_refused_while_the_cluster_is_busy(run: Run, busy: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("!Experiment\nname: a\npipeline:\n  x: !Trainer\n")
    outcome = run("submit", str(file), "--cluster", "c.yaml", "--json")
    assert outcome.code == 11
    error = json.loads(outcome.stdout)["error"]
    assert (error["kind"], error["state"], error["exit_code"]) == ("ClusterBusyError", "running", 11)
    assert busy.calls == [("attach", ["demo_orchestrator"]), "close"]


def test_a_refused_submit_lists_commands_to_paste(run: Run, busy: Cluster, tmp_path: Path) -> None:
    file, secrets = tmp_path / "e.yaml", tmp_path / "s.ini"
    file.write_text("!Experiment\nname: a\npipeline:\n  x: !Trainer\n")
    secrets.write_text("[A]\nb = c\n")
    argv = ["submit", str(file), "--cluster", "my cluster.yaml", "--secrets", str(secrets)]
    outcome = run(*argv)
    commands = [line[6:].partition("   #")[0] for line in outcome.stderr.splitlines()[-3:]]
    assert commands == [
        "flambe-ans logs 'my cluster.yaml' --follow",
        "flambe-ans stop 'my cluster.yaml'",
        shlex.join(["flambe-ans", *argv, "--force"]),
    ]


def test_a_failed_submit_is_repeated_with_its_options(run: Run, busy: Cluster, tmp_path: Path) -> None:
    file, secrets = tmp_path / "e.yaml", tmp_path / "s.ini"
    file.write_text("!Experiment\nname: a\npipeline:\n  x: !Trainer\n")
    secrets.write_text("[A]\nb = c\n")
    busy.planned = make_plan()
    argv = ["submit", str(file), "--cluster", "c.yaml", "--secrets", str(secrets), "--force"]
    outcome = run(*argv)
    assert outcome.code == 2
    assert outcome.stderr.endswith(f"next: {shlex.join(['flambe-ans', *argv])} --yes\n")


def test_submit_requires_a_cluster(run: Run) -> None:
    outcome = run("submit", "e.yaml")
    assert outcome.code == 2
    assert "--cluster" in outcome.stderr
