"""Connections that start before the command line is parsed."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

import flambe_ansible
from flambe_ansible import cli
from flambe_ansible.cli import starting
from flambe_ansible.fleet import early
from tests.unit.cli.made_up import FakeCluster


class Connections:
    """Connections that note whether they were closed."""

    closed = 0

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Return the connections that a command with known.yaml starts."""
    found = Connections()
    monkeypatch.setattr(early, "connect", lambda file, **_options: found if file == "known.yaml" else None)
    return found


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        (["status", "known.yaml"], True),
        (["--debug", "launch", "known.yaml", "--yes"], True),
        (["launch", "--on-failure", "keep", "known.yaml"], True),
        (["exec", "known.yaml", "--", "true"], True),
        (["exec", "other.yaml", "--", "status", "known.yaml"], False),
        (["status", "other.yaml"], False),
        (["down", "known.yaml"], False),
        (["launch", "known.yaml", "--dry-run"], False),
        (["status", "known.yaml", "--help"], False),
        (["known.yaml"], False),
        ([], False),
    ],
)
def test_a_command_starts_the_connections_of_its_file(made: Connections, words: Sequence[str], starts: bool) -> None:
    with starting.connect(words) as started:
        assert started.take("known.yaml") is (made if starts else None)
        assert started.take("known.yaml") is None  # once
    assert made.closed == 0  # the command closes what it took


@pytest.mark.parametrize(
    ("words", "head_only"),
    [
        (["status", "known.yaml"], False),
        (["logs", "known.yaml", "--follow"], True),
        (["submit", "train.yaml", "--cluster", "known.yaml"], False),
        (["submit", "train.yaml", "--cluster=known.yaml"], False),
        (["submit", "--cluster", "known.yaml", "--", "python", "train.py"], True),
    ],
)
def test_jobs_need_the_orchestrator_alone(
    monkeypatch: pytest.MonkeyPatch, words: Sequence[str], head_only: bool
) -> None:
    asked = {}
    monkeypatch.setattr(early, "connect", lambda file, *, head_only: asked.update({file: head_only}))
    with starting.connect(words) as started:
        assert started.head_only is head_only
    assert asked["known.yaml"] is head_only


def test_what_is_not_used_is_closed(made: Connections) -> None:
    with starting.connect(["status", "known.yaml"]) as started:
        assert started.take("other.yaml") is None
    assert made.closed == 1


@pytest.mark.parametrize("words", [["status", "known.yaml", "--no-such-option"], ["launch", "known.yaml", "more"]])
def test_a_wrong_command_line_closes_them(
    made: Connections, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words) == 2
    assert made.closed == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_uses_them(made: Connections, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    monkeypatch.setattr(cluster, "attach_early", lambda started, **_options: found.append(started))
    assert cli.run(["status", "known.yaml"]) == 0
    assert found == [made]
    assert made.closed == 1  # with the command


def test_all_commands_that_connect_are_known() -> None:
    """A command that passes ``connect`` to ``open_cluster`` is in the list, and no other one."""
    found = set()
    for path in (Path(flambe_ansible.__file__).parent / "cli/commands").glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        named = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "open_cluster"]
        found |= {path.stem for call in named if any(one.arg == "connect" for one in call.keywords)}
    assert found == starting.COMMANDS.keys()


@pytest.mark.parametrize("word", ["a" * 5000, "a/" * 3000, "~nobody-here/c.yaml", "known\udcff.yaml"])
def test_a_strange_name_of_a_file_gets_one_line(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", word]) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error and "unexpected" not in error


def test_ctrl_c_at_the_start_is_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(early, "connect", interrupt)
    assert cli.run(["status", "known.yaml"]) == 130
