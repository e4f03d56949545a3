"""Custom runnables as jobs of commands: this machine takes the place of the orchestrator."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import ClusterBusyError, ClusterConfigurationError, RunError
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.player import Player
from flambe_ansible.jobs import own_package
from flambe_ansible.jobs.commands import ClusterJobs
from flambe_ansible.jobs.results import pull_command
from flambe_ansible.jobs.runnables import RunnableJobs, make_file_jobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runtimes import make_runtime
from tests.unit.ray_jobs.test_commands import connections, fleet, jobs, wait, work

__all__ = ["connections", "fleet", "jobs", "work"]  # fixtures
PROGRAM = """#!/bin/sh
echo "$PWD $@ $PYTHONPATH"
cat flambe.yaml
mkdir -p answers && echo 42 > answers/out
test ! -e slow || exec sleep 60
"""


@pytest.fixture
def runnables(jobs: ClusterJobs, fleet: Fleet, settings: Any, tmp_path: Path) -> RunnableJobs:
    """Return the runnables; the program that runs them prints how it was called."""
    program = tmp_path / "extensions" / "bin" / "flambe-ans"
    program.parent.mkdir(parents=True)
    (tmp_path / "extensions/lib/python3.12/site-packages").mkdir(parents=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    runner = type(jobs.runner)(
        **{**vars(jobs.runner), "extensions": f"{tmp_path}/extensions", "environment": settings.runtime}
    )
    player = create_autospec(Player, instance=True, fleet=fleet)
    player.play.return_value = {}
    return RunnableJobs(player, runner)


def make(**changes: Any) -> Any:
    facts = {"name": "mine.Mine", "program": (), "options": (), "results": "answers"}
    return SimpleNamespace(to_yaml=lambda _extensions: "!mine.Mine {}\n", **{**facts, **changes})


def test_a_runnable_runs_in_the_home_folder_with_its_extensions(
    runnables: RunnableJobs, jobs: ClusterJobs, fleet: Fleet, tmp_path: Path
) -> None:
    assert runnables.get() == JobState()
    found = runnables.start(make(options=("--force",)), {}, secrets_path="/s")
    assert (found.state, found.name, found.save_path) == ("queued", "mine.Mine", f"{tmp_path}/answers")
    job = wait(jobs, found.id)
    assert job.tail == (
        f"{tmp_path} run --installed flambe.yaml --secrets /s --force "
        f"{tmp_path}/extensions/lib/python3.12/site-packages",
        "!mine.Mine {}",
    )
    assert (runnables.get().succeeded, runnables.get().id) == (True, found.id)
    assert "!mine.Mine" in fleet.connections.run(fleet.head, runnables.log_command(follow=True)).stdout
    pulled = pull_command(fleet, jobs.get(), tmp_path / "here")
    assert ((pulled.path / "answers/out").read_text(), pulled.missing) == ("42\n", "")
    assert (tmp_path / "boards" / job.id).resolve() == tmp_path / "answers"


def test_without_results_only_the_log_is_pulled(
    runnables: RunnableJobs, jobs: ClusterJobs, fleet: Fleet, tmp_path: Path
) -> None:
    found = runnables.start(make(results=""), {})
    assert found.save_path == ""
    wait(jobs, found.id)
    pulled = pull_command(fleet, jobs.get(), tmp_path / "here")
    assert [path.name for path in pulled.path.iterdir()] == ["log"]
    assert pulled.missing == f"{found.id} sets no folder of results; only the log was copied"


def test_the_active_runnable_is_found_among_commands_and_stopped(
    runnables: RunnableJobs, jobs: ClusterJobs, work: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow").touch()
    found = runnables.start(make(), {})
    other = jobs.submit(["python", "train.py"], workdir=work, name="other")
    end = time.monotonic() + 20
    while runnables.get().state != "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (runnables.get().id, runnables.get().active) == (found.id, True)
    with pytest.raises(RunError, match=r"a job named mine\.Mine is running"):
        runnables.start(make(), {})
    assert runnables.stop(replaced=True).state == "stopped"
    assert runnables.stop().id == found.id
    assert wait(jobs, other.id).succeeded


def test_the_reservation_is_released_before_the_start(runnables: RunnableJobs, settings: Any) -> None:
    import fcntl

    with Path(settings.reservation).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ClusterBusyError):
            runnables.start(make(), {})
        runnables.start(make(), {}, release=lambda: fcntl.flock(file, fcntl.LOCK_UN))


def test_the_package_and_the_extensions_are_installed_on_all_hosts(
    runnables: RunnableJobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent = create_autospec(own_package.send, return_value="/home/ml/x.whl")
    monkeypatch.setattr(own_package, "send", sent)
    runnables.install_runnable({"mine": "/home/ml/mine"})
    play = runnables._player.play
    assert play.call_args.args == ("submit.yml",)  # type: ignore[attr-defined]
    assert play.call_args.kwargs["variables"]["cluster_extensions_packages"] == {  # type: ignore[attr-defined]
        "flambe_ansible": "/home/ml/x.whl",
        "mine": "/home/ml/mine",
    }
    assert (play.call_args.kwargs["tags"], play.call_args.kwargs["limit"]) == (["cluster_extensions"], ())  # type: ignore[attr-defined]
    runnables.install_extensions([runnables.fleet.head], {"more": "more==1"})
    assert play.call_args.kwargs["limit"] == [runnables.fleet.head.name]  # type: ignore[attr-defined]


def test_an_environment_with_an_old_python_is_refused(runnables: RunnableJobs, settings: Any) -> None:
    python = Path(settings.runtime, "bin/python")
    assert python.resolve() == Path(sys.executable).resolve()
    python.unlink()
    python.write_text("#!/bin/sh\necho 3.10\n")
    python.chmod(0o755)
    with pytest.raises(ClusterConfigurationError, match=r"the cluster's environment has 3\.10") as caught:
        runnables.install_runnable({})
    assert 'python: "3.12"' in (caught.value.hint or "")


def test_the_runtime_decides_how_a_runnable_runs(fleet: Fleet) -> None:
    player = create_autospec(Player, instance=True, fleet=fleet)
    assert isinstance(make_file_jobs(player, make_runtime({"venv": "/opt/env"})), RunnableJobs)
    commands = make_runtime({"venv": "/opt/env"}).commands
    assert commands is not None
    assert commands.environment == "/opt/env"
