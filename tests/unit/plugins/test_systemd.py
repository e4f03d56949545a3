"""Services and Ray as units: reasons for a restart, with a fake systemctl."""

from __future__ import annotations

import getpass
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
        self.options: dict[str, tuple[str, ...]] = {}  # the words of the latest call of each command
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
        self.options[argv[0]] = argv[1:]
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
        "new_token": "",
        "rotate_token": False,
        "firewall": False,
        "allow": [],
        "keep_allowed": False,
        "add_allowed": True,
        "dashboard_port": 8265,
        "client_port": 10001,
        "start": True,
        "early": False,
        "restart": True,
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


def test_a_worker_is_started_before_its_head(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a second run: unless a Ray runs that has to be restarted, or Ray does not rejoin its head by itself."""
    worker = {"ray": "2.60.0", "head": False, "head_address": "10.0.0.9", "auth": "none", "early": True}
    first = make_node(tmp_path, monkeypatch, **worker)
    first.converge()
    assert (first.systemd.actions[-1], first.started, first.settled) == ("start Ray", True, True)
    assert systemctl.options["restart"] == ("--no-block", "ray.service")
    systemctl.run(age(tmp_path / "ray.service", 60) + 1)
    again = make_node(tmp_path, monkeypatch, **worker)
    again.converge()
    assert (again.systemd.actions, again.started, again.settled) == ([], False, True)
    before = (tmp_path / "ray.service").read_text()
    systemctl.calls.clear()
    outdated = make_node(tmp_path, monkeypatch, **worker, resources={"GPU": 1})
    outdated.converge()
    assert (outdated.started, outdated.settled, systemctl.calls) == (False, False, [])
    assert (tmp_path / "ray.service").read_text() == before
    later = make_node(tmp_path, monkeypatch, **{**worker, "early": False}, resources={"GPU": 1})
    later.converge()
    assert (later.systemd.actions[-1], later.started, later.settled) == ("restart Ray: its unit changed", True, True)


def test_a_ray_that_waits_for_its_head_is_changed_early(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = {"ray": "2.60.0", "head": False, "head_address": "10.0.0.9", "auth": "none", "early": True}
    make_node(tmp_path, monkeypatch, **worker).converge()
    systemctl.run(age(tmp_path / "ray.service", 60) + 1, ActiveState="activating")
    changed = make_node(tmp_path, monkeypatch, **worker, resources={"GPU": 1})
    changed.converge()
    assert (changed.started, changed.settled) == (True, True)
    # It joins a head that is restarted, without a restart of its own.
    systemctl.run(time.time(), ActiveState="activating")
    waiting = make_node(tmp_path, monkeypatch, **{**worker, "early": False}, resources={"GPU": 1}, head_restarted=True)
    waiting.converge()
    assert waiting.systemd.actions == []


def test_an_old_ray_starts_after_its_head(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = {"head": False, "head_address": "10.0.0.9", "early": True}
    node = make_node(tmp_path, monkeypatch, **worker)
    node.converge()
    assert (node.started, node.settled, systemctl.calls) == (False, False, [])
    make_node(tmp_path, monkeypatch).converge()
    assert systemctl.options["restart"] == ("ray.service",)  # its id is read next


@pytest.mark.parametrize("head", [True, False])
def test_a_new_token_is_written_where_there_is_none(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, head: bool
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(sys.modules[__name__], "ACCOUNT", pwd.struct_passwd((*ACCOUNT[:5], str(home), ACCOUNT[6])))
    token = home / ".ray/auth_token"
    host = {"ray": "2.60.0", "head": head, "head_address": "" if head else "10.0.0.9", "early": not head}

    def converge(**changes: Any) -> str:
        make_node(tmp_path, monkeypatch, **host, **changes).converge()
        return token.read_text() if token.exists() else ""

    if not head:
        assert converge(rotate_token=True) == ""
    assert converge(new_token="a" * 64) == "a" * 64
    assert converge(new_token="b" * 64) == "a" * 64
    assert converge(new_token="b" * 64, rotate_token=True) == "b" * 64
    if not head:
        assert converge(new_token="a" * 64, token="c" * 64) == "c" * 64


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
