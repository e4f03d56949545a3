"""Hosts without any configuration for the roles, booted once for all tests of this folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flambe_ansible.paths import collection
from flambe_ansible.pythons import find_uv
from tests.roles.lab_hosts import Fleet, Run, Site

if TYPE_CHECKING:
    from flambe_ansible.lab import LabInfo

SITE = collection() / "playbooks/site.yml"
SECRET = "s3cret-{{ not_a_template }}-%(neither)s"


@pytest.fixture(scope="session")
def fleet(lab: LabInfo) -> Iterator[Fleet]:
    """Launch five hosts: three for the cluster, two for playbooks of other users."""
    fleet = Fleet(lab)
    try:
        fleet.launch(5)
        yield fleet
    finally:
        fleet.terminate(fleet.hosts)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Make a folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="fr-") as path:
        yield Path(path)


@pytest.fixture(scope="session")
def cluster(fleet: Fleet, folder: Path) -> Site:
    """Return an inventory with three hosts in the groups of site.yml."""
    (folder / "cluster").mkdir()
    head, one, two = fleet.hosts[:3]
    groups = {"orchestrator": [("head", head)], "factories": [("one", one), ("two", two)]}
    return Site(folder / "cluster", fleet.info.key, groups)


@pytest.fixture(scope="session")
def site_variables(cluster: Site) -> dict[str, Any]:
    """Return the variables of site.yml for the cluster."""
    secrets = cluster.folder / "secrets.ini"
    secrets.write_text(f"[GIT]\ntoken = {SECRET}\n[OTHER]\nkey = stays-here\n")
    return {
        "flambe_uv_src": str(find_uv()),
        "cluster_secrets_src": str(secrets),
        "cluster_secrets_sections": ["GIT"],
        "setup_cmds_commands": ['echo "$USER $HOME" >> ~/setup.log', "cat > ~/stdin"],
        "cluster_factories_idle_seconds": 86_400,
    }


@pytest.fixture(scope="session")
def first_run(cluster: Site, site_variables: dict[str, Any]) -> Run:
    """Play site.yml on the new hosts of the cluster, once for all tests."""
    return cluster.play(SITE, "-vv", "--diff", **site_variables).assert_ok()


@pytest.fixture(scope="session")
def strangers(fleet: Fleet, folder: Path) -> Site:
    """Return two hosts in a group with another name, with a user ``ml`` without sudo."""
    (folder / "strangers").mkdir()
    a, b = fleet.hosts[3:]
    site = Site(folder / "strangers", fleet.info.key, {"gpu_boxes": [("box-a", a), ("box-b", b)]})
    for name in ("box-a", "box-b"):
        site.ssh(name, "sudo useradd --create-home --shell /bin/bash --password '*' ml")
    return site


@pytest.fixture(scope="session")
def wheel(cluster: Site) -> Path:
    """Return the wheel of the release, as a local file with the same version."""
    argv = ["pip", "download", "--quiet", "--no-deps", "--dest", str(cluster.folder), "flambe==0.4.18"]
    subprocess.run([sys.executable, "-m", *argv], check=True)
    return cluster.folder / "flambe-0.4.18-py3-none-any.whl"
