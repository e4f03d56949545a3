"""The folders of the state are private, and independent of the current folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flambe_ansible import paths


def test_the_state_folder_is_private_with_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = paths.cluster_state("demo")
    finally:
        os.umask(before)
    assert [one.stat().st_mode & 0o777 for one in (tmp_path / "state", folder)] == [0o700, 0o700]


def test_a_relative_state_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAMBE_ANS_STATE", "here")
    assert paths.state_root() == tmp_path / "here"
