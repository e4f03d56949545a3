"""What is pulled of a run, from an orchestrator that is made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from flambe_ansible.cluster.base import Cluster
from flambe_ansible.cluster.results import pull_results
from flambe_ansible.cluster.runs import RunState
from flambe_ansible.errors import ClusterConfigurationError, RemoteCommandError, RunError
from flambe_ansible.ssh import Completed

LOG = "/home/ml/output.log"
SURVEY = RunState(state="running", active=True, name="survey.Survey", save_path="/home/ml/a survey", log=LOG)
TOPICS = RunState(state="succeeded", name="topics", save_path="/home/ml/topics/output__topics", log=LOG)


@dataclass
class Orchestrator:
    """An orchestrator with some folders, and the connection to it."""

    folders: tuple[str, ...] = ()
    failure: int = 0
    name: str = "demo_orchestrator"
    data: str = "the host"
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def orchestrator(self) -> Orchestrator:
        return self

    @property
    def connections(self) -> Orchestrator:
        return self

    def existing_dir(self, folder: str) -> bool:
        return folder in self.folders

    def run(self, command: str, *, check: bool = True) -> Completed:
        return Completed(returncode=0, stdout="topics/output__topics\nother/output__another\n", stderr="")

    def get(self, host: Any, source: str, target: Path, *, options: list[str]) -> None:
        assert (host, target.is_dir()) == (self.data, True)
        self.asked.append((source, target, *options))
        if self.failure:
            raise RemoteCommandError("rsync failed", host=self.name, command="rsync", returncode=self.failure)


def pull(host: Orchestrator, run: RunState, folder: Path, **options: Any) -> tuple[Path, str]:
    pulled = pull_results(cast(Cluster, host), run, folder, **options)
    return pulled.path, pulled.missing


def test_an_experiment(tmp_path: Path) -> None:
    host = Orchestrator(("topics/output__topics",))
    there = tmp_path / "topics"
    assert pull(host, TOPICS, tmp_path, checkpoints=False) == (there, "")
    assert host.asked == [
        ("topics/output__topics/", there, "--exclude=_resources", "--exclude=*.pt", "--exclude=checkpoint_*"),
        (LOG, there),
    ]


def test_an_experiment_by_its_name_comes_without_the_log_of_another_run(tmp_path: Path) -> None:
    host = Orchestrator(("topics/output__topics",))
    assert pull(host, SURVEY, tmp_path, name="topics") == (tmp_path / "topics", "")
    assert [source for source, *_ in host.asked] == ["topics/output__topics/"]


@pytest.mark.parametrize("name", [None, "survey.Survey"])
def test_a_runnable_of_ones_own(tmp_path: Path, name: str | None) -> None:
    host = Orchestrator(("/home/ml/a survey",))
    there = tmp_path / "survey.Survey"
    assert pull(host, SURVEY, tmp_path, name=name) == (there, "")
    assert host.asked == [("/home/ml/a survey/", there), (LOG, there)]


@pytest.mark.parametrize(
    ("run", "missing"),
    [
        (RunState(name="a.B", log=LOG), "a.B names no folder of results: this is the log alone"),
        (SURVEY, "demo_orchestrator has no /home/ml/a survey: this is the log alone"),
    ],
)
def test_without_results_the_log_comes_alone(tmp_path: Path, run: RunState, missing: str) -> None:
    host = Orchestrator()
    assert pull(host, run, tmp_path) == (tmp_path / run.name, missing)
    assert host.asked == [(LOG, tmp_path / run.name)]


def test_what_goes_away_meanwhile_is_no_error(tmp_path: Path) -> None:
    pull(Orchestrator(("/home/ml/a survey",), failure=24), SURVEY, tmp_path)
    with pytest.raises(RemoteCommandError):
        pull(Orchestrator(("/home/ml/a survey",), failure=23), SURVEY, tmp_path)


@pytest.mark.parametrize(
    ("run", "name", "error", "said"),
    [
        (TOPICS, "else", RunError, "demo_orchestrator has no results of else"),
        (TOPICS, "survey.Survey", ClusterConfigurationError, "'survey.Survey' is no experiment's name"),
        (SURVEY, "../x", ClusterConfigurationError, "'../x' is no experiment's name"),
        (RunState(name="../x", log=LOG), None, RunError, "'../x' is no runnable's name"),
    ],
)
def test_what_is_not_there_is_refused(
    tmp_path: Path, run: RunState, name: str | None, error: type[Exception], said: str
) -> None:
    host = Orchestrator()
    with pytest.raises(error, match=said) as caught:
        pull(host, run, tmp_path, name=name)
    assert host.asked == []
    assert getattr(caught.value, "hint", None) in (None, "there are results of topics")
