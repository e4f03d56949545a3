"""The names that ``from flambe_ansible import ...`` provides."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flambe_ansible
from flambe_ansible.fleet.instance import Instance
from flambe_ansible.runnable import ClusterRunnable, RemoteEnvironment, Runnable


def test_every_name_is_exported() -> None:
    assert all(getattr(flambe_ansible, name) for name in flambe_ansible.__all__)
    found = (
        flambe_ansible.ClusterRunnable,
        flambe_ansible.Runnable,
        flambe_ansible.RemoteEnvironment,
        flambe_ansible.Instance,
    )
    assert found == (ClusterRunnable, Runnable, RemoteEnvironment, Instance)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="'flambe_ansible' has no attribute 'Clutser'"):
        _ = flambe_ansible.Clutser


def test_importing_a_runnable_imports_neither_boto3_nor_ansible() -> None:
    code = (
        "import sys; from flambe_ansible import ClusterRunnable, Runnable, RemoteEnvironment;"
        "sys.exit(' '.join({'boto3', 'ansible_runner', 'ansible'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
