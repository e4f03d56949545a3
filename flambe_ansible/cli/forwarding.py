"""Tunnels to ports on the orchestrator, such as those of containers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster

port_option = click.option(
    "--port",
    "ports",
    type=options.WholeNumber(1, 65535),
    metavar="PORT",
    multiple=True,
    help="Open a tunnel to this port of the orchestrator's loopback only, such as that of a container. Repeatable.",
)


def forward(output: Output, cluster: Cluster, ports: Sequence[int], *, command: Sequence[str] = (), url: str) -> int:
    """Open tunnels to ports, and keep them until Ctrl-C or for a command; return the exit code.

    The command gets the local ports as ``FLAMBE_ANS_PORT_<port>``; ``url`` is how an address is shown.
    """
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.jobs.tunnels import Tunnels, warn_of_closed

    cluster.attach_orchestrator()
    warn_of_closed(cluster.fleet, ports)
    with interruptible(), Tunnels(cluster.fleet, {}, others=dict.fromkeys(ports)) as tunnels:
        if command:
            variables = {f"FLAMBE_ANS_PORT_{remote}": str(local) for remote, local in tunnels.ports.items()}
            return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
        _show(output, tunnels.ports, url=url, name=cluster.fleet.head.name)
        tunnels.keep()
    return 0


def _show(output: Output, ports: Mapping[int, int], *, url: str, name: str) -> None:
    """Print the addresses, or one document."""
    if output.json:
        output.write_document({"ports": {str(remote): local for remote, local in ports.items()}})
        return
    for remote, local in ports.items():
        output.say_command(f"{url.format(local)}  # port {remote} of {name}")
    output.say("Press Ctrl-C to close the tunnel.", style="dim")
