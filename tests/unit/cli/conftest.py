"""Fixtures that run commands with a fake cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from flambe_ansible import cli
from tests.unit.cli.made_up import FakeCluster


@dataclass
class Outcome:
    """The exit code and output of a command."""

    code: int
    stdout: str
    stderr: str


Run = Callable[..., Outcome]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """Return the fake cluster that every configuration file loads."""
    fake = FakeCluster()
    monkeypatch.setattr("flambe_ansible.cluster.loading.load_cluster", lambda _file: fake)
    yield fake
    assert "close" in fake.calls


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command without a terminal."""

    def call(*arguments: str) -> Outcome:
        code = cli.run(arguments)
        streams = capsys.readouterr()
        ended = [line for text in streams for line in text.splitlines() if line.endswith(" ")]
        assert not ended, f"lines end with blanks: {ended}"
        return Outcome(code, streams.out, streams.err)

    return call
