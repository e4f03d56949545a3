"""Shared fixtures: the cluster for experiments, and the source of flambé for tests of a checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambe_ansible.lab import LabInfo
from tests.e2e import images
from tests.e2e.experiments import Cluster
from tests.e2e.ray_clusters import RayCluster

RELEASE = "0.4.18"


@pytest.fixture(scope="session")
def runtime_image(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the id of an image with flambe's runtime; launches in the lab choose it."""
    [image] = images.bake(lab, tmp_path_factory.mktemp("bake"))["images"]
    made: str = image["id"]
    return made


@pytest.fixture(scope="session")
def experiments(lab: LabInfo, runtime_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster of two factories from the image; the first submit creates it."""
    del runtime_image
    made = Cluster(tmp_path_factory.mktemp("submit"), lab)
    yield made
    made.end()


@pytest.fixture(scope="session")
def ray_cluster(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """Return a running cluster of two factories with current Ray, launched once from an image for all tests."""
    made = RayCluster(tmp_path_factory.mktemp("ray"), lab)
    try:
        made.document("bake", "--yes")
        made.first_launch = made.launch()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="session")
def flambe_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Download and unpack the source of the release."""
    folder = tmp_path_factory.mktemp("sdist")
    argv = ["pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", *argv, f"flambe=={RELEASE}"], check=True)
    with tarfile.open(folder / f"flambe-{RELEASE}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / f"flambe-{RELEASE}"
