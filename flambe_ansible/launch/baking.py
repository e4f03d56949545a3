"""Images of prepared hosts: what identifies their content, how a host is prepared, and how it is cleaned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from flambe_ansible.fleet import cleaning, containers
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.player import SITE, Player
from flambe_ansible.fleet.receipts import read_relations, with_content
from flambe_ansible.hosts import Host, Role
from flambe_ansible.jobs.jobs import SUBMIT_PLAYBOOK
from flambe_ansible.jobs.sites import tensorboard_variables
from flambe_ansible.launch import gpus
from flambe_ansible.launch.verifying import make_receipts
from flambe_ansible.pythons import find_uv
from flambe_ansible.runtimes import Runtime, RuntimeVersion
from flambe_ansible.ssh import quote
from flambe_ansible.ssh.parallel import join

# Variables of the installing roles that do not change what is installed.
_IRRELEVANT = ("_timeout", "_uv_src", "_unless_active")
_WITHOUT_LOGINS = {"cluster_containers_logins_src": "", "cluster_containers_logins_sections": []}
_CLEAN = "stop_logging()\nclean()\nos.sync()\n"


def make_recipe(
    runtime: Runtime,
    version: RuntimeVersion,
    *,
    username: str,
    setup_cmds: Sequence[str] | None,
    nvidia_driver: str,
    docker: bool,
) -> str:
    """Return the digest of what hosts get installed; "" if that is nothing.

    It depends on the runtime, its version and packages (wheels by their content), the Python, the package index, the
    user who owns the runtime, the setup commands, and whether Docker and a driver for GPUs are installed.
    """
    prefixes = tuple(f"{role}_" for role in runtime.install_tags)
    installed = {
        name: value
        for name, value in runtime.variables(version).items()
        if name.startswith(prefixes) and not name.endswith(_IRRELEVANT)
    }
    if not (installed or setup_cmds or docker):
        return ""
    document = {
        "runtime": runtime.name,
        "username": username,
        "setup_cmds": list(setup_cmds or []),
        "driver": nvidia_driver == "install",
        "docker": docker,
        "variables": with_content(installed),
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def describe(runtime: Runtime, version: RuntimeVersion, *, setup_cmds: Sequence[str] | None, docker: bool) -> str:
    """Describe what hosts get installed, in words."""
    number = len(setup_cmds or ())
    commands = "1 setup command" if number == 1 else f"{number} setup commands"
    installed = f"{runtime.name} {version.version}" if runtime.install_tags else ""
    return ", ".join(filter(None, (installed, "Docker" if docker else "", commands if number else "")))


def prepare(player: Player, runtime: Runtime) -> None:
    """Run the setup commands, and install drivers, Docker, the runtime and what its jobs show; nothing of a cluster.

    Raises:
        PlaybookError: It failed on a host.
    """
    show = ["tensorboard"]
    tags = ["setup_cmds", gpus.ROLE, containers.TAG, *runtime.install_tags, *(show if runtime.commands else [])]
    player.play(SITE, tags=tags, variables=_WITHOUT_LOGINS)
    if runtime.jobs:
        variables = {**tensorboard_variables("results", expose=False), "tensorboard_uv_src": find_uv()}
        player.play(SUBMIT_PLAYBOOK, tags=show, variables=variables)


def seal(player: Player, runtime: Runtime) -> None:
    """Write receipts of the roles whose results an image keeps: launches do not play them on its hosts."""
    receipts = make_receipts(player, runtime)
    baked = [role for role in receipts.wanted[Role.FACTORY] if read_relations(role).baked]
    names = [host.name for host in player.fleet.hosts]
    # The first one empties the receipt of the base, if that is an image of a cluster's host.
    errors = receipts.keep(dict.fromkeys(names, ())) or receipts.write(dict.fromkeys(names, baked))[1]
    if errors:
        raise join(list(errors.values()))


def clean(fleet: Fleet) -> None:
    """Remove from every host what is its own, its logins included.

    Raises:
        RemoteCommandError: It failed on a host.
    """
    program = f"{Path(cleaning.__file__).read_text()}\n{_CLEAN}"

    def clean_host(host: Host) -> None:
        python = str(fleet.connections.ansible_variables(host)["ansible_python_interpreter"])
        fleet.connections.run(host, quote(["sudo", "-n", python, "-I", "-"]), input=program)

    fleet.on_each(lambda instance: clean_host(instance.data))
