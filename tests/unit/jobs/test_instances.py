"""flambé's methods of single hosts, with autospecs in place of connections and playbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.cluster import const
from flambe_ansible.cluster import instance as names
from flambe_ansible.errors import ClusterConfigurationError, HostConnectionError, RayError, RemoteCommandError
from flambe_ansible.fleet.player import Player
from flambe_ansible.jobs.instances import CPUFactoryInstance, GPUFactoryInstance, HostWork, OrchestratorInstance
from flambe_ansible.jobs.jobs import Jobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runtimes import make_runtime
from flambe_ansible.ssh import Completed, Patience
from tests.unit.cli.made_up import HOSTS
from tests.unit.fleets import make_connections, make_fleet

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
NODES = '{{"ray_version": "0.7.6", "nodes": [{}]}}'


class Hosts:
    """An orchestrator and a factory, and what they call."""

    def __init__(self, runtime: str = "flambe", *, stdout: str = "", returncode: int = 0) -> None:
        self.connections = make_connections(stdout, returncode=returncode)
        self.connections.answer = Patience(seconds=5)
        self.player = create_autospec(Player, instance=True, fleet=make_fleet(self.connections))
        self.jobs = create_autospec(Jobs, instance=True)
        self.stopped = 0
        work = HostWork(
            runtime=make_runtime(runtime),
            version=lambda: "0.4.18",
            player=lambda: self.player,
            jobs=lambda: self.jobs,
            stop_job=self.stop,
            expose=False,
        )
        self.orchestrator = OrchestratorInstance(HOSTS[0], lambda: self.connections, lambda: work)
        self.factory = GPUFactoryInstance(HOSTS[1], lambda: self.connections, lambda: work)

    def stop(self) -> None:
        self.stopped += 1

    @property
    def commands(self) -> list[str]:
        return [call.args[1] for call in self.connections.run.call_args_list]


def test_prepare_installs_the_runtime_on_the_host_and_its_source() -> None:
    hosts = Hosts()
    hosts.factory.prepare()
    hosts.player.play.assert_called_once_with(tags=("flambe",), limit=["demo_orchestrator", "demo_factory_0"])
    hosts.orchestrator.install_flambe()
    assert hosts.player.play.call_args.kwargs["limit"] == ["demo_orchestrator"]
    plain = Hosts("none")
    plain.factory.prepare()
    plain.player.play.assert_not_called()


@pytest.mark.parametrize(
    ("found", "version", "expected"),
    [("0.4.18\n", True, True), ("0.4.17\n", True, False), ("0.4.17\n", False, True), ("", False, False)],
)
def test_flambe_is_installed_in_the_version_of_the_cluster(found: str, version: bool, expected: bool) -> None:
    assert Hosts(stdout=found).factory.is_flambe_installed(version=version) is expected


def test_extensions_are_installed_on_one_host() -> None:
    hosts = Hosts()
    hosts.factory.install_extensions({"mine": "/home/ml/mine"})
    hosts.jobs.install_extensions.assert_called_once_with([HOSTS[1]], {"mine": "/home/ml/mine"})


def test_nodes_are_units_of_this_ray() -> None:
    hosts = Hosts()
    hosts.orchestrator.launch_node(port=const.RAY_REDIS_PORT)
    hosts.factory.launch_node(f"{HOSTS[0].private_ip}:{const.RAY_REDIS_PORT}")
    assert hosts.factory.is_node_running()
    hosts.factory.shutdown_node()
    assert hosts.commands == [
        "sudo -n systemctl start flambe-ray.service",
        "sudo -n systemctl start flambe-ray.service",
        "systemctl is-active --quiet flambe-ray.service",
        "sudo -n systemctl stop flambe-ray.service",
    ]
    with pytest.raises(ClusterConfigurationError, match=r"demo_factory_0: Ray .* is at 10\.0\.0\.10:12345"):
        hosts.factory.launch_node("10.0.0.10:6379")
    assert len(hosts.commands) == 4


@pytest.mark.parametrize("call", ["is_node_running", "shutdown_node"])
def test_a_runtime_without_ray_has_no_node(call: str) -> None:
    with pytest.raises(ClusterConfigurationError, match="runtime none, which has no Ray"):
        getattr(Hosts("none").factory, call)()


def test_worker_nodes_are_the_live_factories() -> None:
    nodes = ", ".join(
        f'{{"address": "{address}", "alive": {alive}}}'
        for address, alive in (("10.0.0.10", "true"), ("10.0.0.12", "true"), ("10.0.0.11", "true"), ("10.9", "false"))
    )
    assert Hosts(stdout=NODES.format(nodes)).orchestrator.worker_nodes() == ["10.0.0.11", "10.0.0.12"]
    with pytest.raises(RayError, match="does not answer: no Redis"):
        Hosts(stdout='{"error": "no Redis"}').orchestrator.worker_nodes()


def test_a_job_runs_on_the_orchestrator_alone() -> None:
    hosts = Hosts()
    hosts.jobs.get.return_value = JobState(state="running", active=True)
    assert [hosts.orchestrator.is_flambe_running(), hosts.factory.is_flambe_running()] == [True, False]
    hosts.factory.shutdown_flambe()
    assert hosts.stopped == 0
    hosts.orchestrator.shutdown_flambe()
    assert hosts.stopped == 1


def test_sites_are_units_with_the_given_folder_and_port() -> None:
    hosts = Hosts()
    hosts.orchestrator.launch_tensorboard("sum/output__sum", 5000)
    hosts.jobs.show_results.assert_called_once_with("sum/output__sum", expose=False, port=5000)
    hosts.orchestrator.launch_report_site("sum/state.pkl", 5001, "my.log", "sum", 5000)
    played = hosts.player.play.call_args.kwargs
    assert (played["tags"], played["limit"]) == (["report_site"], ["demo_orchestrator"])
    assert played["variables"] == {
        "report_site_output_dir": "sum",
        "report_site_output_log": "my.log",
        "report_site_host": "127.0.0.1",
        "report_site_port": 5001,
        "report_site_tensorboard_port": 5000,
    }
    with pytest.raises(ClusterConfigurationError, match=r"progress_file is a/b\.pkl, not a/state\.pkl"):
        hosts.orchestrator.launch_report_site("a/b.pkl")
    with pytest.raises(ClusterConfigurationError, match="needs `runtime: flambe`, not ray"):
        Hosts("ray").orchestrator.launch_report_site("a/state.pkl")


@pytest.mark.parametrize(("code", "running"), [(0, True), (3, False)])
def test_running_sites(code: int, running: bool) -> None:
    hosts = Hosts(returncode=code)
    assert hosts.orchestrator.is_tensorboard_running() is running
    assert hosts.orchestrator.is_report_site_running() is running


def test_a_site_that_cannot_be_stopped_is_an_error() -> None:
    hosts = Hosts()
    assert hosts.orchestrator.remove_report_site() is True
    hosts.orchestrator.remove_tensorboard()
    assert hosts.commands[-1] == "sudo -n systemctl stop flambe-tensorboard.service"
    Hosts(returncode=5).orchestrator.remove_tensorboard()  # not installed
    with pytest.raises(RemoteCommandError, match="could not be stopped"):
        Hosts(returncode=1).orchestrator.remove_tensorboard()


def test_rsync_between_hosts_uses_the_key_of_the_cluster() -> None:
    hosts = Hosts()
    hosts.orchestrator.rsync_folder("data", "ml@10.0.0.11:data", exclude=["*.tmp"])
    assert hosts.commands[-1] == (
        "rsync --archive '--exclude=*.tmp' --rsh 'ssh -i /home/ml/ray_bootstrap_key.pem -o BatchMode=yes' --"
        " data/ ml@10.0.0.11:data"
    )


def test_a_command_returns_its_output_or_its_errors_as_bytes() -> None:
    hosts = Hosts(stdout="8\n")
    assert hosts.factory.send_cmd("nproc", wd="~/my data") == (True, b"8\n")
    assert hosts.commands == ["cd 'my data' || exit 1; nproc"]
    hosts.connections.run.side_effect = lambda *_, **__: Completed(returncode=2, stdout="out", stderr="no")
    assert hosts.factory._run_cmd("false", retries=3) == names.RemoteCommand(False, b"no")
    assert len(hosts.commands) == 4
    assert not hosts.factory.is_cuda_installed()
    with pytest.raises(ValueError, match="retries"):
        hosts.factory.send_cmd("true", retries=0)


@pytest.mark.parametrize(
    ("error", "up"),
    [
        (None, True),
        (HostConnectionError("refused", host="demo_factory_0"), True),
        (HostConnectionError("silent", host="demo_factory_0", unreachable=True), False),
    ],
)
def test_a_host_that_answers_is_up(error: HostConnectionError | None, up: bool) -> None:
    hosts = Hosts()
    hosts.connections.wait_each.return_value = {"demo_factory_0": error} if error else {}
    assert hosts.factory.is_up() is up
    hosts.factory.wait_until_accessible()
    hosts.connections.wait.assert_called_once_with([HOSTS[1]], timeout=60.0)


def test_rsync_sends_the_content_of_a_folder_with_options_as_for_a_shell(tmp_path: Path) -> None:
    hosts = Hosts()
    hosts.factory.send_rsync(str(tmp_path), "~/there", params=["--exclude='.*'", "--filter=':- .gitignore'"])
    hosts.connections.put.assert_called_once_with(
        HOSTS[1], f"{tmp_path}/", "there", options=["--exclude=.*", "--filter=:- .gitignore"]
    )


def test_names_of_flambe() -> None:
    assert names.AWSOrchestratorInstance is OrchestratorInstance
    assert issubclass(names.AWSGPUFactoryInstance, CPUFactoryInstance)
    assert issubclass(names.errors.SSHConnectingError, ConnectionError)
    assert (const.TENSORBOARD_PORT, const.REPORT_SITE_PORT, const.RAY_REDIS_PORT) == (49556, 49558, 12345)


# The methods of flambe.cluster.instance in flambé 0.4.18.
FLAMBE: dict[Any, str] = {
    names.Instance: "prepare wait_until_accessible is_up _run_cmd _run_script run_cmds send_rsync get_home_path"
    " clean_containers clean_container_by_image clean_container_by_command install_docker install_extensions"
    " install_flambe is_docker_installed is_flambe_installed is_docker_running start_docker is_node_running"
    " is_flambe_running existing_dir shutdown_node shutdown_flambe create_dirs remove_dir contains_gpu"
    " fix_relpaths_in_config",
    CPUFactoryInstance: "prepare launch_node num_cpus num_gpus",
    GPUFactoryInstance: "prepare install_cuda is_cuda_installed",
    OrchestratorInstance: "prepare launch_report_site is_tensorboard_running is_report_site_running"
    " remove_tensorboard remove_report_site launch_tensorboard existing_tmux_session kill_tmux_session"
    " launch_flambe launch_node worker_nodes rsync_folder",
}


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, text in FLAMBE.items() for name in text.split()])
def test_each_method_of_a_host_exists_or_is_a_listed_difference(owner: Any, name: str) -> None:
    section = PAGE.partition("## flambé's instances")[2].partition("\n## ")[0]
    [row] = [line for line in section.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
    classes = (OrchestratorInstance, GPUFactoryInstance) if owner is names.Instance else (owner,)
    assert {hasattr(one, name) for one in classes} == {"not provided" not in row}
