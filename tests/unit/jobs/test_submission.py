"""The checks, uploads and start of a submission; the parts of the cluster are autospecs."""

from __future__ import annotations

import shlex
import subprocess
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible import Cluster
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
from flambe_ansible.fleet.access import Access
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.player import Player
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.jobs import Jobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.jobs.submission import make_runnable
from flambe_ansible.launch.launch import FailedHost, LaunchResult
from flambe_ansible.runnable import read
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runtimes import RuntimeVersion
from flambe_ansible.ssh import Completed, host_entries
from tests.unit.cli.made_up import HOSTS, make_nodes
from tests.unit.fleets import HOME, make_connections

TAKEN: list[str] = []  # the commands that have reserved the cluster
RUNNING = JobState(state="running", active=True, name="other", since="2026-11-22T04:00:00Z", stage="train")


class Submitting(Cluster):
    """A real cluster whose hosts, launch and jobs are replaced; ``log`` has the calls in their order."""

    def __init__(
        self,
        *,
        job: JobState | None = None,
        results: str = "",
        failure: Exception | None = None,
        unbuildable: Exception | None = None,
        started_job: JobState | None = None,
        dead: Sequence[str] = (),
        runtime: str = "flambe",
    ) -> None:
        super().__init__("demo", 2, "key", "ml", runtime=runtime)
        self.log: list[tuple[Any, ...]] = []
        self.failure, self.unbuildable, self.started_job, self.dead = failure, unbuildable, started_job, dead
        found = make_connections(results)
        found.put.side_effect = lambda _host, source, target, **options: self.log.append(("send", source, target))
        answer = Completed(returncode=0, stdout="", stderr="")
        found.run_all.side_effect = lambda hosts, command, **_: (
            self.log.append(("clean", command)) or dict.fromkeys((host.name for host in hosts), answer)
        )
        self._found = found
        self.service = create_autospec(Jobs, instance=True)
        current = job or JobState()
        self.service.get.return_value = current
        self.service.prepare.side_effect = lambda variables: self.log.append(("prepare", variables)) or True
        self.service.refresh_ray.side_effect = lambda *, always: self.log.append(("refresh_ray", always))
        self.service.stop.side_effect = self._stop

        self.service.start.side_effect = self._start

    def load_all_instances(self) -> None:
        self.hosts = list(HOSTS)

    def find_hosts(self) -> list[Host]:
        return [] if isinstance(self.failure, ClusterNotFoundError) else list(HOSTS)

    @property
    def _access(self) -> Any:
        access = create_autospec(Access, instance=True, connections=self._found)
        if isinstance(self.failure, HostConnectionError):
            access.open.side_effect = self.failure
        access.open_each.return_value = {}
        access.reach.return_value = self._found
        return access

    def attach(self, hosts: Any = None, *, timeout: float | None = None) -> None:
        assert [host.name for host in hosts] == ["demo_orchestrator"]
        if self.failure:
            raise self.failure
        self.hosts = hosts

    def resolve_runtime(self) -> RuntimeVersion:
        if self.unbuildable:
            raise self.unbuildable
        return RuntimeVersion(version="0.4.18")

    def connect_each(self, *, timeout: float | None = None) -> list[FailedHost]:
        self.log.append(("connect", self.options.rerun_setup))
        if self.started_job:
            self.service.get.return_value = self.started_job
        return self._unload({name: HostConnectionError(f"{name}: no SSH", host=name) for name in self.dead})

    @property
    def fleet(self) -> Fleet:
        return replace(super().fleet, connections=self._found)

    @property
    def file_jobs(self) -> Jobs:
        return self._make_jobs(self.fleet)

    def _make_jobs(self, fleet: Fleet) -> Jobs:
        self.service.fleet = fleet
        return self.service  # type: ignore[no-any-return]

    def _stop(self, *, replaced: bool = False) -> JobState:
        self.log.append(("stop", replaced))
        self.service.get.return_value = JobState(state="replaced")
        return JobState(state="replaced")

    def _start(self, runnable: Any, extensions: dict[str, str], *, secrets_path: str, release: Any = None) -> JobState:
        self.log.append(("start", runnable.to_yaml(extensions), secrets_path))
        return JobState(state="running", active=True, name=runnable.name)


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


