"""Services and Ray as units: reasons for a restart, with a fake systemctl."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ports, ray_firewall, ray_service, service, systemd

from flambe_ansible.launch.protecting import PROTECTED

ACCOUNT = pwd.getpwnam(getpass.getuser())


class Systemctl:
    """The state of one unit, and the commands that changed it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.state: dict[str, str] = {}

    def stop(self) -> None:
        self.state = {"ActiveState": "inactive", "UnitFileState": "enabled", "NeedDaemonReload": "no"}

    def run(self, started: float, **changes: str) -> None:
        """Make the unit active since a time."""
        stamp = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(started))
        times = {"ExecMainStartTimestamp": stamp, "InactiveExitTimestamp": stamp}
        self.state = {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no", **times, **changes}

    def call(self, unit: Any, *argv: str, check: bool = True) -> str:
        if argv[0] == "show":
            return "".join(f"{name}={value}\n" for name, value in self.state.items())
        self.calls.append(argv[0])
        return ""


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    recorded = Systemctl()
    recorded.stop()
    monkeypatch.setattr(systemd.Systemd, "call", lambda unit, *argv, **options: recorded.call(unit, *argv, **options))
    monkeypatch.setattr(ports, "find_foreign", lambda port, unit: "")
    return recorded


def age(path: Path, seconds: float) -> float:
    """Set the time at which a file was last written; return it."""
    written = time.time() - seconds
    os.utime(path, (written, written))
    return written


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_unit_gets_its_mode_back_without_a_restart(systemctl: Systemctl, tmp_path: Path, mode: int) -> None:
    converge_service(tmp_path)
    unit = tmp_path / "demo.service"
    unit.chmod(mode)
    systemctl.run(time.time())
    assert converge_service(tmp_path) == [f"restore the mode and owner of {unit}"]
    assert unit.stat().st_mode & 0o777 == 0o644
    assert converge_service(tmp_path) == []


def converge_service(tmp_path: Path, **changes: Any) -> list[str]:
    params = {
        "name": "demo.service",
        "description": "Demo",
        "command": ["/bin/sleep", "60"],
        "stop_post": [],
        "folders": [],
        "files": [{"path": str(tmp_path / "lib/script"), "content": "script", "mode": "0644"}],
        "runtime": "",
        "state": "started",
        "enabled": True,
        "host": "127.0.0.1",
        "port": 0,
        "timeout": 5,
        "timeout_setting": "demo_timeout",
        **changes,
    }
    made = service.Service(params, ACCOUNT, dry=False)
    made.systemd.path = str(tmp_path / "demo.service")
    made.converge()
    actions: list[str] = made.systemd.actions
    return actions


def test_a_running_service_is_unchanged(tmp_path: Path, systemctl: Systemctl) -> None:
    assert converge_service(tmp_path)[-1] == "start demo.service"
    assert systemctl.calls == ["daemon-reload", "reset-failed", "restart"]
    age(tmp_path / "demo.service", 60)
    systemctl.run(age(tmp_path / "lib/script", 60))
    assert converge_service(tmp_path) == []


@pytest.mark.parametrize("name", ["demo.service", "lib/script"])
def test_a_service_whose_restart_was_interrupted_is_restarted(tmp_path: Path, systemctl: Systemctl, name: str) -> None:
    """An earlier run wrote the unit or a file, reloaded systemd, and was killed before the restart."""
    converge_service(tmp_path)
    for path in (tmp_path / "demo.service", tmp_path / "lib/script"):
        age(path, 600)
    systemctl.run(started=time.time() - 300)
    assert converge_service(tmp_path) == []
    age(tmp_path / name, 60)
    systemctl.calls.clear()
    assert converge_service(tmp_path) == ["restart demo.service"]
    assert systemctl.calls == ["reset-failed", "restart"]


def test_a_service_whose_reload_was_interrupted_is_reloaded(tmp_path: Path, systemctl: Systemctl) -> None:
    converge_service(tmp_path)
    systemctl.run(time.time() + 60, NeedDaemonReload="yes")
    systemctl.calls.clear()
    assert converge_service(tmp_path) == ["restart demo.service"]
    assert systemctl.calls == ["daemon-reload", "reset-failed", "restart"]
    systemctl.calls.clear()
    assert converge_service(tmp_path, state="present") == []
    assert systemctl.calls == ["daemon-reload"]


def test_a_clock_that_was_set_back_does_not_restart_a_service(tmp_path: Path, systemctl: Systemctl) -> None:
    converge_service(tmp_path)
    age(tmp_path / "demo.service", -3600)
    systemctl.run(time.time() - 5)
    age(tmp_path / "lib/script", 60)
    assert converge_service(tmp_path) == []


def test_the_actions_in_one_sentence() -> None:
    unit = systemd.Systemd("demo.service")
    unit.note("enable demo.service")
    assert unit.summary() == "enable demo.service"
    for path, noun in (("/srv", "folder"), ("/srv/a", "file"), ("/srv/b", "file"), ("/etc/demo.service", "unit")):
        unit.note(f"write {path}", noun)
    assert unit.summary() == "write 1 folder, 2 files and the unit; enable demo.service"
    assert unit.actions[1:3] == ["write /srv", "write /srv/a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Sun 2026-11-29 20:03:41 UTC", 1795982621), ("", 0), ("n/a", 0)],
)
def test_timestamps_of_systemctl(text: str, expected: int) -> None:
    assert systemd.read_time(text) == expected


