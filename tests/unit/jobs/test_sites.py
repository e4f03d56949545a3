"""The sites of a run and their addresses."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from flambe_ansible import SSHCluster
from flambe_ansible.errors import HostConnectionError, RunError
from flambe_ansible.events import Event, Notice
from flambe_ansible.jobs import sites
from flambe_ansible.jobs.sites import list_units, make_local_sites
from flambe_ansible.jobs.state import JobState
from flambe_ansible.jobs.tunnels import Tunnels
from flambe_ansible.runtimes import make_runtime
from tests.unit.cli.made_up import HOSTS
from tests.unit.fleets import make_connections, make_fleet

EXPERIMENT = JobState(state="succeeded", name="topics", save_path="/home/ml/topics/output__topics")
CUSTOM = JobState(state="running", active=True, name="survey.Survey", save_path="/home/ml/survey")


@pytest.mark.parametrize(
    ("host", "address"), [("10.0.0.4", "http://10.0.0.4:49558/"), ("2001:db8::4", "http://[2001:db8::4]:49558/")]
)
def test_addresses_of_sites(host: str, address: str) -> None:
    assert sites.make_sites(host).report_site == address


@pytest.mark.parametrize(("expose", "host"), [(False, "127.0.0.1"), (True, "0.0.0.0")])
def test_sites_are_private_unless_exposed(expose: bool, host: str) -> None:
    variables = sites.site_variables("/home/ml/a/output__a", "/home/ml/output.log", expose=expose)
    assert variables["tensorboard_host"] == variables["report_site_host"] == host
    assert variables["tensorboard_logdir"] == variables["report_site_output_dir"] == "/home/ml/a/output__a"


def test_the_dashboard_of_ray_is_never_exposed() -> None:
    runner = make_runtime("ray").commands
    assert runner is not None
    ports = {runner.dashboard_port: 8001, sites.TENSORBOARD_PORT: 8002}
    private, exposed = (sites.make_dashboards(runner, ports, token="", exposed=one) for one in (None, HOSTS[0]))
    assert (private.dashboard, private.tensorboard) == ("http://127.0.0.1:8001/", "http://127.0.0.1:8002/")
    assert (exposed.dashboard, exposed.tensorboard) == ("http://127.0.0.1:8001/", "http://10.0.0.10:49556/")


@pytest.mark.parametrize(("expose", "host"), [(False, "127.0.0.1"), (True, "0.0.0.0")])
def test_a_launch_sets_where_tensorboard_listens(expose: bool, host: str) -> None:
    options: Any = {"name": "a", "key": "/k", "username": "u", "runtime": "ray", "expose_sites": expose}
    cluster = SSHCluster(orchestrator_ip="10.0.0.1", factories_ips=["10.0.0.2"], **options)
    assert cluster._role_variables()["tensorboard_host"] == host


def test_only_an_experiment_has_a_report_site() -> None:
    plots = "http://10.0.0.10:49556/"
    found = [sites.find_public_sites(HOSTS[0], run) for run in (EXPERIMENT, CUSTOM)]
    assert found == [
        sites.Sites(report_site="http://10.0.0.10:49558/", tensorboard=plots),
        sites.Sites(report_site=None, tensorboard=plots),
    ]


def test_a_runnable_without_results_has_no_site() -> None:
    for run in (EXPERIMENT, CUSTOM):
        sites.require_results(run)
    with pytest.raises(RunError, match=r"^a.B has nothing to show: its class sets no folder of results$") as caught:
        sites.require_results(JobState(state="failed", name="a.B"))
    assert (caught.value.exit_code, caught.value.state) == (11, "failed")


@contextlib.contextmanager
def unused_port(_host: Any, _remote: int, **_options: Any) -> Iterator[int]:
    """Yield a local port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


@pytest.mark.parametrize(
    ("run", "units"),
    [
        (EXPERIMENT, {49558: "flambe-report-site.service", 49556: "flambe-tensorboard.service"}),
        (CUSTOM, {49556: "flambe-tensorboard.service"}),
    ],
)
def test_a_tunnel_for_each_site(run: JobState, units: dict[int, str]) -> None:
    received: list[Event] = []
    connections = make_connections()
    connections.tunnel.side_effect = unused_port
    with Tunnels(make_fleet(connections, received=received), list_units(run)) as tunnels:
        assert [call.args[1] for call in connections.tunnel.call_args_list] == list(units)
        sites = make_local_sites(tunnels.ports)
        assert (sites.report_site is None) is not run.is_experiment
        assert sites.tensorboard == f"http://127.0.0.1:{tunnels.ports[49556]}/"
    messages = [event.message for event in received if isinstance(event, Notice)]
    assert [message.split()[1] for message in messages] == list(units.values())


def test_a_site_that_only_the_tunnel_does_not_reach_is_an_error() -> None:
    connections = make_connections("H")
    connections.tunnel.side_effect = unused_port
    with (
        pytest.raises(HostConnectionError, match="answers on the host, but not through an SSH tunnel") as caught,
        Tunnels(make_fleet(connections), list_units(CUSTOM)),
    ):
        pass
    assert "AllowTcpForwarding" in (caught.value.hint or "")