@pytest.fixture(autouse=True)
def _launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the part of a launch that changes hosts."""

    def converge(player: Player, *_: Any, unreached: Sequence[FailedHost], **__: Any) -> LaunchResult:
        cluster = player.variables.__self__  # type: ignore[attr-defined]
        cluster.log.append(("converge",))
        return LaunchResult(
            hosts=tuple(player.fleet.hosts),
            failed=tuple(unreached),
            created=(),
            version=RuntimeVersion(),
            playbook={},
            ray=make_nodes(),
            seconds=1.0,
            log=Path("/log"),
        )

    def take(reservation: Reservation, _connections: Any, host: Host) -> None:
        assert host.name == "demo_orchestrator"
        if reservation.held:
            return
        TAKEN.append(reservation.what)
        reservation._process = create_autospec(subprocess.Popen, instance=True, stdin=None, stdout=None)
        reservation._process.poll.return_value = None

    TAKEN.clear()
    monkeypatch.setattr("flambe_ansible.launch.converging.converge", converge)
    monkeypatch.setattr(Reservation, "take", take)


def submit(cluster: Submitting, file: RunnableFile, **options: Any) -> Any:
    made = make_runnable(file, lambda: "me", secrets_file=options.get("secrets_file"))
    return cluster.submit(made, **options)


def test_all_steps_of_a_submission(experiment: Callable[..., RunnableFile], tmp_path: Path) -> None:
    cluster = Submitting()
    done = submit(cluster, experiment(), rerun_setup=True)
    assert (done.run.name, done.replaced) == ("topics", False)
    # Copies to the factories are scripts that run on the orchestrator.
    names = [call[0] for call in cluster.log]
    assert names == ["connect", "converge", "send", "prepare", "clean", "send", "refresh_ray", "start"]
    connect, _, extension, prepare, _, resource, refresh, _ = cluster.log
    assert connect[1] is True
    assert extension[1:] == (f"{tmp_path / 'ext'}/", "extensions/mine__ext")
    assert prepare[1]["cluster_extensions_packages"] == {
        "mine": f"{HOME}/extensions/mine__ext",
        "wheel": "https://me:pass@host/x-1.0.zip",
    }
    assert prepare[1]["tensorboard_logdir"] == f"{HOME}/topics/output__topics"
    assert refresh[1] is True
    assert resource[1:] == (str(tmp_path / "data.tsv"), "topics/output__topics/_resources/data__data.tsv")


def test_a_launch_updates_installed_entries_of_ssh_and_an_end_removes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(tmp_path))
    cluster = Submitting()
    cluster._found.config_entries.side_effect = lambda hosts: f"{len(hosts)} hosts"
    cluster.run()
    assert not host_entries.is_installed(cluster.state_dir)
    path = host_entries.install(cluster.state_dir, "old")
    cluster.run()
    assert path.read_text() == "3 hosts"
    monkeypatch.setattr(Submitting, "ends_hosts", True)
    monkeypatch.setattr(type(cluster._provider), "terminate", lambda _self: [])
    cluster.terminate_instances()
    assert not path.exists()


def test_the_file_for_the_orchestrator(experiment: Callable[..., RunnableFile], tmp_path: Path) -> None:
    cluster = Submitting()
    (tmp_path / "secrets.ini").write_text("[A]\nb = c\n")
    submit(cluster, experiment(), secrets_file=tmp_path / "secrets.ini")
    _, text, secrets = cluster.log[-1]
    assert secrets == f"{HOME}/secrets.ini"
    assert "me:pass" not in text
    for part in (
        f"mine: {HOME}/extensions/mine__ext", "!Experiment  # kept", f"save_path: {HOME}/topics", "there: /mnt/there",
        f"data: {HOME}/topics/output__topics/_resources/data__data.tsv",
        f"env: !RemoteEnvironment {{key: {HOME}/ray_bootstrap_key.pem",
    ):  # fmt: skip
        assert part in text


def test_a_missing_secrets_file_is_reported_first(experiment: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingSecretsError, match=r"gone\.ini"):
        make_runnable(experiment(), secrets_file=tmp_path / "gone.ini")


def test_a_busy_cluster_is_refused_before_anything_changes(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Submitting(job=RUNNING)
    with pytest.raises(ClusterBusyError, match=r"demo is busy: other is running since .*, in stage train") as caught:
        submit(cluster, experiment())
    assert (cluster.log, caught.value.exit_code) == ([], 11)
    assert caught.value.hint and "--force" in caught.value.hint


def test_force_stops_the_job_before_the_launch(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Submitting(job=RUNNING, results="./topics/output__topics/train")
    assert submit(cluster, experiment(), force=True).replaced
    assert [call[0] for call in cluster.log[:3]] == ["stop", "connect", "converge"]
    assert cluster.log[0][1] is True


@pytest.mark.parametrize("failure", [None, HostConnectionError("no answer", host="demo")])
def test_the_cluster_is_reserved_once(experiment: Callable[..., RunnableFile], failure: Exception | None) -> None:
    submit(Submitting(failure=failure), experiment())
    assert TAKEN == ["submit"]
    Submitting(failure=failure).run()
    assert TAKEN == ["submit", "launch"]
    idle = Submitting()
    idle.load_all_instances()
    idle.shutdown_flambe_execution()
    assert TAKEN == ["submit", "launch"]  # no job, so nothing is changed
    stopping = Submitting(job=RUNNING)
    stopping.load_all_instances()
    stopping.shutdown_flambe_execution()
    assert TAKEN == ["submit", "launch", "stop"]


def test_a_reserved_cluster_is_not_changed(
    experiment: Callable[..., RunnableFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(reservation: Reservation, *_: Any) -> None:
        raise ClusterBusyError("cluster demo is reserved")

    monkeypatch.setattr(Reservation, "take", take)
    cluster = Submitting(job=RUNNING)
    cluster.load_all_instances = None  # type: ignore[assignment]
    for work in (
        lambda: submit(cluster, experiment(head=""), force=True),
        cluster.run,
        lambda: cluster.run(force=True),
        cluster.shutdown_flambe_execution,
    ):
        cluster.hosts = list(HOSTS)
        with pytest.raises(ClusterBusyError, match="reserved"):
            work()
        assert cluster.log == []
        assert cluster._reservation is None


def test_results_are_kept_if_the_reservation_is_lost(
    experiment: Callable[..., RunnableFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Submitting()

    def check(_reservation: Reservation) -> None:
        if "prepare" in [call[0] for call in cluster.log]:
            raise HostConnectionError("lost", host="demo")

    monkeypatch.setattr(Reservation, "check", check)
    with pytest.raises(HostConnectionError, match="lost"):
        submit(cluster, experiment())
    assert [call[0] for call in cluster.log][-1] == "prepare"


@pytest.mark.parametrize("failure", [None, HostConnectionError("no answer", host="demo")])
def test_a_launch_does_not_end_a_running_job(monkeypatch: pytest.MonkeyPatch, failure: Exception | None) -> None:
    asked: list[Any] = []

    def protect(player: Player, *_: Any, cluster: str, job: JobState, play_all: bool) -> None:
        asked.append((cluster, job, play_all, [host.name for host in player.fleet.hosts]))
        raise ClusterBusyError("it would end it")

    monkeypatch.setattr("flambe_ansible.launch.protecting.protect", protect)
    cluster = Submitting(job=RUNNING, failure=failure)
    with pytest.raises(ClusterBusyError, match="would end it"):
        cluster.run()
    with pytest.raises(ClusterBusyError, match="would end it"):
        cluster.run(full=True)
    assert asked == [("demo", RUNNING, full, [host.name for host in HOSTS]) for full in (False, True)]
    assert {call[0] for call in cluster.log} <= {"connect"}  # hosts may be verified meanwhile
    assert cluster.run(force=True).runtime == "flambe"
    assert Submitting(failure=failure).run().runtime == "flambe"
    assert len(asked) == 2


def test_a_checkout_that_cannot_be_built_stops_no_job(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Submitting(job=RUNNING, unbuildable=SourceError("no", source="flambe"))
    with pytest.raises(SourceError):
        submit(cluster, experiment(), force=True)
    assert cluster.log == []


def test_hosts_that_restart_after_a_job_are_awaited(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Submitting(job=JobState(state="failed", settling=True, name="other"))
    submit(cluster, experiment())
    assert cluster.log[0][0] == "stop"


def test_results_are_refused_replaced_or_resumed(experiment: Callable[..., RunnableFile]) -> None:
    results = "./topics/output__topics/train\n"
    cluster = Submitting(results=results)
    with pytest.raises(ExistingResultsError, match="has results of an experiment topics") as caught:
        submit(cluster, experiment())
    assert cluster.log == []
    assert caught.value.hint and "resume" in caught.value.hint
    submit(cluster, experiment(more="resume: train"))
    assert "clean" not in [call[0] for call in cluster.log]
    again = Submitting(results=results)
    submit(again, experiment(), force=True)
    [command] = [call[1] for call in again.log if call[0] == "clean"]
    assert shlex.split(command)[:2] == ["/bin/sh", "-c"]  # whatever the login shell is
    assert "! -name _resources" in command
    assert "! -name data__data.tsv" in command


@pytest.mark.parametrize("failure", [ClusterNotFoundError("no host"), HostConnectionError("no answer", host="demo")])
def test_a_missing_cluster_is_launched(experiment: Callable[..., RunnableFile], failure: Exception) -> None:
    cluster = Submitting(failure=failure)
    submit(cluster, experiment())
    assert cluster.log[0][0] == "connect"


@pytest.mark.parametrize("failure", [None, HostConnectionError("no answer", host="demo")])
def test_a_job_started_in_the_meantime_is_found_before_anything_changes(
    experiment: Callable[..., RunnableFile], failure: Exception | None
) -> None:
    cluster = Submitting(failure=failure, started_job=RUNNING)
    with pytest.raises(ClusterBusyError, match="other is running"):
        submit(cluster, experiment())
    assert [call[0] for call in cluster.log] == ["connect"]
    forced = Submitting(failure=failure, started_job=RUNNING)
    assert submit(forced, experiment(), force=True).replaced
    assert [call[0] for call in forced.log[:3]] == ["connect", "stop", "converge"]


def test_a_job_runs_on_the_factories_that_answer(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Submitting(dead=["demo_factory_0"])
    cluster.service.prepare.side_effect = lambda variables: False
    done = submit(cluster, experiment())
    assert [one.host.name for one in done.launch.failed] == ["demo_factory_0"]
    _, text, _ = cluster.log[-1]
    assert "10.0.0.12" in text
    assert "10.0.0.11" not in text
    assert ("refresh_ray", True) in cluster.log  # the lost factory would run tasks: its node is alive


def test_a_job_without_a_factory_that_answers_is_refused(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Submitting(dead=["demo_factory_0", "demo_factory_1"])
    with pytest.raises(HostConnectionError, match="demo_factory_0: no SSH\ndemo_factory_1: no SSH"):
        submit(cluster, experiment())
    assert [call[0] for call in cluster.log] == ["connect"]


def test_a_wrong_host_key_stops_the_submission(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Submitting(failure=HostKeyError("another key", host="demo"))
    with pytest.raises(HostKeyError):
        submit(cluster, experiment())
    assert cluster.log == []


def test_a_missing_resource_changes_nothing(experiment: Callable[..., RunnableFile], tmp_path: Path) -> None:
    file = experiment()
    (tmp_path / "data.tsv").unlink()
    cluster = Submitting()
    with pytest.raises(ClusterConfigurationError, match=r"experiment.yaml:\d+:\d+: resource data"):
        submit(cluster, file)
    assert cluster.log == []


def test_a_runtime_without_jobs_is_refused(experiment: Callable[..., RunnableFile]) -> None:
    cluster = Submitting(runtime="none")
    with pytest.raises(ClusterConfigurationError, match="runtime none, which cannot run jobs"):
        submit(cluster, experiment())
    with pytest.raises(ClusterConfigurationError, match="runtime none, which cannot run jobs"):
        cluster.attach_job()
    assert cluster.log == []
    cluster = Submitting(runtime="ray")
    with pytest.raises(ClusterConfigurationError, match="demo has runtime ray, which cannot run experiments"):
        submit(cluster, experiment())
    assert cluster.log == []


def test_a_cluster_without_a_job() -> None:
    with pytest.raises(RunError, match="no job was started on cluster demo yet"):
        Submitting().attach_job()
