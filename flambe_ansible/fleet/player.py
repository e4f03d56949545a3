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
from flambe_ansible.gpus import add_variables
from flambe_ansible.hosts import Host
from flambe_ansible.playbooks import HostResult, run_playbook

SITE = "site.yml"
# The variables were checked as fields of the cluster's file; the check by the roles is a task for each role and host.
_UNCHECKED = {"site_validate": False}


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
        skip: Mapping[str, Sequence[str]] | None = None,
        check: bool = False,
        log: Path | None = None,
        absent: Sequence[Host] = (),
        required: Sequence[str] | None = None,
    ) -> dict[str, HostResult]:
        """Run a playbook on the hosts.

        Args:
            playbook: Its name.
            variables: More role variables.
            tags: Run only these parts of it.
            limit: Run it only on these hosts; empty is all.
            skip: The hosts on which it does not play a role: role -> names.
            check: Only find out what it would change.
            log: The file for its log.
            absent: Members of the cluster that do not answer: they are in the inventory, and nothing runs on them.
            required: The hosts whose failure is an error, by name; None is all.

        Raises:
            PlaybookError: It failed on a required host.
        """
        hosts = self.fleet.hosts
        if absent and not limit:
            limit = [host.name for host in hosts]
        connection = {host.name: self.fleet.connections.ansible_variables(host) for host in hosts}
        wanted = {**self.variables(), **(variables or {})}
        with ActivityObserver(self.fleet.connections, hosts, self.fleet.observer) as observer:
            return run_playbook(
                playbook,
                inventory=inventory.build(
                    [*hosts, *absent], connection=add_variables(connection, self.fleet.gpus), variables=wanted
                ),
                tags=tags,
                limit=limit,
                extra_vars={**_UNCHECKED, **({"site_skip": skip} if skip else {})},
                check=check,
                observer=observer,
                log=log or self.new_log(),
                required=required,
            )

    def new_log(self) -> Path:
        """Return the path for the log of a playbook that starts now."""
        self.logs.mkdir(mode=0o700, exist_ok=True)
        return self.logs / time.strftime("playbook-%Y%m%d-%H%M%S.log")
