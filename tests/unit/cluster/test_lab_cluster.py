"""Clusters in a lab."""

from __future__ import annotations

from unittest.mock import create_autospec

import pytest

from flambe_ansible.cluster.lab import LabCluster
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import routes


def test_a_jump_host_in_the_users_configuration_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "proxyjump me@bastion.example\n"
    monkeypatch.setattr(routes, "read_config", create_autospec(routes.read_config, return_value=answer))
    host = Host(name="demo_orchestrator", role=Role.ORCHESTRATOR, address="10.213.0.4")
    assert LabCluster("demo").connections._target(host).proxy_command is None
