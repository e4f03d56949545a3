"""Fixtures for all tests: a private state folder, and labs that are removed after the tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flambe_ansible.lab import LabInfo

# A shell starts background processes with SIGINT ignored; the tests of Ctrl-C need the default.
signal.signal(signal.SIGINT, signal.default_int_handler)

# scripts/test sets the prefix and removes all labs that have it. Each worker of pytest-xdist has its own labs.
_LAB_PREFIX = os.environ.get("FLAMBE_ANS_TEST_LAB", f"test-{os.getpid()}")
# The end-to-end tests that share one image with flambé's runtime.
_IMAGE = ("test_bake", "test_launch", "test_ssh_cluster", "test_submit")
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_LAB_WORKERS = {"gw0", "gw1"}  # the others run tests without a lab
_NICE = 5  # of those: labs with real hosts must not become slow


def pytest_configure() -> None:
    """Lower the priority of a worker without labs."""
    if _WORKER and _WORKER not in _LAB_WORKERS:
        os.nice(_NICE)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute the tests by :func:`name_group`. xdist's own groups are lost with pytest 9.2 (its new node ids)."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return name_group(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            if node.gateway.id not in _LAB_WORKERS:
                found = next((scope for scope, tests in self.workqueue.items() if not needs_lab(next(iter(tests)))), "")
                if not found:
                    node.shutdown()
                    return
                self.workqueue.move_to_end(found, last=False)
            super()._assign_work_unit(node)

    return Scheduling(config, log)


def name_group(nodeid: str) -> str:
    """Return the group of a test. All tests of a group run on one worker, in order.

    The tests of roles share one cluster, and so do the modules of ``ray``; those in ``_IMAGE`` share an image. Other
    end-to-end tests and the drills share resources within their module; each unit test is a separate group. The largest
    groups start first.
    """
    path = PurePosixPath(nodeid.split("::")[0])
    if path.parent.name == "roles":
        return "roles"
    if path.parent.name == "e2e":
        if path.stem.startswith(_IMAGE):
            return "image"
        return "ray" if path.stem.startswith("test_ray") else path.stem
    return path.stem if path.parent.name == "drills" else nodeid


def needs_lab(nodeid: str) -> bool:
    """Return whether a test may use a lab with real hosts."""
    return PurePosixPath(nodeid.split("::")[0]).parent.name in ("e2e", "roles")


@pytest.fixture(autouse=True)
def _isolate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty state folder and fake AWS credentials."""
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def lab_name() -> Callable[[str], str]:
    """Return a function that names labs of this run; scripts/test removes the labs with these names."""
    return lambda suffix: "-".join(filter(None, (_LAB_PREFIX, _WORKER, suffix)))


@pytest.fixture(scope="session")
def lab(lab_name: Callable[[str], str]) -> Iterator[LabInfo]:
    """Return the lab that the end-to-end and role tests of one worker share."""
    from flambe_ansible import lab as labs

    name = lab_name("shared")
    yield labs.up(name)
    labs.down(name)
