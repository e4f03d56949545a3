"""Playbooks run on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible import playbooks
from flambe_ansible.errors import CancelledError, PlaybookError
from flambe_ansible.events import Event, Status, StepEvent
from flambe_ansible.playbooks import run_playbook

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
INVENTORY = {"all": {"children": {"orchestrator": {"hosts": {"a": LOCAL, "b": LOCAL}}}}}
PLAY = "- name: Here\n  hosts: all\n  gather_facts: false\n  tasks:\n"


def task(name: str, module: str, **options: Any) -> str:
    lines = [f"    - name: {name}", f"      ansible.builtin.{module}"]
    return "\n".join([*lines, *(f"      {key}: {value}" for key, value in options.items())]) + "\n"


def write(folder: Path, *tasks: str) -> str:
    path = folder / "play.yml"
    path.write_text(PLAY + "".join(tasks))
    return str(path)


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a separate folder for temporary files, to find leftovers."""
    folder = tmp_path / "ü's tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


def test_results_steps_and_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    received: list[Event] = []
    play = write(tmp_path, task("Say", "command: echo hello", changed_when="inventory_hostname == 'a'"))
    log = tmp_path / "logs" / "play.log"
    results = run_playbook(play, inventory=INVENTORY, log=log, observer=received.append)
    assert {name: (result.ok, result.changed, result.failed) for name, result in results.items()} == {
        "a": (1, 1, 0),
        "b": (1, 0, 0),
    }
    ended = {step.host: step.status for step in received if isinstance(step, StepEvent) and step.seconds is not None}
    assert ended == {"a": Status.CHANGED, "b": Status.OK}
    assert "TASK [Say]" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "ü's tmp").iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_limit_tags_and_check(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    play = write(
        tmp_path,
        task("Touch", f"copy: {{content: x, dest: '{mark}', mode: '0600'}}", tags="[wanted]"),
        task("Fail", "command: /bin/false"),
    )
    results = run_playbook(play, inventory=INVENTORY, log=tmp_path / "log", limit=["a"], tags=["wanted"], check=True)
    assert list(results) == ["a"]
    assert results["a"].changed == 1
    assert not mark.exists()


def test_failures_have_host_task_command_and_output(tmp_path: Path) -> None:
    play = write(
        tmp_path,
        task("Break", "shell: echo why >&2; exit 7", when="inventory_hostname == 'a'"),
        task("Hide", "shell: echo hunter2; exit 4", when="inventory_hostname == 'b'", no_log="true"),
    )
    log = tmp_path / "log"
    with pytest.raises(PlaybookError) as caught:
        run_playbook(play, inventory=INVENTORY, log=log)
    first, second = caught.value.failures
    assert (first.host, first.task, first.command, first.returncode, first.output) == (
        "a",
        "Break",
        "echo why >&2; exit 7",
        7,
        "why",
    )
    assert (second.host, second.command, second.output) == ("b", "", "")
    assert "hunter2" not in f"{second} {log.read_text()}"
    assert caught.value.log == str(log)


def test_an_unreachable_host_is_a_failure(tmp_path: Path) -> None:
    closed = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"children": {"factories": {"hosts": {"a": closed}}}}}
    with pytest.raises(PlaybookError) as caught:
        run_playbook(write(tmp_path, task("Say", "command: echo")), inventory=inventory, log=tmp_path / "log")
    (failure,) = caught.value.failures
    assert failure.unreachable
    assert "refused" in failure.message


def test_a_failed_host_that_is_not_required_does_not_stop_the_others(tmp_path: Path) -> None:
    play = write(
        tmp_path,
        task("Break", "command: test -d /nowhere", when="inventory_hostname == 'b'"),
        task("Go on", "command: test -d /"),
    )
    results = run_playbook(play, inventory=INVENTORY, log=tmp_path / "log", required=["a"])
    assert (results["a"].ok, results["a"].failures) == (1, ())
    assert [failure.task for failure in results["b"].failures] == ["Break"]
    with pytest.raises(PlaybookError, match="failed on b"):
        run_playbook(play, inventory=INVENTORY, log=tmp_path / "log", required=["b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAY + "    - no.such.module: {}\n", "no.such.module"),
        ("- hosts: [\n", "YAML"),
        ("- hosts: all\n  roles: [no_such_role]\n", "no_such_role"),
    ],
)
def test_errors_of_ansible_are_reported(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "play.yml").write_text(text)
    with pytest.raises(PlaybookError, match="Ansible could not run") as caught:
        run_playbook(str(tmp_path / "play.yml"), inventory=INVENTORY, log=tmp_path / "log")
    assert message in caught.value.message
    assert caught.value.failures == ()


def test_the_environment_is_an_allow_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("MY_TOKEN", "planted")
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    seen = tmp_path / "seen"
    play = write(tmp_path, task("Look", f"shell: env > {seen}", run_once="true"))
    run_playbook(play, inventory=INVENTORY, log=tmp_path / "log", extra_vars={"secret": "planted"})
    names = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert "planted" not in seen.read_text()
    assert names["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert names["ANSIBLE_STDOUT_CALLBACK"] == "awx_display"
    assert names["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


class Clock:
    """Replaces the module ``time``: its clock jumps once a file exists."""

    STEP = 3600.0

    def __init__(self, file: Path) -> None:
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() + (self.STEP if self.file.exists() else 0)


@pytest.mark.parametrize(
    ("way", "expected"),
    [("Ctrl-C", CancelledError), ("timeout", PlaybookError), ("an error of the observer", BrokenPipeError)],
)
def test_no_process_keeps_running(
    tmp_path: Path, way: str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = tmp_path / "began"
    play = write(tmp_path, task("Sleep", f"shell: touch {began}; exec tail -f /dev/null {tmp_path}/play.yml"))

    def wait_until_it_runs() -> None:
        while not began.exists():
            time.sleep(0.05)

    def press_once_it_runs() -> None:
        wait_until_it_runs()
        os.kill(os.getpid(), signal.SIGINT)

    def observe(_event: Event) -> None:
        if way == "an error of the observer":
            wait_until_it_runs()
            raise BrokenPipeError

    if way == "Ctrl-C":
        threading.Thread(target=press_once_it_runs, daemon=True).start()
    if way == "timeout":
        monkeypatch.setattr(playbooks, "time", Clock(began))
    with pytest.raises(expected):
        run_playbook(
            play,
            inventory=INVENTORY,
            log=tmp_path / "log",
            timeout=Clock.STEP if way == "timeout" else None,
            observer=observe,
        )
    assert began.exists()
    for _ in range(600):
        listing = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
        if str(tmp_path) not in listing:
            break
        time.sleep(0.1)
    assert str(tmp_path) not in listing
    assert list((tmp_path / "ü's tmp").glob("flambe-*")) == []


def test_a_playbook_is_found_by_name() -> None:
    assert playbooks._find_playbook("site.yml").parts[-5:] == (
        "ansible_collections",
        "flambe",
        "cluster",
        "playbooks",
        "site.yml",
    )


def test_the_inventory_and_the_variables_are_private(tmp_path: Path) -> None:
    playbooks._configure(tmp_path, "site.yml", INVENTORY, tags=(), limit=(), extra_vars={"token": "x"}, check=False)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("hosts.json", "extra_vars.json")}
    assert modes == {"hosts.json": 0o600, "extra_vars.json": 0o600}
