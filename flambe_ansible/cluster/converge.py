"""From a live cluster to its inventory and the playbook's run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambe_ansible import inventory, secrets, versions
from flambe_ansible.cluster.live import LiveCluster
from flambe_ansible.playbooks import HostResult, run_playbook
from flambe_ansible.ssh import Connections


@dataclass(kw_only=True)
class RunOptions:
    """What one launch may be told.

    Attributes:
        rerun_setup: Run the setup commands even where nothing calls for it.
        secrets_file: The user's secrets; None is ``~/.flambe/secrets.ini``, if it is there.
        secrets_sections: Only these sections are sent; None sends all.
    """

    rerun_setup: bool = False
    secrets_file: Path | None = None
    secrets_sections: Sequence[str] | None = None


def role_variables(cluster: LiveCluster, options: RunOptions) -> dict[str, Any]:
    """Return the variables that the roles get from this cluster; the roles' defaults hold for the rest."""
    source = secrets.find(options.secrets_file)
    flambe = cluster.flambe or cluster.find_flambe()
    return {
        "cluster_name": cluster.name,
        "setup_cmds_commands": list(cluster.setup_cmds or []),
        "setup_cmds_timeout": cluster.setup_timeout,
        "setup_cmds_rerun": options.rerun_setup,
        "flambe_version": flambe.version,
        "flambe_wheel_src": str(flambe.wheel or ""),
        "flambe_uv_src": versions.find_uv(),
        "secrets_src": str(source) if source else "",
        "secrets_sections": list(options.secrets_sections or []),
    }


def build_inventory(cluster: LiveCluster, options: RunOptions) -> dict[str, Any]:
    """Return the inventory of what runs now; its connection needs nothing of this process.

    Raises:
        ClusterNotFoundError: Nothing runs.
    """
    hosts = cluster.find_running()
    connection = {
        host.name: Connections.static_variables(
            host,
            username=cluster.username,
            key=Path(cluster.key),
            known_hosts=cluster.known_hosts,
            proxy_jump=cluster.proxy_jump,
        )
        for host in hosts
    }
    return inventory.build(hosts, connection=connection, variables=role_variables(cluster, options))


def play(
    cluster: LiveCluster,
    options: RunOptions,
    *,
    playbook: str = "site.yml",
    variables: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    limit: Sequence[str] = (),
    log: Path | None = None,
) -> dict[str, HostResult]:
    """Run a playbook, or its roles with these tags, on all hosts of the cluster.

    Args:
        cluster: The cluster, connected.
        options: What this launch was told.
        playbook: The playbook.
        variables: Further variables for its roles.
        tags: Names of roles; none means all.
        limit: Names of hosts; none means all.
        log: Where the full log goes; by default a new file in the cluster's state folder.

    Raises:
        PlaybookError: It failed on a host.
    """
    connection = {host.name: cluster.connections.ansible_variables(host) for host in cluster.hosts}
    wanted = {**role_variables(cluster, options), **(variables or {})}
    return run_playbook(
        playbook,
        inventory=inventory.build(cluster.hosts, connection=connection, variables=wanted),
        tags=tags,
        limit=limit,
        observer=cluster.observer,
        log=log or new_log(cluster),
    )


def new_log(cluster: LiveCluster) -> Path:
    """Name the file for the log of a run that begins now."""
    folder = cluster.state_dir / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / time.strftime("playbook-%Y%m%d-%H%M%S.log")
