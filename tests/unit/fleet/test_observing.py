"""The program that writes and verifies the receipt of a host."""

from __future__ import annotations

import errno
import getpass
import hashlib
import json
import os
import py_compile
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.fleet import observing

Verify = Callable[..., dict[str, Any]]
Capture = pytest.CaptureFixture[str]
USER = getpass.getuser()
WANTED = {"first": "d1", "second": "d2", "third": "d3"}
LAUNCHES = dict.fromkeys(WANTED, "l1")
REBOOTS = ["d3", {"boot": ["rerun"]}]
SYSTEMCTL = """#!/bin/sh
echo Id=my.service
echo LoadState=loaded
echo "ActiveState=$(cat {state})"
echo UnitFileState=enabled
echo NeedDaemonReload=no
echo "DropInPaths=$(find {drop_ins} -name '*.conf' 2>/dev/null)"
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the files, the folder, the unit and the check of a role."""
    (tmp_path / "bin").mkdir()
    systemctl, check = tmp_path / "bin/systemctl", tmp_path / "check"
    systemctl.write_text(SYSTEMCTL.format(state=tmp_path / "state", drop_ins=tmp_path / "added"))
    check.write_text("#!/bin/sh\nexit 0\n")
    for script in (systemctl, check):
        script.chmod(0o755)
    (tmp_path / "state").write_text("active")
    for name in ("one.conf", "two.conf"):
        (tmp_path / name).write_text("a = 1\n")
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
        "files": [[f"{host}/one.conf", "# head: "], f"{host}/absent", f"{host}/*.d", f"{host}/two.conf"],
        "folders": [f"{host}/venv"],
        "units": ["my.service"],
        "checks": [[f"{host}/check", "now"]],
    }
    path = str(host / "lib/receipt.json")
    observing.write({"first": ["d1", {}], "second": ["d2", proof], "third": REBOOTS}, USER, "l1", path=path)

    def run(wanted: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
        observing.verify(WANTED if wanted is None else wanted, path=path, **options)
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert answer.pop("boot") == Path(observing.BOOT_ID).read_text().strip()
        return answer

    return run


def test_an_unchanged_host_holds(verify: Verify) -> None:
    assert verify() == {"reason": "", "differs": {}, "roles": LAUNCHES}


@pytest.mark.parametrize(
    ("command", "difference"),
    [
        ("echo 'a = 2' > one.conf", "one.conf changed"),
        ("chmod 600 one.conf", "one.conf changed"),
        ("rm one.conf", "one.conf is missing"),
        ("cp one.conf two && ln -sf two one.conf", "one.conf changed"),
        ("touch absent", "absent is new"),
        ("touch new.d", "new.d is new"),
        ("echo x >> venv/ray/node.py", "the files in {host}/venv changed"),
        ("touch venv/ray/more.py", "the files in {host}/venv changed"),
        ("chmod 777 venv/ray", "the files in {host}/venv changed"),
        ("mkdir venv/empty", "the files in {host}/venv changed"),
        ("rm one.conf; mkfifo one.conf", "one.conf changed"),
        ("rm one.conf; mkdir one.conf", "one.conf changed"),
        ("ln -sf /dev/zero one.conf", "one.conf changed"),
        ("mkdir added; echo [Service] > added/own.conf", "added/own.conf is new"),
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


def test_lines_that_a_role_excepts_are_no_difference(verify: Verify, host: Path) -> None:
    assert os.system(f"cd '{host}' && echo '# head: 5405f8ee' >> one.conf") == 0
    assert verify()["differs"] == {}
    assert os.system(f"cd '{host}' && echo '# head: 5405f8ee' >> two.conf") == 0
    assert verify()["differs"] == {"second": f"{host}/two.conf changed"}


def test_byte_code_is_no_difference(verify: Verify, host: Path) -> None:
    py_compile.compile(str(host / "venv/ray/node.py"))
    (host / "venv/old.pyc").touch()
    assert verify()["differs"] == {}


def test_the_commands_of_all_roles_run_at_once(host: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The first one ends only when the last one has run."""
    monkeypatch.setattr(observing, "_CHECK_SECONDS", 2)
    first, last = ["sh", "-c", f"until test -e '{host}/now'; do sleep 0.01; done"], ["touch", f"{host}/now"]
    path = str(host / "lib/receipt.json")
    (host / "now").touch()
    roles = {"first": ["d1", {"checks": [first]}], "last": ["d1", {"checks": [last]}]}
    observing.write(roles, USER, "l1", path=path)
    (host / "now").unlink()
    observing.verify({"first": "d1", "last": "d1"}, path=path)
    assert json.loads(capsys.readouterr().out)["differs"] == {}


def test_the_units_of_all_roles_take_one_call_of_systemctl(host: Path, capsys: Capture) -> None:
    text = SYSTEMCTL.replace("#!/bin/sh\n", f'#!/bin/sh\necho "$@" >> {host}/calls\n')
    (host / "bin/systemctl").write_text(text.format(state=host / "state", drop_ins=host / "added"))
    path = str(host / "lib/receipt.json")
    roles = {"first": ["d1", {"units": ["my.service"]}], "second": ["d2", {"units": ["my.service", "no.service"]}]}
    observing.write(roles, USER, "l1", path=path)
    (host / "calls").unlink()
    observing.verify({"first": "d1", "second": "d2"}, path=path)
    assert json.loads(capsys.readouterr().out)["differs"] == {}
    [call] = (host / "calls").read_text().splitlines()
    assert call.endswith(" my.service my.service no.service")


def test_a_file_larger_than_16_mib_is_described_by_its_size_and_time(host: Path) -> None:
    path = host / "program"
    with path.open("wb") as file:
        file.truncate(observing._LARGE + 1)
    os.utime(path, ns=(1, 1))
    before = observing._describe_file(str(path))
    assert before.endswith(f" {observing._LARGE + 1} 1")
    os.utime(path, ns=(1, 2))
    assert observing._describe_file(str(path)) != before


def test_a_large_file_is_read_in_parts(host: Path) -> None:
    content = b"# head: x\n" * 300_000
    (host / "one.conf").write_bytes(content)
    assert observing._digest_file(str(host / "one.conf")) == hashlib.sha256(content).hexdigest()
    one = hashlib.sha256(b"a = 1\n").hexdigest()
    (host / "one.conf").write_bytes(b"a = 1\n# head: 5405f8ee\n")
    assert observing._digest_file(str(host / "one.conf"), "# head: ") == one


def test_after_a_reboot_roles_with_units_and_checks_differ(verify: Verify, host: Path) -> None:
    (host / "boot_id").write_text("second\n")
    assert verify() == {
        "reason": "",
        "differs": dict.fromkeys(["second", "third"], "the host was rebooted"),
        "roles": LAUNCHES,
    }


def test_a_reboot_before_the_receipt_is_written_is_found_by_the_next_launch(
    verify: Verify, host: Path, capsys: Capture
) -> None:
    """What the launch had set up in the first boot is lost, such as what setup commands wrote to /run."""
    path, roles = str(host / "lib/receipt.json"), {"first": ["d1", {}], "third": REBOOTS}
    first = (host / "boot_id").read_text().strip()
    observing.write(roles, USER, "l2", boot=first, path=path)
    assert capsys.readouterr().out == ""
    (host / "boot_id").write_text("second\n")
    observing.write(roles, USER, "l2", boot=first, path=path)
    assert capsys.readouterr().out == "rebooted\n"
    assert verify({"first": "d1", "third": "d3"})["differs"] == {"third": "the host was rebooted"}
    observing.write(roles, USER, "l3", boot="second", path=path)
    assert verify({"first": "d1", "third": "d3"})["differs"] == {}


def test_roles_differ_by_their_digests_and_are_independent(verify: Verify) -> None:
    answer = verify({"first": "d1", "second": "other", "new": "d4", "gpu": "d5"}, optional=["gpu"])
    assert answer == {
        "reason": "",
        "differs": {"second": "the configuration changed", "new": "not set up yet"},
        "roles": {"first": "l1", "second": "l1"},  # the third is no longer wanted
    }


DAMAGED = "/var/lib/flambe-cluster/receipt.json is damaged"
PARTS = ("schema", "python", "user", "boot_id", "roles")
ROLE = ("digest", "launch", "proof", "facts")


def damage(receipt: Path) -> Iterator[dict[str, Any] | str | bytes]:
    """Yield receipts that are no text, no JSON or no document, and those that lack a part or have another one."""
    yield from ("", "[]", "{}", "3", '{"schema": 4', b"\xff\xfe{}", "[" * 100_000)
    whole = json.loads(receipt.read_text())
    for name in PARTS:
        yield {key: value for key, value in whole.items() if key != name}
        yield {**whole, name: [name]}
    for name in ROLE:
        first = {key: value for key, value in whole["roles"]["first"].items() if key != name}
        yield {**whole, "roles": {**whole["roles"], "first": first}}
        yield {**whole, "roles": {**whole["roles"], "first": {**first, name: [name]}}}
    yield {**whole, "roles": {"first": 3}}


def test_a_damaged_receipt_is_named_and_written_again(verify: Verify, host: Path) -> None:
    receipt = host / "lib/receipt.json"
    assert stat.S_IMODE(receipt.stat().st_mode) == 0o600
    for one in [*damage(receipt)]:
        text = json.dumps(one) if isinstance(one, dict) else one
        receipt.write_bytes(text if isinstance(text, bytes) else text.encode())
        assert verify() == {"reason": DAMAGED, "differs": {}, "roles": {}}, one
        observing.write({"first": ["d1", {}]}, USER, "l2", path=str(receipt))
        assert verify({"first": "d1"}) == {"reason": "", "differs": {}, "roles": {"first": "l2"}}
        observing.keep([], path=str(receipt))
        assert verify()["reason"] == "no launch has completed"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_replaced_by_the_receipt(verify: Verify, host: Path, make: Callable[[Path], None]) -> None:
    receipt = host / "lib/receipt.json"
    receipt.unlink()
    make(receipt)
    assert verify()["reason"] == DAMAGED
    observing.write({"first": ["d1", {}]}, USER, "l2", path=str(receipt))
    assert verify({"first": "d1"})["roles"] == {"first": "l2"}
    assert list(receipt.parent.iterdir()) == [receipt]


def test_a_receipt_that_cannot_be_written_is_named(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", fail)
    with pytest.raises(SystemExit, match=r"receipt\.json cannot be written: No space left on device"):
        observing.write({"first": ["d1", {}]}, USER, "l2", path=str(host / "lib/receipt.json"))
    assert list((host / "lib").iterdir()) == []


@pytest.mark.parametrize(
    ("call", "names", "problem"),
    [("mkstemp", ["first"], "written"), ("unlink", [], "removed")],
    ids=["write", "remove"],
)
def test_a_receipt_on_a_disk_that_is_read_only_is_named(
    verify: Verify, host: Path, monkeypatch: pytest.MonkeyPatch, call: str, names: list[str], problem: str
) -> None:
    assert verify()["reason"] == ""

    def fail(*_: object, **_options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile if call == "mkstemp" else Path, call, fail)
    with pytest.raises(SystemExit, match=rf"receipt\.json cannot be {problem}: Read-only file system"):
        observing.keep(names, path=str(host / "lib/receipt.json"))


def test_a_receipt_that_others_can_write_is_not_used(
    verify: Verify, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = host / "lib/receipt.json"
    receipt.chmod(0o660)
    assert verify()["reason"] == DAMAGED
    receipt.chmod(0o600)
    assert verify()["reason"] == ""
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert verify()["reason"] == DAMAGED


def test_a_receipt_of_another_version_is_named(verify: Verify, host: Path) -> None:
    receipt = host / "lib/receipt.json"
    receipt.write_text(json.dumps({"schema": 2, "digest": "d1", "roles": {"first": {}}}))
    reason = "/var/lib/flambe-cluster/receipt.json has version 2, and this flambe-ansible supports version 4"
    assert verify() == {"reason": reason, "differs": {}, "roles": {}}
    for _ in range(2):
        observing.keep([], path=str(receipt))
        assert verify()["reason"] == "no launch has completed"


def test_the_roles_that_are_kept_still_hold(verify: Verify, host: Path) -> None:
    path = host / "lib/receipt.json"
    observing.keep(["second", "unknown"], path=str(path))
    assert verify() == {
        "reason": "",
        "differs": dict.fromkeys(["first", "third"], "not set up yet"),
        "roles": {"second": "l1"},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    observing.keep([], path=str(path))
    assert not path.exists()
    observing.keep(["second"], path=str(path))
    assert not path.exists()


def test_a_role_keeps_the_launch_that_played_it(verify: Verify, host: Path) -> None:
    path = str(host / "lib/receipt.json")
    observing.keep(["first"], path=path)
    (host / "one.conf").write_text("a = 3\n")
    proof = {"files": [f"{host}/one.conf"]}
    observing.write({"first": ["d1", proof], "third": REBOOTS}, USER, "l2", path=path)
    assert verify({"first": "d1", "third": "d3"}) == {
        "reason": "",
        "differs": {},
        "roles": {"first": "l1", "third": "l2"},
    }
    observing.write({}, USER, "l3", path=path)
    assert verify()["reason"] == "no launch has completed"


def test_the_idle_time_starts_again_if_nothing_differs(verify: Verify, host: Path) -> None:
    restarted, path = host / "restarted", str(host / "lib/receipt.json")
    command = ["touch", str(restarted)]
    verify({**WANTED, "third": "other"}, restart=command)
    assert not restarted.exists()
    verify(restart=command)
    assert restarted.exists()
    restarted.unlink()
    observing.write({"first": ["d1", {}]}, USER, "l1", command, path=path)
    assert restarted.exists()
    assert verify({"first": "d1"}, restart=["/nonexistent/idle-shutdown"])["differs"] == {}


def test_another_python_of_the_host_is_named(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.executable
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.99")
    text = f"the Python of the host is /usr/bin/python3.99, and was {before}"
    assert verify()["differs"] == dict.fromkeys(WANTED, text)
    assert verify({"first": "other"})["differs"] == {"first": "the configuration changed"}
