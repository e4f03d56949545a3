"""The nodes that Ray reports, compared with the hosts."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from flambe_ansible.errors import RayError
from flambe_ansible.hosts import Host, Role
from flambe_ansible.runtimes import ray_service as ray
from flambe_ansible.runtimes.flambe import FlambeRuntime
from flambe_ansible.ssh import Completed

SERVICE = FlambeRuntime.ray
assert SERVICE is not None
HOSTS = [
    Host(name="c_orchestrator", role=Role.ORCHESTRATOR, private_ip="10.0.0.1"),
    Host(name="c_factory_0", role=Role.FACTORY, index=0, private_ip="10.0.0.2"),
    Host(name="c_factory_1", role=Role.FACTORY, index=1, private_ip="10.0.0.3"),
]


def answer(*alive: str, dead: Sequence[str] = ()) -> str:
    nodes = [{"address": one, "alive": one not in dead, "resources": {"CPU": 2.0}} for one in (*alive, *dead)]
    return json.dumps({"ray_version": "0.7.6", "nodes": nodes})


class FakeConnections:
    """Returns answers instead of real hosts."""

    def __init__(self, stdout: str) -> None:
        self.stdout = stdout

    def run(self, host: Host, command: str, **_: object) -> Completed:
        return Completed(returncode=0, stdout=self.stdout, stderr="")

    def run_all(self, hosts: Sequence[Host], command: str, **_: object) -> dict[str, Completed]:
        assert "journalctl" in command
        return {host.name: Completed(returncode=0, stdout=f"log of {host.name}\n", stderr="") for host in hosts}


@pytest.mark.parametrize(
    ("text", "error", "addresses"),
    [
        (answer("10.0.0.1"), "", {"10.0.0.1"}),
        ("a warning first\n" + answer("10.0.0.1", dead=["10.0.0.2"]) + "\n", "", {"10.0.0.1"}),
        ('{"error": "no Ray on port 12345"}', "no Ray on port 12345", set()),
        ("Traceback", "Traceback", set()),
        ("", "no answer", set()),
    ],
)
def test_parse(text: str, error: str, addresses: set[str]) -> None:
    nodes = ray.parse(text)
    assert (nodes.error, nodes.addresses) == (error, addresses)


def test_check_passes_when_every_host_has_a_live_node() -> None:
    nodes = SERVICE.check(FakeConnections(answer("10.0.0.1", "10.0.0.2", "10.0.0.3")), HOSTS)  # type: ignore[arg-type]
    assert nodes.count_alive(HOSTS) == 3


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (answer("10.0.0.1", "10.0.0.3"), ("c_factory_0",)),
        (answer("10.0.0.1", "10.0.0.3", dead=["10.0.0.2"]), ("c_factory_0",)),
        ('{"error": "no Ray"}', ("c_orchestrator", "c_factory_0", "c_factory_1")),
    ],
)
def test_check_reports_the_missing_hosts_with_their_logs(text: str, missing: tuple[str, ...]) -> None:
    with pytest.raises(RayError) as caught:
        SERVICE.check(FakeConnections(text), HOSTS)  # type: ignore[arg-type]
    assert caught.value.missing == missing
    assert caught.value.logs == {name: f"log of {name}" for name in missing}
    assert caught.value.exit_code == 7
