"""``flambe-ans ssh-config``: the hosts of a cluster for plain ssh."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster


@options.command(
    "flambe-ans ssh-config cluster.yaml > hosts; ssh -F hosts demo_orchestrator",
    "flambe-ans ssh-config cluster.yaml --install",
    "ssh demo_factory_0 nvidia-smi",
    "rsync -a data/ demo_orchestrator:data/",
    "flambe-ans ssh-config cluster.yaml --remove",
    name="ssh-config",
)
@options.cluster_argument
@click.option("--install", "action", flag_value="install", help="Make the hosts known to ssh, by an Include line.")
@click.option("--remove", "action", flag_value="remove", help="Remove what --install added for this cluster.")
@options.yes_option
@click.pass_obj
def ssh_config(output: Output, file: str, action: str | None, yes: bool) -> None:
    """Print the running hosts as entries for ssh, with their addresses, key and verified host keys.

    With --install, `ssh`, `rsync`, `scp` and editors find the hosts by their names, such as demo_factory_0: the entries
    are written to a file in the state folder, and one Include line is added at the top of ~/.ssh/config. `launch`
    updates the file, and `down` removes it.
    """
    with options.open_cluster(output, file) as cluster:
        if action == "remove":
            _remove(output, cluster)
        elif action == "install":
            _install(output, cluster, yes=yes)
        else:
            click.echo(cluster.ssh_config(), nl=False)


def _install(output: Output, cluster: Cluster, *, yes: bool) -> None:
    from flambe_ansible.cli.launching import require_yes
    from flambe_ansible.ssh import host_entries

    text, config = cluster.ssh_config(), find_config()
    if not host_entries.is_included(config) and not yes:
        output.say("This line makes the hosts of your clusters known to ssh:")
        output.say_command(f"  {host_entries.include_line()}")
        require_yes(output, f"Add it at the top of {config}?", "nothing was changed")
    path = host_entries.install(cluster.state_dir, text)
    host_entries.include(config)
    output.say(f"{cluster.name}: wrote {path}, which {config} includes.")
    output.say_command(f"next: ssh {cluster.get_orchestrator_name()}")


def _remove(output: Output, cluster: Cluster) -> None:
    from flambe_ansible.ssh import host_entries

    removed = host_entries.remove(cluster.state_dir)
    excluded = not host_entries.are_installed() and host_entries.exclude(find_config())
    output.say(f"{cluster.name}: {'removed its entries' if removed else 'it had no entries'}.")
    if excluded:
        output.say(f"Removed the Include line from {find_config()}; no cluster has entries now.")


def find_config() -> Path:
    """Return the user's own configuration of ssh, which ssh finds without $HOME."""
    return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh" / "config"
