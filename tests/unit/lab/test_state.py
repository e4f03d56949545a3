"""The settings of labs in their folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flambe_ansible.lab import state


def test_settings_of_a_newer_version_do_not_disturb_other_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "root", lambda: tmp_path)
    old, new = (
        state.Settings(name=name, network="10.213.0.0/24", port=1, image="/i", python37=(("/a", "/b"),))
        for name in ("old", "new")
    )
    for one in (old, new):
        one.folder.mkdir(parents=True)
        state.save(one)
    path = new.folder / "lab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weather": "rain"}))
    assert state.all_labs() == [new, old]
