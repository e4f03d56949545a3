"""The files of a run that are pulled, from a fake orchestrator."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import ClusterConfigurationError, RemoteCommandError, RunError
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.command_state import CommandJob
from flambe_ansible.jobs.results import pull_command, pull_results
from flambe_ansible.jobs.state import JobState
from flambe_ansible.ssh import Completed, Connections
from tests.unit.fleets import make_fleet

LOG = "/home/ml/output.log"
SURVEY = JobState(state="running", active=True, name="survey.Survey", save_path="/home/ml/a survey", log=LOG)
TOPICS = JobState(state="succeeded", name="topics", save_path="/home/ml/topics/output__topics", log=LOG)


def make_host(*folders: str, failure: int = 0) -> Any:
    """Make connections to an orchestrator that has these folders; ``failure`` is rsync's exit code."""
    connections = create_autospec(Connections, instance=True)

    def run(_host: Host, command: str, **options: Any) -> Completed:
        if command == "exec /bin/sh -s":
            mark = options["input"].split()[2]
            text = "topics/output__topics\nother/output__another\n"
            tested = re.search(r"if test -d (.*); then", options["input"])
            if tested:
                text = "yes\n" if shlex.split(tested[1])[0] in folders else ""
            return Completed(returncode=0, stdout=f"{mark}\n{text}", stderr="")
        return Completed(returncode=0, stdout="", stderr="")

    def get(_host: Host, _source: str, target: Path, *, options: list[str]) -> None:
        assert target.is_dir()
        if failure:
            raise RemoteCommandError("rsync failed", host="demo", command="rsync", returncode=failure)

    connections.run.side_effect, connections.get.side_effect = run, get
    return connections


def asked(connections: Any) -> list[tuple[Any, ...]]:
    return [(*call.args[1:], *call.kwargs["options"]) for call in connections.get.call_args_list]


def pull(connections: Any, run: JobState, folder: Path, **options: Any) -> tuple[Path, str]:
    pulled = pull_results(make_fleet(connections), run, folder, **options)
    return pulled.path, pulled.missing


def test_an_experiment(tmp_path: Path) -> None:
    host = make_host("topics/output__topics")
    there = tmp_path / "topics"
    assert pull(host, TOPICS, tmp_path, checkpoints=False) == (there, "")
    assert asked(host) == [
        ("topics/output__topics/", there, "--exclude=_resources", "--exclude=*.pt", "--exclude=checkpoint_*"),
        (LOG, there),
    ]


def test_an_experiment_by_name_excludes_the_log_of_another_run(tmp_path: Path) -> None:
    host = make_host("topics/output__topics")
    assert pull(host, SURVEY, tmp_path, name="topics") == (tmp_path / "topics", "")
    assert [source for source, *_ in asked(host)] == ["topics/output__topics/"]


@pytest.mark.parametrize("name", [None, "survey.Survey"])
def test_a_custom_runnable(tmp_path: Path, name: str | None) -> None:
    host = make_host("/home/ml/a survey")
    there = tmp_path / "survey.Survey"
    assert pull(host, SURVEY, tmp_path, name=name) == (there, "")
    assert asked(host) == [("/home/ml/a survey/", there), (LOG, there)]


@pytest.mark.parametrize(
    ("run", "missing"),
    [
        (JobState(name="a.B", log=LOG), "a.B sets no folder of results; only the log was copied"),
        (SURVEY, "demo_orchestrator has no /home/ml/a survey; only the log was copied"),
    ],
)
def test_without_results_only_the_log_is_pulled(tmp_path: Path, run: JobState, missing: str) -> None:
    host = make_host()
    assert pull(host, run, tmp_path) == (tmp_path / run.name, missing)
    assert asked(host) == [(LOG, tmp_path / run.name)]


def test_files_that_vanish_during_the_copy_are_ignored(tmp_path: Path) -> None:
    pull(make_host("/home/ml/a survey", failure=24), SURVEY, tmp_path)
    with pytest.raises(RemoteCommandError):
        pull(make_host("/home/ml/a survey", failure=23), SURVEY, tmp_path)


@pytest.mark.parametrize(
    ("run", "name", "error", "message"),
    [
        (TOPICS, "else", RunError, "demo_orchestrator has no results of else"),
        (TOPICS, "survey.Survey", ClusterConfigurationError, "'survey.Survey' is not a valid name of an experiment"),
        (SURVEY, "../x", ClusterConfigurationError, "'../x' is not a valid name of an experiment"),
        (JobState(name="../x", log=LOG), None, RunError, "'../x' cannot be the name of a local folder"),
    ],
)
def test_missing_results_are_refused(
    tmp_path: Path, run: JobState, name: str | None, error: type[Exception], message: str
) -> None:
    host = make_host()
    with pytest.raises(error, match=message) as caught:
        pull(host, run, tmp_path, name=name)
    assert asked(host) == []
    assert getattr(caught.value, "hint", None) in (None, "there are results of topics")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": "../../.ssh"}, "'../../.ssh' cannot be the name"),
        ({"id": "/root"}, "'/root' cannot be the name"),
        ({"id": ".."}, "'..' cannot be the name"),
        ({"id": "a\nb"}, "'a\\\\nb' cannot be the name"),
        ({"results": "../../x"}, "'../../x' leads out of"),
        ({"results": "/root/.ssh"}, "'/root/.ssh' leads out of"),
        ({"results": "link/.ssh"}, "'link/.ssh' leads out of"),
    ],
)
def test_names_from_a_hostile_orchestrator_do_not_lead_out_of_the_folder(
    changes: dict[str, str], named: str, tmp_path: Path
) -> None:
    target, home = tmp_path / "results", tmp_path / "home"
    for folder in (target / "train-1", home):
        folder.mkdir(parents=True)
    (target / "train-1/link").symlink_to(home)
    facts = {"id": "train-1", "state": "succeeded", "active": False, "folder": "jobs/train-1", "log": "l", **changes}
    host = make_host("ray_results", *(f"jobs/train-1/{name}" for name in ("../../x", "/root/.ssh", "link/.ssh")))
    with pytest.raises(RunError, match=named):
        pull_command(make_fleet(host), CommandJob(**facts), target)
    assert asked(host) == []
    assert sorted(path.name for path in (*tmp_path.iterdir(), *home.iterdir())) == ["home", "results"]


def test_a_folder_of_a_job_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/topics").symlink_to(tmp_path / "home")
    host = make_host("topics/output__topics")
    with pytest.raises(RunError, match="'topics' leads out of"):
        pull(host, TOPICS, tmp_path / "results")
    assert asked(host) == []
