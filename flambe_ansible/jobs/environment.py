"""The description of a cluster that a runnable gets."""

from __future__ import annotations

from collections.abc import Callable

from flambe_ansible.fleet.copying import KEY_FILE
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.runnable.environment import RemoteEnvironment


def describe(fleet: Fleet, user_provider: Callable[[], str]) -> RemoteEnvironment:
    """Describe the cluster for a runnable on the orchestrator, with the addresses that hosts use among themselves.

    Args:
        fleet: The hosts.
        user_provider: Returns the name of the submitting user.
    """
    return RemoteEnvironment(
        key=f"{fleet.home}/{KEY_FILE}",
        orchestrator_ip=fleet.orchestrator.private_host,
        factories_ips=[one.private_host for one in fleet.factories],
        user=fleet.username,
        local_user=user_provider(),
        public_orchestrator_ip=fleet.orchestrator.host,
        public_factories_ips=[one.host for one in fleet.factories],
    )
