"""What submit refuses, sends and says; on a cluster that only writes down what it was asked."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from flambe_ansible import events
from flambe_ansible.cluster import submission
from flambe_ansible.cluster.base import Cluster
from flambe_ansible.cluster.converge import RunOptions
from flambe_ansible.cluster.experiment import Experiment
from flambe_ansible.cluster.runs import RunState
from flambe_ansible.errors import (
    ClusterBusyError,
    ClusterConfigurationError,
    ClusterNotFoundError,
    ExistingResultsError,
    HostConnectionError,
    HostKeyError,
    MissingSecretsError,
    RunError,
    SourceError,
)
from flambe_ansible.hosts import Host
from flambe_ansible.runnable import RemoteEnvironment, read
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.ssh import Completed
from tests.unit.cli.made_up import HOSTS

RUNNING = RunState(state="running", active=True, name="other", since="2026-11-22T04:00:00Z", stage="train")
ENVIRONMENT = RemoteEnvironment("/home/ml/key", "10.0.0.10", ["10.0.0.11", "10.0.0.12"], "ml", "me")


@dataclass
class Orchestrator:
    """Answers whether there are results."""

    name: str = "demo_orchestrator"
    results: str = ""

    def run(self, command: str, *, check: bool = True) -> Completed:
        assert "-name _resources" in command
        return Completed(returncode=0, stdout=self.results, stderr="")


@dataclass
class Recorder:
    """A cluster that writes down what it was asked."""

    state: RunState = field(default_factory=RunState)
    failure: Exception | None = None
    unbuildable: Exception | None = None
    orchestrator: Orchestrator = field(default_factory=Orchestrator)
    name: str = "demo"
    expose_sites: bool = False
    hosts: tuple[Host, ...] = HOSTS
    calls: list[Any] = field(default_factory=list)
    observer: events.Observer = events.ignore

    def find_flambe(self) -> None:
        if self.unbuildable:
            raise self.unbuildable

    def find_running(self) -> list[Host]:
        return list(HOSTS)

    def attach(self, hosts: list[Host]) -> None:
        assert [host.name for host in hosts] == ["demo_orchestrator"]
        if self.failure:
            raise self.failure

    def get_run(self) -> RunState:
        return self.state

    def get_orch_home_path(self) -> str:
        return "/home/ml"

    def get_remote_env(self, user_provider: Callable[[], str]) -> RemoteEnvironment:
        return ENVIRONMENT

    def send_local_content(self, content: dict[str, str], dest: str, **options: Any) -> dict[str, str]:
        self.calls.append(("send", dest, content, options))
        return {name: f"/home/ml/{dest}/{name}__{Path(path).name}" for name, path in content.items()}

    def prepare_run(self, variables: dict[str, Any]) -> bool:
        self.calls.append(("prepare", variables))
        return True

    def execute(self, runnable: Any, extensions: dict[str, str], secrets: str, force: bool) -> RunState:
        self.calls.append(("execute", runnable.to_yaml(extensions), secrets, force))
        return RunState(state="running", active=True, name=runnable.name)

    @property
    def connections(self) -> Recorder:
        return self

    def run_all(self, hosts: Any, command: str) -> None:
        self.calls.append(("clean", command))

    def run(self, **options: Any) -> None:
        self.calls.append(("run", RunOptions(**options)))

    def create_dirs(self, relative_dirs: list[str]) -> None:
        self.calls.append(("create_dirs", relative_dirs))

    def refresh_ray(self, *, always: bool = False) -> None:
        self.calls.append(("refresh_ray", {"always": always}))

    def shutdown_flambe_execution(self, *, replaced: bool = False) -> None:
        self.calls.append(("shutdown_flambe_execution", {"replaced": replaced}))


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., RunnableFile]:
    """Write an experiment with a folder as its extension and a file as its resource."""
    (tmp_path / "ext").mkdir()
    (tmp_path / "ext/pyproject.toml").touch()
    (tmp_path / "data.tsv").write_text("a\tb\n")

    def write(head: str = "mine: ext\nwheel: https://me:pass@host/x-1.0.zip\n", more: str = "") -> RunnableFile:
        body = f"""
        !Experiment  # kept
        name: topics
        {more}
        resources:
          data: data.tsv
          there: !cluster /mnt/there
        pipeline:
          train: !Trainer
            dataset: !@ data
        """
        path = tmp_path / "experiment.yaml"
        path.write_text(head + ("---" if head else "") + textwrap.dedent(body))
        return read(path)

    return write


def submit(cluster: Recorder, file: RunnableFile, **options: Any) -> submission.Submission:
    return submission.submit(cast(Cluster, cluster), file, user_provider=lambda: "me", **options)


def test_the_whole_way(experiment: Callable[..., RunnableFile], tmp_path: Path) -> None:
    cluster = Recorder()
    done = submit(cluster, experiment(), rerun_setup=True)
    assert (done.run.name, done.replaced) == ("topics", False)
    names = [call[0] for call in cluster.calls]
    assert names == ["run", "send", "prepare", "clean", "create_dirs", "send", "refresh_ray", "execute"]
    calls = dict(zip(names, cluster.calls, strict=True))
    assert calls["run"][1] == RunOptions(rerun_setup=True)
    assert cluster.calls[1][1:3] == ("extensions", {"mine": str(tmp_path / "ext")})
    assert calls["prepare"][1]["extensions_packages"] == {
        "mine": "/home/ml/extensions/mine__ext",
        "wheel": "https://me:pass@host/x-1.0.zip",
    }
    assert calls["prepare"][1]["tensorboard_logdir"] == "/home/ml/topics/output__topics"
    assert calls["refresh_ray"][1] == {"always": True}
    assert cluster.calls[5][1:3] == ("topics/output__topics/_resources", {"data": str(tmp_path / "data.tsv")})


def test_what_the_orchestrator_gets(experiment: Callable[..., RunnableFile], tmp_path: Path) -> None:
    cluster = Recorder()
    (tmp_path / "secrets.ini").write_text("[A]\nb = c\n")
    submit(cluster, experiment(), secrets_file=tmp_path / "secrets.ini")
    _, text, secrets, force = cluster.calls[-1]
    assert (secrets, force) == ("/home/ml/secrets.ini", False)
    assert "me:pass" not in text
    for part in (
        "mine: /home/ml/extensions/mine__ext", "!Experiment  # kept", "save_path: /home/ml/topics", "there: /mnt/there",
        "data: /home/ml/topics/output__topics/_resources/data__data.tsv", "env: !RemoteEnvironment {key: /home/ml/key",
    ):  # fmt: skip
        assert part in text


def test_a_secrets_file_that_is_not_there_is_told_before_anything_else(experiment: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingSecretsError, match=r"gone\.ini: no such secrets file"):
        submission.make_runnable(experiment(), secrets_file=tmp_path / "gone.ini")


def test_a_busy_cluster_is_refused_before_anything_is_touched(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Recorder(state=RUNNING)
    with pytest.raises(ClusterBusyError, match=r"demo is busy: other is running since .*, in stage train") as caught:
        submit(cluster, experiment())
    assert (cluster.calls, caught.value.exit_code) == ([], 11)
    assert caught.value.hint and "--force" in caught.value.hint


def test_force_ends_what_runs_before_the_cluster_is_made_ready(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Recorder(state=RUNNING, orchestrator=Orchestrator(results="./topics/output__topics/train"))
    assert submit(cluster, experiment(), force=True).replaced
    assert cluster.calls[0] == ("shutdown_flambe_execution", {"replaced": True})
    assert cluster.calls[1][0] == "run"


def test_a_checkout_that_cannot_be_built_ends_no_run(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Recorder(state=RUNNING, unbuildable=SourceError("no", source="flambe"))
    with pytest.raises(SourceError):
        submit(cluster, experiment(), force=True)
    assert cluster.calls == []


def test_the_hosts_are_waited_for_after_a_run(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Recorder(state=RunState(state="failed", settling=True, name="other"))
    submit(cluster, experiment())
    assert cluster.calls[0][0] == "shutdown_flambe_execution"


def test_results_are_refused_replaced_or_resumed(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Recorder(orchestrator=Orchestrator(results="./topics/output__topics/train\n"))
    with pytest.raises(ExistingResultsError, match="holds results of an experiment topics") as caught:
        submit(cluster, experiment())
    assert cluster.calls == []
    assert caught.value.hint and "resume" in caught.value.hint
    submit(cluster, experiment(more="resume: train"))
    assert "clean" not in [call[0] for call in cluster.calls]
    again = Recorder(orchestrator=cluster.orchestrator)
    submit(again, experiment(), force=True)
    [command] = [call[1] for call in again.calls if call[0] == "clean"]
    assert "! -name _resources" in command
    assert "! -name data__data.tsv" in command


@pytest.mark.parametrize("failure", [ClusterNotFoundError("no host"), HostConnectionError("no answer", host="demo")])
def test_a_cluster_that_is_not_there_yet_is_made(experiment: Callable[..., RunnableFile], failure: Exception) -> None:
    cluster = Recorder(failure=failure)
    submit(cluster, experiment())
    assert cluster.calls[0][0] == "run"


def test_a_wrong_host_key_ends_it(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Recorder(failure=HostKeyError("another key", host="demo"))
    with pytest.raises(HostKeyError):
        submit(cluster, experiment())
    assert cluster.calls == []


def test_what_cannot_be_fetched_creates_nothing(experiment: Callable[..., RunnableFile], tmp_path: Path) -> None:
    file = experiment()
    (tmp_path / "data.tsv").unlink()
    cluster = Recorder()
    with pytest.raises(ClusterConfigurationError, match=r"experiment.yaml:\d+:\d+: resource data"):
        submit(cluster, file)
    assert cluster.calls == []


def test_nothing_ran_yet() -> None:
    with pytest.raises(RunError, match="nothing has run on cluster demo yet"):
        submission.attach_run(cast(Cluster, Recorder()))


def test_flambe_runs_experiments_not_we(experiment: Callable[..., RunnableFile]) -> None:
    with pytest.raises(NotImplementedError):
        Experiment(experiment()).run()
