"""Mutated files get a message, not a traceback; no call is made for them, and each takes less than two seconds."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.cluster.loading import load_cluster
from flambe_ansible.ec2 import session
from flambe_ansible.errors import FlambeAnsibleError
from flambe_ansible.jobs.submission import make_runnable
from flambe_ansible.runnable import read
from tests.drills.mutator import list_sources, mutate

SOURCES = list_sources()
BATCH = 250
SECONDS = 2.0


def read_file(kind: str, path: Path) -> str:
    """Read a file as the commands do; return the class of the error, or "valid"."""
    try:
        if kind == "cluster":
            load_cluster(path).close()
        else:
            make_runnable(read(str(path)))
    except FlambeAnsibleError as error:
        assert error.message.strip(), "the message is empty"
        assert error.exit_code in (3, 10), f"exit code {error.exit_code}"
        return type(error).__name__
    return "valid"


@pytest.mark.parametrize("batch", [0, *(pytest.param(one, marks=pytest.mark.long) for one in range(1, 40))])
def test_mutated_files(batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any) -> None:
    """The seeds of a batch are its number times 250, and the next 249."""
    calls: list[str] = []
    monkeypatch.setattr(session, "make_client", lambda *args, **_: calls.append(str(args)))
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "none")  # extensions are not fetched
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    outcomes: Counter[str] = Counter()
    problems, longest = [], 0.0
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        kind, content = mutate(seed, SOURCES)
        path = tmp_path / "file.yaml"
        path.write_bytes(content)
        started = time.process_time()
        try:
            outcomes[read_file(kind, path)] += 1
        except BaseException:
            problems.append(f"seed {seed} ({kind}): {traceback.format_exc(limit=-4)}")
        taken = time.process_time() - started
        longest = max(longest, taken)
        if taken > SECONDS:
            problems.append(f"seed {seed} ({kind}): {taken:.1f} s")
    record_property("outcomes", dict(outcomes))
    record_property("longest", longest)
    assert not problems, "\n".join(problems[:8])
    assert not calls
    assert len(outcomes) > 1, outcomes
