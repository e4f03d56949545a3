"""The program that writes and verifies the receipt of a host."""

from __future__ import annotations

import getpass
import json
import os
import py_compile
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.fleet import observing

Verify = Callable[..., dict[str, Any]]
ROLES = ["first", "second", "third"]
SYSTEMCTL = """#!/bin/sh
echo Id=my.service
echo LoadState=loaded
echo "ActiveState=$(cat {state})"
echo UnitFileState=enabled
echo NeedDaemonReload=no
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the files, the folder, the unit and the check of a role."""
    (tmp_path / "bin").mkdir()
    systemctl, check = tmp_path / "bin/systemctl", tmp_path / "check"
    systemctl.write_text(SYSTEMCTL.format(state=tmp_path / "state"))
    check.write_text("#!/bin/sh\nexit 0\n")
    for script in (systemctl, check):
        script.chmod(0o755)
    (tmp_path / "state").write_text("active")
    (tmp_path / "one.conf").write_text("a = 1\n")
    (tmp_path / "venv/ray").mkdir(parents=True)
    (tmp_path / "venv/ray/node.py").write_text("x = 1\n")
    (tmp_path / "boot_id").write_text("first\n")
    monkeypatch.setattr(observing, "BOOT_ID", str(tmp_path / "boot_id"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def verify(host: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Write a receipt; return the function that verifies it."""
    proof = {
        "files": [f"{host}/one.conf", f"{host}/absent", f"{host}/*.d"],
        "folders": [f"{host}/venv"],
        "units": ["my.service"],
        "checks": [[f"{host}/check", "now"]],
    }
    path = str(host / "lib/receipt.json")
    proofs = {"first": {}, "second": proof, "third": {"boot": ["rerun"]}}
    observing.write("d1", getpass.getuser(), proofs, path=path)

    def run(digest: str = "d1") -> dict[str, Any]:
        observing.verify(digest, path=path)
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


def test_an_unchanged_host_holds(verify: Verify) -> None:
    assert verify() == {"reason": "", "differs": {}, "roles": ROLES}


@pytest.mark.parametrize(
    ("command", "difference"),
    [
        ("echo 'a = 2' > one.conf", "one.conf changed"),
        ("chmod 600 one.conf", "one.conf changed"),
        ("rm one.conf", "one.conf is missing"),
        ("cp one.conf two && ln -sf two one.conf", "one.conf changed"),
        ("touch absent", "absent is new"),
        ("touch new.d", "*.d is missing"),
        ("echo x >> venv/ray/node.py", "the files in {host}/venv changed"),
        ("touch venv/ray/more.py", "the files in {host}/venv changed"),
        ("rm -r venv", "the files in {host}/venv is missing"),
        ("echo failed > state; printf failed > state", "my.service ActiveState is failed"),
        ("printf 'exit 3' >> check; sed -i s/exit.0/exit\\ 3/ check", "check now: exit code 3"),
        ("rm check", "check now is missing"),
    ],
)
def test_a_difference_is_named(verify: Verify, host: Path, command: str, difference: str) -> None:
    assert os.system(f"cd '{host}' && {command}") == 0
    answer = verify()
    assert answer["reason"] == ""
    assert list(answer["differs"]) == ["second"]
    assert answer["differs"]["second"].endswith(difference.format(host=host))


def test_the_start_of_the_head_is_no_difference(verify: Verify, host: Path) -> None:
    """The end of a job restarts Ray, and changes this line of the factories' units."""
    assert os.system(f"cd '{host}' && echo '# head: 5405f8ee' >> one.conf") == 0
    assert verify()["differs"] == {}


def test_byte_code_is_no_difference(verify: Verify, host: Path) -> None:
    py_compile.compile(str(host / "venv/ray/node.py"))
    (host / "venv/old.pyc").touch()
    assert verify()["differs"] == {}


def test_after_a_reboot_roles_with_units_and_checks_differ(verify: Verify, host: Path) -> None:
    (host / "boot_id").write_text("second\n")
    assert verify() == {
        "reason": "",
        "differs": dict.fromkeys(["second", "third"], "the host was rebooted"),
        "roles": ROLES,
    }


def test_a_receipt_that_proves_nothing(verify: Verify, host: Path) -> None:
    assert verify("d2") == {"reason": "the configuration changed", "differs": {}, "roles": ROLES}
    receipt = host / "lib/receipt.json"
    assert stat.S_IMODE(receipt.stat().st_mode) == 0o600
    for text in ("", "[]", "{}"):
        receipt.write_text(text)
        assert verify() == {"reason": "no launch has completed", "differs": {}, "roles": []}
    receipt.write_text(json.dumps({"schema": 99}))
    reason = "/var/lib/flambe-cluster/receipt.json has version 99, and this flambe-ansible supports version 2"
    assert verify() == {"reason": reason, "differs": {}, "roles": []}
    for _ in range(2):
        observing.remove(path=str(receipt))
        assert verify()["reason"] == "no launch has completed"


def test_the_idle_time_starts_again_if_nothing_differs(
    host: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    restarted, path = host / "restarted", str(host / "lib/receipt.json")
    command = ["touch", str(restarted)]
    observing.verify("d2", command, path=path)
    assert not restarted.exists()
    observing.verify("d1", command, path=path)
    assert restarted.exists()
    restarted.unlink()
    observing.write("d1", getpass.getuser(), {}, command, path=path)
    assert restarted.exists()
    observing.verify("d1", ["/nonexistent/idle-shutdown"], path=path)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["differs"] == {}


def test_another_python_is_another_configuration(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.99")
    assert verify()["reason"] == "the configuration changed"
