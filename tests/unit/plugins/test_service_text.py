"""The text of units: the words of a command are passed unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import service_text

SPEC: dict[str, Any] = {
    "description": "TensorBoard at 100%",
    "command": ["/opt/tb/venv/bin/python", "-m", "tensorboard.main", "--logdir", '/home/ml/a $HOME %h "b" c\\d'],
    "stop_post": [],
    "environment": {"WHO": 'a "b" $c %d'},
    "directory": "",
    "type": "exec",
    "options": {"Restart": "no"},
    "enabled": True,
}


def text(**changes: Any) -> str:
    written: str = service_text.unit_text(
        "us", {**SPEC, **changes}, "ml", "/home/100% ml", {"runtime": "abc", "no": ""}
    )
    return written


def test_the_unit() -> None:
    lines = text().splitlines()
    assert lines[:3] == ["# Written by us; edits are lost.", "# runtime: abc", "[Unit]"]
    assert "Description=TensorBoard at 100%%" in lines
    assert "WorkingDirectory=/home/100%% ml" in lines
    assert 'Environment="WHO=a \\"b\\" $c %%d"' in lines
    assert lines[-3:] == ["", "[Install]", "WantedBy=multi-user.target"]


def test_words_are_quoted_for_systemd() -> None:
    [line] = [line for line in text().splitlines() if line.startswith("ExecStart=")]
    assert line == (
        'ExecStart=/opt/tb/venv/bin/python -m tensorboard.main --logdir "/home/ml/a $$HOME %%h \\"b\\" c\\\\d"'
    )


def test_a_runtime_does_not_inherit_another_python() -> None:
    lines = text().splitlines()
    assert lines.index("UnsetEnvironment=PYTHONHOME PYTHONPATH") > lines.index("EnvironmentFile=-/etc/environment")
    assert "UnsetEnvironment=PYTHONHOME" in text(environment={"PYTHONPATH": "/srv/lib"}).splitlines()


def test_a_disabled_unit_with_a_cleanup() -> None:
    lines = text(enabled=False, stop_post=["/bin/true", "$x"], directory="/srv").splitlines()
    assert "[Install]" not in lines
    assert "ExecStopPost=/bin/true $$x" in lines
    assert "WorkingDirectory=/srv" in lines


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ["/bin/echo", "a\nExecStart=/bin/evil"]},
        {"description": "a\nb"},
        {"directory": "/srv\n"},
        {"environment": {"A": "b\nc"}},
        {"options": {"Restart": "no\nUser=root"}},
        {"stop_post": ["\x1b"]},
    ],
)
def test_newlines_in_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="control character"):
        text(**changes)
