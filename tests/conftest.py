"""What all tests share: a place of their own for state, and labs of their own that never outlive them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flambe_ansible.lab import LabInfo

# Whoever runs the tests in the background of a shell has Ctrl-C ignored; the tests of Ctrl-C have it back.
signal.signal(signal.SIGINT, signal.default_int_handler)

# scripts/test sets this, so that it can remove the labs of a run that was killed.
LAB_PREFIX = os.environ.get("FLAMBE_ANS_TEST_LAB", f"test-{os.getpid()}")


@pytest.fixture(autouse=True)
def _isolate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own state folder, and no way to an account of AWS."""
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
    """Name labs of this test run; what carries these names is removed when the run ends."""
    return lambda suffix: f"{LAB_PREFIX}-{suffix}"


@pytest.fixture(scope="session")
def lab(lab_name: Callable[[str], str]) -> Iterator[LabInfo]:
    """The lab that the end-to-end and role tests share."""
    from flambe_ansible import lab as labs

    name = lab_name("shared")
    yield labs.up(name)
    labs.down(name)
