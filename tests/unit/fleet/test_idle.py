"""The idle state of hosts as their program prints it, and the constants of its role."""

from __future__ import annotations

import json

import pytest

from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.fleet import host_states, idle
from flambe_ansible.fleet.idle import IdleOptions, IdleState
from flambe_ansible.fleet.receipts import read_defaults
from flambe_ansible.hosts import Role
from tests.unit.cli.made_up import HOSTS
from tests.unit.fleets import make_connections

DOCUMENT = {
    "age": 12.5,
    "checked": "2026-11-30T12:41:07Z",
    "interval": 60.0,
    "timeout": 3600.0,
    "busy": [{"signal": "ray", "reason": "Ray runs job a\x1b[31m"}],
    "idle_since": "",
    "kept_until": "2026-11-30T14:40:00Z",
    "ends": "",
}


def parse(text: str) -> IdleState | None:
    return idle.parse(text)


def test_the_answer_of_a_host() -> None:
    state = parse("Welcome!\n" + json.dumps(DOCUMENT) + "\n")
    assert state
    assert state.to_dict() == {
        "checked": "2026-11-30T12:41:07Z",
        "idle_since": "",
        "busy": [{"signal": "ray", "reason": "Ray runs job a?[31m"}],
        "ends": "",
        "kept_until": "2026-11-30T14:40:00Z",
        "latest_end": "",
        "late": False,
    }


@pytest.mark.parametrize("text", ["", "sh: not found", "[]", "{}", "1", json.dumps({**DOCUMENT, "busy": [1]})])
def test_hosts_without_a_proper_answer_have_no_state(text: str) -> None:
    assert parse(text) is None
    assert host_states.read_each(make_connections(text, returncode=127), HOSTS, with_idle=True)[0] == {}


@pytest.mark.parametrize(("age", "late"), [(None, True), (170, False), (400, True)])
def test_late_checks(age: float | None, late: bool) -> None:
    assert IdleState(age=age, interval=60).is_late is late


def test_one_command_per_host_reads_its_state_and_its_gpus() -> None:
    gpus = {"state": "none", "error": "", "gpus": [], "visible": 0}
    connections = make_connections(f"Welcome!\n{json.dumps(DOCUMENT)}\n{host_states._MARK}\n{json.dumps(gpus)}\n")
    states, found = host_states.read_each(connections, HOSTS, with_idle=True)
    assert set(states) == set(found) == {host.name for host in HOSTS}
    assert all(one.known for one in found.values())
    assert connections.run.call_count == len(HOSTS)


def test_a_host_without_an_idle_state_still_has_gpus() -> None:
    gpus = json.dumps({"state": "none", "error": "", "gpus": [], "visible": 0})
    states, found = host_states.read_each(make_connections(gpus), HOSTS, with_idle=False)
    assert (states, {one.known for one in found.values()}) == ({}, {True})
    states, found = host_states.read_each(make_connections(f"{host_states._MARK}\n{gpus}"), HOSTS, with_idle=True)
    assert (states, {one.known for one in found.values()}) == ({}, {True})


def test_keep_runs_on_all_hosts() -> None:
    connections = make_connections(json.dumps(DOCUMENT))
    assert set(idle.keep(connections, HOSTS, 7200)) == {host.name for host in HOSTS}
    [call] = connections.run_all.call_args_list
    assert call.args == (HOSTS, "sudo -n /opt/flambe-idle-shutdown/bin/idle-shutdown keep 7200")
    with pytest.raises(RemoteCommandError, match="malformed"):
        idle.keep(make_connections("nonsense"), HOSTS, 7200)


@pytest.mark.parametrize(
    ("orchestrator", "factories", "seconds", "enabled"),
    [(-1, 1, (-1, 3600), True), (5, 0, (18_300, 300), True), (0, 0, (600, 300), True), (-1, -1, (-1, -1), False)],
)
def test_hours_become_seconds(orchestrator: int, factories: int, seconds: tuple[int, int], enabled: bool) -> None:
    hours = {Role.ORCHESTRATOR: orchestrator, Role.FACTORY: factories}
    options = IdleOptions(hours=hours, cpu_percent=30, gpu_percent=5)
    variables = options.variables()
    found = variables["cluster_orchestrator_idle_seconds"], variables["cluster_factories_idle_seconds"]
    assert (found, options.enabled) == (seconds, enabled)
    command = ["/opt/flambe-idle-shutdown/bin/idle-shutdown", "restart"]
    assert idle.restart_command(variables) == (command if enabled else [])


def test_the_constants_are_those_of_the_role() -> None:
    defaults = read_defaults("idle_shutdown")
    assert defaults["idle_shutdown_root"] + "/bin/idle-shutdown" == idle.PROGRAM
    options = IdleOptions(hours=dict.fromkeys(Role, 1), cpu_percent=30.0, gpu_percent=5.0)
    own = {name: value for name, value in options.variables().items() if name.startswith("idle_shutdown_")}
    assert own == {name: defaults[name] for name in own}
