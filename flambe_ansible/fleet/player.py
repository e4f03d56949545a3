"""Playbooks on a fleet: the inventory of its hosts, the run, and its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambe_ansible import inventory
from flambe_ansible.fleet.activity import ActivityObserver
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.playbooks import HostResult, run_playbook

SITE = "site.yml"


@dataclass(frozen=True, kw_only=True)
class Player:
    """Runs the collection's playbooks on a fleet.

    Attributes:
        fleet: The hosts, connected.
        variables: Returns the role variables of every playbook; called when one is played.
        logs: The folder for logs; it is created (0700).
    """

    fleet: Fleet
    variables: Callable[[], Mapping[str, Any]]
    logs: Path

    def play(
        self,
        playbook: str = SITE,
        *,
        variables: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        limit: Sequence[str] = (),
        check: bool = False,
        log: Path | None = None,
    ) -> dict[str, HostResult]:
        """Run a playbook on the hosts, or with ``check`` only find out what it would change."""
        hosts = self.fleet.hosts
        connection = {host.name: self.fleet.connections.ansible_variables(host) for host in hosts}
        wanted = {**self.variables(), **(variables or {})}
        with ActivityObserver(self.fleet.connections, hosts, self.fleet.observer) as observer:
            return run_playbook(
                playbook,
                inventory=inventory.build(hosts, connection=connection, variables=wanted),
                tags=tags,
                limit=limit,
                check=check,
                observer=observer,
                log=log or self.new_log(),
            )

    def new_log(self) -> Path:
        """Return the path for the log of a playbook that starts now."""
        self.logs.mkdir(mode=0o700, exist_ok=True)
        return self.logs / time.strftime("playbook-%Y%m%d-%H%M%S.log")
