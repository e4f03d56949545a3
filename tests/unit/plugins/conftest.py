"""Make the collection importable, as Ansible does, and keep its modules from writing to /run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flambe_ansible.paths import collections_root

sys.path.insert(0, str(collections_root()))


@pytest.fixture(autouse=True)
def progress_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file into which modules write their progress."""
    from ansible_collections.flambe.cluster.plugins.module_utils import progress

    path = tmp_path_factory.mktemp("run") / "flambe-ans" / "progress.json"
    monkeypatch.setattr(progress, "PATH", str(path))
    return path
