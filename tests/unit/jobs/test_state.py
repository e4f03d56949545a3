"""The state of a job, and the calls that start, stop and query it."""

from __future__ import annotations

import json

import pytest
from jinja2 import Template

from flambe_ansible.errors import ClusterConfigurationError, RayError, RemoteCommandError, RunError
from flambe_ansible.fleet.receipts import read_defaults
from flambe_ansible.jobs import sites, state
from flambe_ansible.jobs.jobs import require_jobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runtimes import flambe, make_runtime
from flambe_ansible.ssh import Completed
from tests.unit.fleets import commands_of, make_connections, make_jobs

DOCUMENT = {
    "id": "abc", "name": "topics", "state": "running", "active": True, "settling": False, "exit_code": None,
    "since": "2026-11-22T04:00:00Z", "until": None, "reason": "", "stage": "train",
    "stages": {"data": "succeeded", "train": "running"},
    "lost": [{"name": "demo_factory_0", "address": "10.0.0.11", "since": "2026-11-22T04:01:00Z", "reason": "gone"}],
    "invocation": "unknown here", "save_path": "/home/ml/topics/output__topics", "log": "/home/ml/output.log",
}  # fmt: skip


def test_a_state_round_trips() -> None:
    found = state.parse("Welcome to this host!\n" + json.dumps(DOCUMENT) + "\n", host="demo")
    assert (found.state, found.stage, found.active, found.until) == ("running", "train", True, "")
    assert found.lost[0].reason == "gone"
    assert list(found.stages) == ["data", "train"]
    document = json.loads(json.dumps(found.to_dict()))
    assert {**document, "until": None, "invocation": "unknown here"} == DOCUMENT


@pytest.mark.parametrize("text", ['{"state": "none"}\n', '{"state": "none", "active": false, "settling": false}'])
def test_an_orchestrator_without_a_job(text: str) -> None:
    jobs = make_jobs(make_connections(text))
    assert jobs.get() == JobState()


@pytest.mark.parametrize("text", ["", "bash: no such file\n", "[1]\n", '{"lost": [1]}'])
def test_an_answer_that_is_no_state_is_an_error(text: str) -> None:
    with pytest.raises(RunError, match=r"demo_orchestrator: the state of the last job is unknown: ."):
        make_jobs(make_connections(text)).get()


def test_a_login_shell_that_runs_no_command_is_an_error() -> None:
    connections = make_connections()
    connections.run.side_effect = lambda *_, **__: Completed(returncode=0, stdout="Welcome\n", stderr="")
    with pytest.raises(RemoteCommandError, match="the user's login shell did not run a command"):
        make_jobs(connections).get()


def test_a_call_sends_its_document_and_reads_the_answer() -> None:
    connections = make_connections('{"restarted": true, "failed": {}}\n')
    make_jobs(connections).refresh_ray(always=True)
    assert commands_of(connections) == ["/opt/flambe/bin/flambe-run refresh --always"]
    assert json.loads(connections.run.call_args.kwargs["input"]) == {
        "user": "ml",
        "head": {"name": "demo_orchestrator", "address": "10.0.0.10", "port": 22},
        "workers": [
            {"name": "demo_factory_0", "address": "10.0.0.11", "port": 22},
            {"name": "demo_factory_1", "address": "10.0.0.12", "port": 22},
        ],
    }


def test_a_ray_that_does_not_start_is_reported() -> None:
    jobs = make_jobs(make_connections('{"failed": {"demo_factory_0": "no answer"}}'))
    with pytest.raises(RayError, match="Ray could not be restarted: demo_factory_0: no answer") as caught:
        jobs.refresh_ray()
    assert caught.value.missing == ("demo_factory_0",)


def test_stop_does_nothing_without_a_job() -> None:
    connections = make_connections('{"state": "succeeded", "name": "topics"}')
    assert make_jobs(connections).stop().name == "topics"
    assert commands_of(connections) == []


def test_stop_ends_a_running_job() -> None:
    connections = make_connections(json.dumps(DOCUMENT))
    make_jobs(connections).stop(replaced=True)
    assert commands_of(connections)[-1] == "/opt/flambe/bin/flambe-run stop --replaced"


def test_a_refusal_includes_the_reason() -> None:
    connections = make_connections(json.dumps({"error": "a job is running", "run": DOCUMENT}), returncode=1)
    with pytest.raises(RunError, match="demo_orchestrator: a job is running") as caught:
        make_jobs(connections).refresh_ray()
    assert (caught.value.state, caught.value.exit_code) == ("running", 11)


def test_a_host_without_the_command() -> None:
    error = "bash: line 1: /opt/flambe/bin/flambe-run: No such file or directory\n"
    with pytest.raises(RunError, match=r"flambe-run refresh: bash: line 1: .*No such file"):
        make_jobs(make_connections("", stderr=error, returncode=127)).refresh_ray()


def test_a_runtime_without_jobs_is_refused() -> None:
    require_jobs(make_runtime("flambe"), "demo", experiment=True)
    require_jobs(make_runtime("ray"), "demo")
    with pytest.raises(ClusterConfigurationError, match="demo has runtime ray, which cannot run experiments of flamb"):
        require_jobs(make_runtime("ray"), "demo", experiment=True)
    with pytest.raises(ClusterConfigurationError, match="demo has runtime none, which cannot run jobs") as caught:
        require_jobs(make_runtime("none"), "demo")
    assert "runtime: flambe" in (caught.value.hint or "")


def test_constants_match_the_defaults_of_the_roles() -> None:
    runner, tensorboard, site, ray = map(read_defaults, ("cluster_runner", "tensorboard", "report_site", "ray_node"))
    assert set(make_runtime("flambe").protection) <= {*read_defaults("flambe"), *ray}
    assert (runner["cluster_runner_unit"], runner["cluster_runner_root"]) == (flambe.JOB_UNIT, flambe.ROOT)
    assert f"{runner['cluster_runner_root']}/bin/flambe-run" == flambe.JOB_COMMAND
    assert site["report_site_job_unit"] == flambe.JOB_UNIT
    assert runner["cluster_runner_ray_unit"] == flambe.RAY_UNIT
    assert Template(runner["cluster_runner_ray_nodes"]).render() == flambe.RAY_NODES
    assert ray["ray_node_unit"] == flambe.RAY_UNIT
    assert (tensorboard["tensorboard_port"], tensorboard["tensorboard_unit"]) == (
        flambe.TENSORBOARD_PORT,
        flambe.TENSORBOARD_UNIT,
    )
    assert (site["report_site_port"], site["report_site_unit"]) == (flambe.REPORT_SITE_PORT, flambe.REPORT_SITE_UNIT)
    assert site["report_site_tensorboard_port"] == flambe.TENSORBOARD_PORT
    assert site["report_site_output_log"] == flambe.JOB_LOG
    assert tensorboard["tensorboard_host"] == site["report_site_host"] == sites.LOOPBACK


@pytest.mark.parametrize(
    ("name", "experiment"), [("topics", True), ("a-b_1", True), ("survey.Survey", False), ("", False)]
)
def test_an_experiment_is_recognised_by_its_name(name: str, experiment: bool) -> None:
    assert JobState(name=name).is_experiment is experiment
