"""Make the modules of flambe-run importable, as on a host."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.paths import collection

sys.path.insert(0, str(collection() / "roles/cluster_runner/files/flambe_run"))

HOSTS = {
    "user": "ml",
    "head": {"name": "head", "address": "10.0.0.1", "port": 22},
    "workers": [
        {"name": "one", "address": "10.0.0.2", "port": 22},
        {"name": "two", "address": "10.0.0.3", "port": 22},
    ],
}


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes settings with a folder of this test."""
    from settings import Settings

    def make(**changes: Any) -> Any:
        folder = tmp_path / "state"
        folder.mkdir(mode=0o700, exist_ok=True)
        values = {
            "folder": str(folder),
            "unit": "run.service",
            "ray_unit": "ray.service",
            "ray_nodes": str(tmp_path / "ray-nodes"),
            "key": "~/key",
            "watch_interval": 0.05,
            "lost_timeout": 900,
            "stop_grace": 0.5,
        }
        return Settings({**values, **changes})

    return make


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """Return the description of a job whose command does nothing."""
    return {
        "name": "topics",
        "command": ["/bin/true"],
        "directory": str(tmp_path),
        "log": "output.log",
        "save_path": "",
        "hosts": HOSTS,
        "environment": {},
    }
