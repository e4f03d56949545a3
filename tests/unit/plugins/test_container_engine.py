"""The module container_engine: its decisions, with a fake systemctl, package manager and account."""

from __future__ import annotations

import base64
import contextlib
import getpass
import grp
import json
import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import container_engine, locks, packages, systemd

ME = pwd.getpwnam(getpass.getuser())
ROTATION = {"log-driver": "json-file", "log-opts": {"max-size": "50m", "max-file": "5"}}


class Box:
    """A host: its programs, its unit, and the commands that change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account = pwd.struct_passwd((ME.pw_name, "x", 4242, 4242, "", str(folder), "/bin/sh"))
        self.programs: set[str] = set()
        self.members: list[str] = []
        self.unit = {"ActiveState": "inactive", "UnitFileState": "disabled", "NeedDaemonReload": "no"}
        self.broken = False
        self.calls: list[str] = []
        self.given: list[str] = []
        self.offered: set[str] = set()
        self.gpu = ""

    @property
    def settings(self) -> Path:
        return self.folder / "daemon.json"

    def systemctl(self, *argv: str, check: bool = True) -> str:
        if argv[0] == "show":
            return "".join(f"{name}={value}\n" for name, value in self.unit.items())
        self.calls.append(" ".join(argv))
        if argv[0] == "restart":
            valid = "bad" not in (self.settings.read_text() if self.settings.exists() else "")
            self.unit["ActiveState"] = "active" if valid else "failed"
            if not valid and check:
                raise systemd.UnitError("systemctl restart docker.service failed: see the journal")
        if argv[0] == "enable":
            self.unit["UnitFileState"] = "enabled"
        return ""

    def install(self, names: Sequence[str]) -> None:
        if self.broken:
            raise packages.PackageError("E: Unable to locate package docker.io", "the output")
        self.calls.append(f"install {' '.join(names)}")
        self.programs.add({"nvidia-container-toolkit": "nvidia-container-runtime"}.get(names[0], "dockerd"))
        self.unit.update(ActiveState="active", UnitFileState="enabled")

    def run(self, _account: Any, argv: list[str], *, stdin: int | None = None, **_options: Any) -> tuple[int, str]:
        self.calls.append(" ".join(argv))
        if stdin is not None:
            self.given.append(os.read(stdin, 4096).decode())
        if argv[0] == "gpasswd":
            self.members.append(argv[2])
        return (1, "denied: wrong password\n") if "bad-user" in argv else (0, "")

    def converge(self, *, dry: bool = False, **changes: Any) -> container_engine.Engine:
        params = {
            "packages": [],
            "settings": {"live-restore": True},
            "log_max_size": "50m",
            "log_max_files": 5,
            "nvidia": True,
            "logins": [],
            "disk_mb": 0,
            "timeout": 5.0,
            "timeout_setting": "the_limit",
            **changes,
        }
        engine = container_engine.Engine(params, self.account, dry)
        engine.converge()
        return engine


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    made = Box(tmp_path)
    group = SimpleNamespace(gr_mem=made.members, gr_gid=7)
    monkeypatch.setattr(container_engine, "SETTINGS", str(made.settings))
    monkeypatch.setattr(container_engine, "_find", lambda name: name if name in made.programs else None)
    monkeypatch.setattr(container_engine, "PACKAGES", {name: ["docker.io"] for name in packages.read_distribution()})
    monkeypatch.setattr(locks, "read_driver", lambda: made.gpu)
    monkeypatch.setattr(grp, "getgrnam", lambda _name: group)
    monkeypatch.setattr(systemd.Systemd, "call", lambda _unit, *argv, **options: made.systemctl(*argv, **options))
    monkeypatch.setattr(systemd.Systemd, "log", lambda _unit: "Nov 1 h dockerd[1]: failed to start daemon: bad value")
    monkeypatch.setattr(packages.Manager, "install", lambda _manager, names: made.install(names))
    monkeypatch.setattr(packages.Manager, "offers", lambda _manager, name: name in made.offered)
    monkeypatch.setattr(accounts, "run", made.run)
    monkeypatch.setattr(accounts, "acting_as", lambda _account: contextlib.nullcontext())
    return made


def test_a_new_host_gets_everything_once(box: Box) -> None:
    planned = box.converge(dry=True).unit.actions
    assert box.calls == []
    assert [path.name for path in box.folder.iterdir()] == []
    done = box.converge()
    assert done.unit.actions[0] == planned[0] == "install docker.io"
    assert "install docker.io; write " in done.unit.summary()
    assert json.loads(box.settings.read_text()) == {"live-restore": True, **ROTATION}
    assert box.members == [ME.pw_name]
    box.calls.clear()
    assert (box.converge().unit.actions, box.converge(dry=True).unit.actions, box.calls) == ([], [], [])


def test_an_engine_that_is_there_is_only_configured(box: Box) -> None:
    box.programs.add("dockerd")
    assert not any(one.startswith("install") for one in box.converge(packages=["docker-ce"]).unit.actions)


def test_other_settings_are_kept_and_not_shown(box: Box) -> None:
    box.settings.write_text(
        '{"proxies": {"http-proxy": "http://u:s3cret@p"}, "log-opts": {"labels": "x"}, "debug": true}'
    )
    engine = box.converge(settings={"debug": False, "registry-mirrors": ["https://m"]})
    found = json.loads(box.settings.read_text())
    assert found["proxies"] == {"http-proxy": "http://u:s3cret@p"}
    assert found["log-opts"] == {"labels": "x", **ROTATION["log-opts"]}  # type: ignore[dict-item]
    assert (found["debug"], found["registry-mirrors"]) == (False, ["https://m"])
    assert "s3cret" not in json.dumps(engine.diff)
    assert '"debug": true' in engine.diff["before"]


@pytest.mark.parametrize("driver", ["journald", "awslogs"])
def test_a_log_driver_without_files_is_left_alone(box: Box, driver: str) -> None:
    box.settings.write_text(json.dumps({"log-driver": driver, "log-opts": {"tag": "x"}}))
    box.converge()
    assert json.loads(box.settings.read_text())["log-opts"] == {"tag": "x"}


@pytest.mark.parametrize(("text", "problem"), [("{,}", "is not valid JSON: "), ("[1]", "is not a JSON object")])
def test_settings_that_cannot_be_read_are_not_overwritten(box: Box, text: str, problem: str) -> None:
    box.settings.write_text(text)
    with pytest.raises(container_engine.EngineError, match=problem):
        box.converge()
    assert box.settings.read_text() == text


@pytest.mark.parametrize("before", [None, '{"debug": true}'])
def test_settings_with_which_the_engine_does_not_start_are_taken_back(box: Box, before: str | None) -> None:
    if before:
        box.settings.write_text(before)
    with pytest.raises(
        container_engine.EngineError, match=r"does not start: failed to start daemon: bad value; .* as before"
    ):
        box.converge(settings={"storage-driver": "bad"})
    assert (box.settings.read_text() if box.settings.exists() else None) == before
    assert box.unit["ActiveState"] == "active"


def test_an_engine_that_stopped_is_started(box: Box) -> None:
    box.converge()
    box.unit.update(ActiveState="inactive", UnitFileState="disabled")
    assert box.converge().unit.actions == ["enable docker.service", "start docker.service"]


def test_too_little_disk_is_one_line(box: Box) -> None:
    with pytest.raises(container_engine.EngineError, match=r"needs 1000000000000 MB of free disk space .* has \d+ MB$"):
        box.converge(disk_mb=10**12)
    assert box.calls == []


def test_a_distribution_without_an_engine_is_one_line(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_engine, "PACKAGES", {"rhel": []})
    with pytest.raises(
        container_engine.EngineError, match=r"no container engine can be installed: the distribution .* set"
    ):
        box.converge()
    box.converge(packages=["docker-ce"])
    assert box.calls[0] == "install docker-ce"


def test_a_failed_installation_has_the_reason_and_the_output(box: Box) -> None:
    box.broken = True
    with pytest.raises(container_engine.EngineError, match=r"^docker\.io cannot be installed: E: Unable") as caught:
        box.converge()
    assert caught.value.output == "the output"


def test_a_login_is_stored_once_and_its_password_is_only_given(box: Box) -> None:
    box.converge()
    login = {"registry": "ghcr.io", "username": "me", "password": "s3cret {{ x }}"}
    assert box.converge(logins=[login], dry=True).unit.actions == ["log in to ghcr.io"]
    box.calls.clear()
    box.converge(logins=[login, {**login, "registry": ""}])
    assert box.calls == [
        "docker login --username me --password-stdin ghcr.io",
        "docker login --username me --password-stdin",
    ]
    assert box.given == ["s3cret {{ x }}"] * 2
    auth = base64.b64encode(b"me:s3cret {{ x }}").decode()
    (box.folder / ".docker").mkdir()
    config = box.folder / ".docker/config.json"
    config.write_text(json.dumps({"auths": {"ghcr.io": {"auth": auth}, container_engine.HUB: {"auth": auth}}}))
    assert box.converge(logins=[login, {**login, "registry": "docker.io"}]).unit.actions == []
    config.write_text(json.dumps({"credHelpers": {"ghcr.io": "ecr-login"}}))
    with pytest.raises(container_engine.EngineError, match=r"has the credential helper ecr-login for ghcr\.io"):
        box.converge(logins=[login])


def test_a_refused_login_names_registry_and_user(box: Box) -> None:
    login = {"registry": "", "username": "bad-user", "password": "s3cret"}
    with pytest.raises(container_engine.EngineError) as caught:
        box.converge(logins=[login])
    assert str(caught.value) == "the login to Docker Hub as bad-user failed: denied: wrong password"


@pytest.mark.parametrize("how", ["there", "offered", "missing", "unwanted"])
def test_gpus_need_the_runtime_of_nvidia(box: Box, how: str) -> None:
    box.gpu = "570.1"
    if how == "there":
        box.programs.add("nvidia-container-runtime")
    if how == "offered":
        box.offered.add("nvidia-container-toolkit")
    engine = box.converge(nvidia=how != "unwanted")
    runtimes = json.loads(box.settings.read_text()).get("runtimes")
    wanted = {"nvidia": {"path": "nvidia-container-runtime", "args": []}}
    assert runtimes == (wanted if how in ("there", "offered") else None)
    assert ("install nvidia-container-toolkit" in box.calls) is (how == "offered")
    assert [("cannot use the GPU" in one) for one in engine.warnings] == ([True] if how == "missing" else [])
    assert ("cannot use the GPU" in engine.summary) is (how == "missing")
    assert box.converge(nvidia=how != "unwanted").unit.actions == []