def make_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ray: str = "0.7.6", **changes: Any) -> Any:
    (tmp_path / f"venv/lib/python3.7/site-packages/ray-{ray}.dist-info").mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(ray_service, "TMPFILES", str(tmp_path / "tmpfiles.conf"))
    params = {
        "unit": "ray.service",
        "runtime": str(tmp_path / "venv"),
        "root": str(tmp_path),
        "script": "script",
        "address_script": "",
        "head": True,
        "address": "10.0.0.1",
        "head_address": "",
        "head_id": "",
        "head_restarted": False,
        "head_versions": {},
        "port": 12345,
        "ports": {},
        "head_cpus": 0,
        "resources": {},
        "labels": {},
        "object_store_memory": 0,
        "temp_dir": "",
        "options": [],
        "auth": "auto",
        "token": "",
        "rotate_token": False,
        "firewall": False,
        "allow": [],
        "keep_allowed": False,
        "add_allowed": True,
        "dashboard_port": 8265,
        "client_port": 10001,
        "start": True,
        "expect": {},
        "restart": True,
        "timeout": 90,
        **changes,
    }
    node = ray_service.Node(params, ACCOUNT, dry=False)
    node.systemd.path = str(tmp_path / "ray.service")
    return node


def test_a_ray_whose_restart_was_interrupted_is_restarted(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_node(tmp_path, monkeypatch)
    first.converge()
    assert first.systemd.actions[-1] == "start Ray"
    assert first.systemd.summary() == "write 3 files and the unit; start Ray"
    systemctl.run(age(tmp_path / "ray.service", 60) + 1)
    second = make_node(tmp_path, monkeypatch)
    second.converge()
    assert second.systemd.actions == []
    assert second.systemd.summary() == "nothing to do"
    systemctl.run(time.time() - 600)
    systemctl.calls.clear()
    third = make_node(tmp_path, monkeypatch)
    third.converge()
    assert third.systemd.actions == ["restart Ray: its files changed after it was started"]
    assert systemctl.calls == ["reset-failed", "restart"]


def test_a_running_ray_is_not_restarted_against_the_option(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node(tmp_path, monkeypatch, restart=False).converge()
    assert "restart" in systemctl.calls  # it did not run
    systemctl.run(age(tmp_path / "ray.service", 60) + 1)
    systemctl.calls.clear()
    make_node(tmp_path, monkeypatch, restart=False).converge()
    before = (tmp_path / "ray.service").read_text()
    changed = make_node(tmp_path, monkeypatch, restart=False, port=12346)
    with pytest.raises(systemd.ProtectedError) as caught:
        changed.converge()
    assert str(caught.value) == "ray.service is running and would be restarted: its unit changed"
    assert ((tmp_path / "ray.service").read_text(), systemctl.calls) == (before, [])
    assert systemd.PROTECTED == PROTECTED
    systemctl.state["ActiveState"] = "failed"
    make_node(tmp_path, monkeypatch, restart=False, port=12346).converge()
    assert "restart" in systemctl.calls


def test_a_worker_that_waits_with_an_outdated_ray_nodes_is_restarted(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = {"head": False, "head_address": "10.0.0.9"}
    make_node(tmp_path, monkeypatch, **worker).converge()
    for path in (tmp_path / "ray.service", tmp_path / "bin/ray_nodes.py", tmp_path / "bin/ray-nodes"):
        age(path, 600)
    systemctl.run(time.time() - 300, ActiveState="activating", ExecMainStartTimestamp="")
    waiting = make_node(tmp_path, monkeypatch, **worker)
    waiting.converge()
    assert waiting.systemd.actions == []
    age(tmp_path / "bin/ray_nodes.py", 60)
    outdated = make_node(tmp_path, monkeypatch, **worker)
    outdated.converge()
    assert outdated.systemd.actions == ["restart Ray: its files changed after it was started"]


def test_a_foreign_process_on_the_port_of_the_head(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "find_foreign", lambda port, unit: f"port {port} is in use by process 7: stop it")
    with pytest.raises(systemd.UnitError) as caught:
        make_node(tmp_path, monkeypatch).converge()
    assert str(caught.value) == "port 12345 is in use by process 7: stop it or set ray_node_port to a free port"
    assert "restart" not in systemctl.calls
    systemctl.calls.clear()
    make_node(tmp_path, monkeypatch, head=False, head_address="10.0.0.9").converge()
    assert "restart" in systemctl.calls


def test_a_slow_host_has_more_time_to_answer(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray answers after 40 s; calls with a limit of 15 s would fail until the deadline."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    limits: list[float] = []

    def read_nodes(self: Any, limit: float) -> dict[str, Any]:
        limits.append(limit)
        clock[0] += min(limit, 40)
        return {"nodes": [{"address": "10.0.0.1", "alive": True}]} if limit >= 40 else {"error": "no answer"}

    monkeypatch.setattr(ray_service.Node, "read_nodes", read_nodes)
    systemctl.run(0)
    node = make_node(tmp_path, monkeypatch, expect={"head": "10.0.0.1"})
    assert node.await_nodes(300) == ([], "")
    assert limits == [15, 30, 60]


def test_the_limit_reaches_ray_nodes(tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/ray-nodes"
    command.write_text('#!/bin/sh\necho "{\\"error\\": \\"$*\\"}"\n')
    command.chmod(0o755)
    node = make_node(tmp_path, monkeypatch, expect={"head": "10.0.0.1", "a": "10.0.0.2"})
    assert node.read_nodes(42.0) == {"error": "--timeout 42 --expect 10.0.0.1,10.0.0.2 --within 2"}


def test_a_worker_with_another_python_is_refused_before_it_starts(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.4\n")
    worker = {"head": False, "head_address": "10.0.0.9", "auth": "none"}
    head = {"Ray": "2.60.0", "Python": "3.11.2"}
    node = make_node(tmp_path, monkeypatch, ray="2.60.0", head_versions=head, **worker)
    with pytest.raises(systemd.UnitError, match=r"Python 3\.11\.4 here, 3\.11\.2 on the head: all hosts need the same"):
        node.converge()
    assert "restart" not in systemctl.calls
    make_node(tmp_path, monkeypatch, ray="2.60.0", head_versions={"Ray": "2.60.0", "Python": ""}, **worker).converge()
    assert "restart" in systemctl.calls


def test_a_host_that_the_head_cannot_connect_to_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: tuple[str, int], timeout: float) -> Any:
        if address == ("10.0.0.2", 6381):
            raise TimeoutError("timed out")
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    expect = {"one": "10.0.0.1", "two": "10.0.0.2"}
    ports = {"node_manager": 6380, "object_manager": 6381}
    node = make_node(tmp_path, monkeypatch, ray="2.60.0", expect=expect, ports=ports, auth="none")
    reason = "the head cannot connect to 10.0.0.2:6381 (two): timed out"
    assert node.find_blocked() == (["two"], reason)
    # Ray lists the node as alive, and then as dead.
    nodes = [{"address": address, "alive": True} for address in expect.values()]
    answers = [{"nodes": nodes}, {"nodes": nodes[:1]}]
    monkeypatch.setattr(node, "read_nodes", lambda _limit: answers.pop(0) if len(answers) > 1 else answers[0])
    monkeypatch.setattr(ray_service, "BLOCKED_SECONDS", 0.1)
    monkeypatch.setattr(node, "check_running", lambda _state: None)
    assert (node.await_nodes(time.monotonic() + 60), node.blocked) == ((["two"], reason), True)
    old = make_node(tmp_path / "old", monkeypatch, expect=expect, ports=ports)
    assert old.find_blocked() == ([], "")


def test_ray_that_ends_again_and_again_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node(tmp_path, monkeypatch, ray="2.60.0", auth="none")
    node.restarts = 5
    for state in ("activating", "deactivating", "active"):
        node.check_running({"ActiveState": state, "NRestarts": "7"})
    with pytest.raises(systemd.UnitError, match=r"ended before all nodes were alive, 3 times"):
        node.check_running({"ActiveState": "activating", "NRestarts": "8"})
    node.check_running({"ActiveState": "failed", "NRestarts": "5", "Job": "12"})
    with pytest.raises(systemd.UnitError, match=r"ended before all nodes were alive$"):
        node.check_running({"ActiveState": "failed", "NRestarts": "5"})


def test_a_unit_that_waits_for_its_start_has_not_ended(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stop that took too long, the unit is ``failed`` until systemd starts it again."""
    node = make_node(tmp_path, monkeypatch, ray="2.60.0", auth="none")
    states = [{"ActiveState": "failed", "Result": "timeout", "Job": "7"}, {"ActiveState": "active"}]
    monkeypatch.setattr(node.systemd, "show", lambda: states.pop(0))
    node.await_unit(time.monotonic() + 60)
    assert states == []
    monkeypatch.setattr(node.systemd, "show", lambda: {"ActiveState": "failed", "Result": "timeout", "Job": "0"})
    with pytest.raises(systemd.UnitError, match=r"ray.service is failed \(timeout\)"):
        node.await_unit(time.monotonic() + 60)


@pytest.mark.parametrize(
    "between",
    [
        {"ActiveState": "deactivating", "SubState": "stop-sigterm", "Job": "7"},
        {"ActiveState": "failed", "Result": "signal", "Job": "7"},
        {"ActiveState": "activating", "SubState": "auto-restart", "Result": "signal"},
    ],
)
def test_a_restart_in_progress_is_awaited_and_not_repeated(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, between: dict[str, str]
) -> None:
    """A run after one that failed finds the unit while systemd restarts it."""
    make_node(tmp_path, monkeypatch).converge()
    converge_service(tmp_path)
    systemctl.run(age(tmp_path / "ray.service", 60) + 1)
    age(tmp_path / "demo.service", 60)
    age(tmp_path / "lib/script", 60)
    after = dict(systemctl.state)
    systemctl.calls.clear()

    def restart_ends(_seconds: float) -> None:
        systemctl.state = after

    monkeypatch.setattr(time, "sleep", restart_ends)
    for converge in (make_node(tmp_path, monkeypatch).converge, lambda: converge_service(tmp_path)):
        systemctl.state = {**after, **between}
        converge()
        assert systemctl.calls == []


@pytest.mark.parametrize(
    "state", [{"ActiveState": "active"}, {"ActiveState": "failed", "Result": "signal", "Job": "7"}]
)
def test_a_service_that_is_about_to_start_is_stopped(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, state: dict[str, str]
) -> None:
    converge_service(tmp_path, state="stopped")
    systemctl.state.update(state)
    systemctl.calls.clear()
    monkeypatch.setattr(systemd.Systemd, "show_settled", lambda unit: unit.show())
    assert converge_service(tmp_path, state="stopped") == ["stop demo.service"]
    assert systemctl.calls == ["stop"]


def test_a_service_between_two_starts_has_not_ended(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = service.Service({"name": "demo.service", "host": "127.0.0.1", "port": 1, "timeout": 5,
                            "timeout_setting": "t", "command": [], "stop_post": []}, ACCOUNT, dry=False)  # fmt: skip
    states = [{"ActiveState": "failed", "Result": "signal", "Job": "7"}, {"ActiveState": "active"}]
    monkeypatch.setattr(made.systemd, "show", lambda: states.pop(0))
    monkeypatch.setattr(socket, "create_connection", lambda *_: socket.socket())
    made.await_port()
    made.systemd.show = lambda: {"ActiveState": "failed", "Result": "signal", "Job": "0"}
    with pytest.raises(systemd.UnitError, match=r"demo.service is failed \(signal\)"):
        made.await_port()


@pytest.mark.parametrize(("head_restarted", "expected"), [(True, ["restart Ray: its head was restarted"]), (False, [])])
def test_a_worker_is_restarted_only_if_its_head_was(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, head_restarted: bool, expected: list[str]
) -> None:
    worker = {"ray": "2.60.0", "head": False, "head_address": "10.0.0.9", "auth": "none"}
    make_node(tmp_path, monkeypatch, **worker).converge()
    systemctl.run(age(tmp_path / "ray.service", 60) + 1)
    node = make_node(tmp_path, monkeypatch, head_restarted=head_restarted, head_id="another", **worker)
    node.converge()
    assert node.systemd.actions == expected


def test_a_wait_for_nodes_is_reported(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, progress_file: Path
) -> None:
    systemctl.run(0)
    alive: list[dict[str, Any]] = [{"address": "10.0.0.1", "alive": True}]
    shown: list[str] = []

    def read_nodes(self: Any, limit: float) -> dict[str, Any]:
        if progress_file.exists():
            shown.append(json.loads(progress_file.read_text())["text"])
            alive.append({"address": f"10.0.0.{len(alive) + 1}", "alive": True})
        return {"nodes": list(alive)}

    monkeypatch.setattr(ray_service.Node, "read_nodes", read_nodes)
    expected = {"head": "10.0.0.1", "a": "10.0.0.2", "b": "10.0.0.3"}
    node = make_node(tmp_path, monkeypatch, expect=expected)
    assert node.await_nodes(time.monotonic() + 30) == ([], "")
    assert shown == ["waiting for 2 of 3 nodes: a, b", "waiting for 1 of 3 nodes: b"]


def test_a_service_that_does_not_listen_in_time(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl.run(time.time())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(systemd.UnitError) as caught:
        converge_service(tmp_path, port=port, timeout=0.2, timeout_setting="site_timeout")
    expected = f"demo.service does not listen at 127.0.0.1:{port} after 0.2 s: "
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("; raise site_timeout to allow more")


def test_the_firewall_is_applied_when_it_changes_or_is_gone(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    answers = {"check": (0, ""), "start": (0, "")}

    def call(_script: str, command: str) -> tuple[int, str]:
        calls.append(command)
        return answers[command]

    monkeypatch.setattr(ray_service, "call_firewall", call)

    def converge(*allow: str) -> Any:
        calls.clear()
        node = make_node(tmp_path, monkeypatch, ray="2.60.0", auth="none", firewall=True, allow=list(allow))
        node.converge()
        return node

    assert converge("10.0.0.2").warnings == []
    assert calls == ["start"]
    systemctl.run(age(tmp_path / "ray.service", 60) + 1)
    assert (converge("10.0.0.2").systemd.actions, calls) == ([], ["check"])
    # Another address does not restart Ray.
    assert converge("10.0.0.2", "10.0.0.3").systemd.actions == [f"write {tmp_path}/bin/ray-firewall"]
    assert calls == ["start"]
    answers["check"] = (1, "")
    assert converge("10.0.0.2", "10.0.0.3").systemd.actions == ["limit Ray's ports to the cluster"]
    answers.update(check=(3, ""), start=(3, "neither nft nor iptables is installed\n"))
    assert converge("10.0.0.3", "10.0.0.2").warnings == [
        "Ray's ports are open to the network: neither nft nor iptables is installed"
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["10.0.0.1", "10.0.0.3"]),
        # Hosts outside of the play keep their access, and a new host gets it.
        ({"keep_allowed": True}, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ({"keep_allowed": True, "add_allowed": False}, ["10.0.0.1", "10.0.0.2"]),
    ],
)
def test_addresses_that_are_allowed(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], expected: list[str]
) -> None:
    monkeypatch.setattr(ray_service, "call_firewall", lambda *_: (0, ""))
    for allow, more in (("10.0.0.2", {"keep_allowed": True, "add_allowed": False}), ("10.0.0.3", options)):
        node = make_node(tmp_path, monkeypatch, ray="2.60.0", auth="none", firewall=True, allow=[allow], **more)
        node.converge()
    text = (tmp_path / "bin/ray-firewall").read_text()
    assert ray_firewall.read_allowed(text) == [f"{one}/32" for one in expected]


@pytest.mark.parametrize(
    ("head", "dashboard", "expected"),
    [
        (True, True, "--head --dashboard http://127.0.0.1:8265 --ports 6380 --token {token}"),
        (False, True, "--dashboard http://127.0.0.1:6384 --node 10.0.0.1 --ray-version 2.60.0 --token {token}"),
        # Without --head it would wait for its own start.
        (True, False, "--head --token {token}"),
        (False, False, "--token {token}"),
    ],
)
def test_the_options_of_ray_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bool, dashboard: bool, expected: str
) -> None:
    if dashboard:
        (tmp_path / "venv/lib/python3.7/site-packages/aiohttp_cors-0.8.1.dist-info").mkdir(parents=True)
    monkeypatch.setattr(ray_service.ray_token.Token, "_read", lambda _self: "x" * 32)
    node = make_node(
        tmp_path,
        monkeypatch,
        ray="2.60.0",
        head=head,
        head_address="" if head else "10.0.0.9",
        ports={"agent_http": 6384, "node_manager": 6380},
    )
    options, variables = node.query_options()
    assert " ".join(options) == expected.format(token=node.token.path)
    assert ("RAY_AUTH_MODE" in variables) is not dashboard


def test_the_python_of_the_module_is_written_into_the_unit_and_its_files(tmp_path: Path, systemctl: Systemctl) -> None:
    script = {"path": str(tmp_path / "script"), "content": 'exec @PYTHON@ "$@"\n', "mode": "0755"}
    converge_service(tmp_path, command=["@PYTHON@", "x"], stop_post=["@PYTHON@", "y"], files=[script])
    assert systemctl.calls
    assert f"ExecStart={sys.executable} x\nExecStopPost={sys.executable} y\n" in (tmp_path / "demo.service").read_text()
    assert (tmp_path / "script").read_text() == f'exec {sys.executable} "$@"\n'
