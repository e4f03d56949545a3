"""The version is the same in all three places."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

from flambe_ansible import __version__

REPO = Path(__file__).resolve().parents[2]


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]
    galaxy = yaml.safe_load((REPO / "galaxy.yml").read_text())["version"]
    assert (project, galaxy) == (__version__, __version__)


def test_the_changelog_describes_this_version() -> None:
    assert f"## {__version__}" in (REPO / "CHANGELOG.md").read_text()
