"""``lab``: its text and JSON output, with a fake lab."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible import lab
from flambe_ansible.cluster.loading import load_cluster
from flambe_ansible.errors import LabError
from flambe_ansible.lab import LabHost, LabInfo, LabStatus
from tests.unit.cli.conftest import Run

INFO = LabInfo(
    name="default",
    endpoint="http://127.0.0.1:4001",
    region="us-east-1",
    access_key="AKLAB",
    secret_key="planted-secret",
    subnet_id="subnet-1",
    security_group="sg-1",
    key_name="lab",
    key=Path("/lab/key.pem"),
    image_id="ami-1",
    network="10.9.0.0/24",
    state_dir=Path("/lab"),
    up=True,
)
HOST = LabHost(id="i-1", name="demo_orchestrator", state="running", private_ip="10.9.0.4", instance_type="t3.small")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []

    def up(name: str, **options: Any) -> LabInfo:
        options.pop("say")("starting the lab")
        made.append((name, options))
        return INFO

    def down(name: str, *, purge: bool) -> bool:
        made.append((name, purge))
        return True

    monkeypatch.setattr(lab, "up", up)
    monkeypatch.setattr(lab, "down", down)
    monkeypatch.setattr(
        lab, "status", lambda name: LabStatus(name=name, exists=True, up=True, info=INFO, hosts=(HOST,))
    )
    return made


def test_up_prints_how_to_configure_a_client(calls: list[Any], run: Run) -> None:
    done = run("lab", "up", "--network", "10.9.0.0/24", "--max-hosts", "4", "--quota", "L-DB2E81BA=0")
    assert done.code == 0
    assert done.stdout.startswith("starting the lab\nLab default is up: http://127.0.0.1:4001\n")
    assert "  export AWS_ENDPOINT_URL=http://127.0.0.1:4001\n" in done.stdout
    [(name, options)] = calls
    assert name == "default"
    assert {key: value for key, value in options.items() if value} == {
        "network_range": "10.9.0.0/24",
        "max_hosts": 4,
        "quotas": ("L-DB2E81BA=0",),
    }


def test_up_passes_on_how_the_api_behaves(calls: list[Any], run: Run, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text("{}")
    assert run("lab", "up", "--policy", str(path), "--consistency", "eventual", "--console-delay", "2").code == 0
    [(_, options)] = calls
    assert {key: value for key, value in options.items() if value} == {
        "policy": path,
        "consistency": "eventual",
        "console_delay": 2.0,
    }
    assert run("lab", "up", "--consistency", "weak").code == 2


NEXT = {
    "default": ["next: flambe-ans init lab cluster.yaml", "next: flambe-ans launch cluster.yaml"],
    "e2e": ["next: flambe-ans init lab e2e.yaml --lab e2e", "next: flambe-ans launch e2e.yaml"],
}


@pytest.mark.parametrize(("name", "expected"), NEXT.items())
def test_up_and_status_of_an_empty_lab_end_with_the_next_commands(
    calls: list[Any], run: Run, monkeypatch: pytest.MonkeyPatch, name: str, expected: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(lab, "up", lambda name, **_options: replace(INFO, name=name))
    monkeypatch.setattr(lab, "status", lambda name: LabStatus(name=name, exists=True, up=True, info=INFO))
    for command in ("up", "status"):
        lines = run("lab", command, "--name", name).stdout.splitlines()
        assert lines[-3:] == ["To launch a cluster in it:", *expected]
    monkeypatch.chdir(tmp_path)
    words = expected[0].removeprefix("next: flambe-ans ").split()
    assert run(*words).code == 0
    cluster: Any = load_cluster(words[2])
    assert cluster.lab == name


@pytest.mark.parametrize(("name", "option"), [("default", ""), ("e2e", " --name e2e")])
def test_the_status_of_a_lab_that_is_down_names_the_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, option: str
) -> None:
    monkeypatch.setattr(lab, "status", lambda name: LabStatus(name=name, exists=False, up=False))
    assert run("lab", "status", "--name", name).stdout.splitlines()[-1] == f"next: sudo flambe-ans lab up{option}"


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_the_hint_of_an_error_names_the_lab(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def refuse(_name: str, **_options: Any) -> None:
        raise LabError("no", hint="flambe-ans lab up --network 10.99.0.0/24, or lab down --name e2e")

    monkeypatch.setattr(lab, command, refuse)
    hint = run("lab", command, "--name", "e2e").stderr.splitlines()[1]
    assert hint == "next: flambe-ans lab up --name e2e --network 10.99.0.0/24, or lab down --name e2e"


@pytest.mark.parametrize("command", ["up", "status"])
def test_documents_contain_no_secret(calls: list[Any], run: Run, command: str) -> None:
    done = run("lab", command, "--json")
    assert "http://127.0.0.1:4001" in json.dumps(json.loads(done.stdout))
    assert "planted-secret" not in done.stdout + done.stderr


def test_status_lists_the_hosts(calls: list[Any], run: Run) -> None:
    done = run("lab", "status")
    assert "Lab default is up: http://127.0.0.1:4001" in done.stdout
    assert "demo_orchestrator" in done.stdout


def test_down_lists_what_is_kept(calls: list[Any], run: Run) -> None:
    assert "the cached image is kept" in run("lab", "down", "--name", "other").stdout
    assert run("lab", "down", "--purge").stdout == "Lab default was deleted.\n"
    assert calls == [("other", False), ("default", True)]


def test_without_root_one_line_has_the_command_to_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **_options: Any) -> None:
        raise LabError("flambe-ans lab up must run as root", hint="sudo flambe-ans lab up")

    monkeypatch.setattr(lab, "up", refuse)
    done = run("lab", "up")
    assert (done.code, done.stderr) == (8, "error: flambe-ans lab up must run as root\nnext: sudo flambe-ans lab up\n")
