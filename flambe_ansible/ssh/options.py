"""OpenSSH's options as argument lists: pure functions, nothing is started here.

Every list begins with ``-F none``. Of the user's own configuration, only the route to a host (ProxyJump, ProxyCommand)
is used, see :func:`flambe_ansible.ssh.routes.find_proxy`; its ``IdentityFile``, ``SendEnv``, ``LocalForward`` and
``RemoteCommand`` do not apply to the cluster's connections. The options are those of ``ssh_config(5)``.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PYTHON = "/usr/bin/python3"
READY = "flambe-connection-ready"
# The master depends on its standard input: when this process ends, for any reason, the pipe closes and cat ends.
HOLD_COMMAND = f"echo {READY}; exec cat >/dev/null"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The settings of one connection."""

    alias: str  # the name of the host's key in known_hosts
    address: str
    port: int
    username: str
    key: Path  # no other key is offered
    known_hosts: Path  # the cluster's own
    accept_new: bool = False  # accept and keep the host's key if none is known
    proxy_command: str | None = None  # None: a direct connection
    connect_timeout: int = 10  # seconds for one attempt
    extra: Mapping[str, str] = field(default_factory=dict)  # further options; they override those of this module

    @property
    def key_file(self) -> str:
        """The key's path as an option of ssh."""
        return escape_percent(str(self.key))


def quote(argv: Sequence[str]) -> str:
    """Join an argument list to a command line that a shell splits into the same arguments."""
    return shlex.join(argv)


def connection_options(target: Target) -> list[str]:
    """List the options of a new connection, each as ``-o Name=value``, without user, port and key."""
    defaults = {
        "BatchMode": "yes",
        "PreferredAuthentications": "publickey",
        "PubkeyAuthentication": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "accept-new" if target.accept_new else "yes",
        "UserKnownHostsFile": quote_value(target.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": target.alias,
        "CheckHostIP": "no",
        "UpdateHostKeys": "no",
        "ConnectTimeout": str(target.connect_timeout),
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "ForwardAgent": "no",
        "ForwardX11": "no",
    }
    given = {name.lower() for name in target.extra}
    options = {**target.extra, **{name: value for name, value in defaults.items() if name.lower() not in given}}
    if target.proxy_command:
        options["ProxyCommand"] = target.proxy_command
    return ["-F", "none", *_as_arguments(options)]


def master_argv(target: Target, socket: Path) -> list[str]:
    """Build the command that opens a host's connection and keeps it while its standard input stays open."""
    ssh = _direct(target, LogLevel="DEBUG1", ControlMaster="yes", ControlPath=str(socket), ControlPersist="no")
    return [*ssh, "-T", "--", target.address, HOLD_COMMAND]


def client_options(socket: Path) -> list[str]:
    """List the options of a command over an open connection; without one the command fails."""
    options = {
        "BatchMode": "yes",
        "ControlMaster": "no",
        "ControlPath": str(socket),
        "ProxyCommand": "false",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": "/dev/null",
        "GlobalKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
    }
    return ["-F", "none", *_as_arguments(options)]


def client_argv(target: Target, socket: Path, command: str) -> list[str]:
    """Build the command that runs one command over an open connection."""
    return ["ssh", *client_options(socket), "-T", "--", target.alias, command]


def control_argv(socket: Path, verb: str, *arguments: str) -> list[str]:
    """Build the command that controls an open connection: ``check``, ``exit``, ``forward``, ``cancel``."""
    return ["ssh", *client_options(socket), "-O", verb, *arguments, "--", "flambe"]


def interactive_argv(target: Target, *, tty: bool) -> list[str]:
    """Build the command for interactive use; it opens a new connection with the same checks."""
    return [*_direct(target, ControlPath="none"), *(["-t"] if tty else []), "--", target.address]


def ansible_variables(target: Target, *, socket: Path | None = None, python: str = PYTHON) -> dict[str, Any]:
    """Build the variables with which Ansible connects, with the same checks; ``socket`` is a connection to share."""
    shared = ["-o", f"ControlPath={socket}"] if socket else []
    return {
        "ansible_connection": "ssh",
        "ansible_host": target.address,
        "ansible_port": target.port,
        "ansible_user": target.username,
        "ansible_ssh_private_key_file": target.key_file,
        "ansible_ssh_common_args": shlex.join([*connection_options(target), *shared]),
        "ansible_host_key_checking": True,
        "ansible_python_interpreter": python,
    }


def quote_value(path: Path) -> str:
    """Quote a path as one of several values of an option, with its percent signs escaped."""
    text = escape_percent(str(path))
    if not set(text) & set(" \t#'\"\\"):
        return text
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def escape_percent(text: str) -> str:
    """Escape the percent signs, which ssh would expand."""
    return text.replace("%", "%%")


def rsync_shell(argv: Sequence[str]) -> str:
    """Join an argument list for ``rsync -e``, which supports quotes (doubled to escape them) but no backslash."""
    return " ".join(
        "'" + argument.replace("'", "''") + "'" if not argument or set(argument) & set(" \t'\"") else argument
        for argument in argv
    )


def _direct(target: Target, **options: str) -> list[str]:
    login = ["-i", target.key_file, "-l", target.username, "-p", str(target.port)]
    return ["ssh", *connection_options(target), *_as_arguments(options), *login]


def _as_arguments(options: Mapping[str, str]) -> list[str]:
    return [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]
