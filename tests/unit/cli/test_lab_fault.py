"""``lab fault``: its text and JSON output, with a fake lab."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flambe_ansible import lab
from flambe_ansible.errors import LabUsageError
from flambe_ansible.lab import Fault
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_lab import INFO

CUT = Fault(kind="network-cut", id=2, host="demo_factory_*", seconds=30.0)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []

    def add(info: Any, **options: Any) -> Fault:
        made.append({key: value for key, value in options.items() if value is not None})
        if options["kind"] == "unknown":
            raise LabUsageError("'unknown' is not a kind of fault", hint="the kinds: capacity")
        return CUT

    monkeypatch.setattr(lab, "info", lambda _name: INFO)
    monkeypatch.setattr(lab, "add_fault", add)
    monkeypatch.setattr(lab, "list_faults", lambda _info: [CUT])
    monkeypatch.setattr(lab, "clear_faults", lambda _info, number: [] if number == 9 else [CUT])
    return made


def test_add_passes_the_options_on(added: list[Any], run: Run) -> None:
    done = run("lab", "fault", "add", "network-cut", "--host", "demo_factory_*", "--seconds", "30", "--times", "1")
    assert (done.code, done.stdout) == (0, "fault 2: network-cut, host demo_factory_*, seconds 30\n")
    assert added == [{"kind": "network-cut", "host": "demo_factory_*", "seconds": 30.0, "times": 1}]


def test_a_wrong_kind_is_wrong_usage(added: list[Any], run: Run) -> None:
    done = run("lab", "fault", "add", "unknown")
    assert done.code == 2
    assert "error: 'unknown' is not a kind of fault\nnext: the kinds: capacity\n" in done.stderr


def test_list_and_clear(added: list[Any], run: Run) -> None:
    assert json.loads(run("lab", "fault", "list", "--json").stdout) == {"faults": [CUT.to_dict()]}
    assert run("lab", "fault", "clear", "2").stdout.startswith("cleared fault 2: network-cut")
    assert run("lab", "fault", "clear", "9").stdout == "Lab default has no such fault.\n"
