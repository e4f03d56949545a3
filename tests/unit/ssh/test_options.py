"""Argument lists are exact: they control what a connection may do."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.ssh import options

STRICT = [
    "-F none",
    "-o BatchMode=yes",
    "-o PreferredAuthentications=publickey",
    "-o PubkeyAuthentication=yes",
    "-o PasswordAuthentication=no",
    "-o KbdInteractiveAuthentication=no",
    "-o IdentitiesOnly=yes",
    "-o StrictHostKeyChecking=yes",
    "-o UserKnownHostsFile=/state/known_hosts",
    "-o GlobalKnownHostsFile=/dev/null",
    "-o HostKeyAlias=i-1",
    "-o CheckHostIP=no",
    "-o UpdateHostKeys=no",
    "-o ConnectTimeout=10",
    "-o ServerAliveInterval=15",
    "-o ServerAliveCountMax=4",
    "-o ForwardAgent=no",
    "-o ForwardX11=no",
]
SOCKET = Path("/tmp/flambe-x/abc")
OVER_SOCKET = [
    *("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ControlMaster=no"),
    *("-o", "ControlPath=/tmp/flambe-x/abc", "-o", "ProxyCommand=false", "-o", "StrictHostKeyChecking=yes"),
    *("-o", "UserKnownHostsFile=/dev/null", "-o", "GlobalKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
]


def target(**changes: Any) -> options.Target:
    values: dict[str, Any] = {
        "alias": "i-1",
        "address": "10.0.0.1",
        "port": 22,
        "username": "ubuntu",
        "key": Path("/keys/id"),
        "known_hosts": Path("/state/known_hosts"),
    }
    return options.Target(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "replaced", "added"),
    [
        ({}, {}, []),
        ({"accept_new": True}, {"-o StrictHostKeyChecking=yes": "-o StrictHostKeyChecking=accept-new"}, []),
        ({"connect_timeout": 3}, {"-o ConnectTimeout=10": "-o ConnectTimeout=3"}, []),
        ({"proxy_command": "nc %h %p"}, {}, ["-o ProxyCommand=nc %h %p"]),
        (
            {"known_hosts": Path("/a b/100%")},
            {"-o UserKnownHostsFile=/state/known_hosts": '-o UserKnownHostsFile="/a b/100%%"'},
            [],
        ),
    ],
)
def test_connection_options(changes: dict[str, Any], replaced: dict[str, str], added: list[str]) -> None:
    got = options.connection_options(target(**changes))
    pairs = [" ".join(pair) for pair in zip(got[::2], got[1::2], strict=True)]
    assert pairs == [replaced.get(option, option) for option in STRICT] + added


@pytest.mark.parametrize("name", ["plain", "a b", "it's", 'a "b"', '"', "back\\slash", 'x\\"y', "50% #1", "ü", "end\\"])
def test_ssh_reads_any_path_as_one_value(name: str) -> None:
    path = Path("/state", name)
    argv = ["ssh", *options.connection_options(target(known_hosts=path)), "-G", "host"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert f"userknownhostsfile {path}" in done.stdout.splitlines()


def test_extra_options_take_precedence_regardless_of_case() -> None:
    got = options.connection_options(target(extra={"serveraliveinterval": "5", "Compression": "yes"}))
    assert got[2:6] == ["-o", "serveraliveinterval=5", "-o", "Compression=yes"]
    assert "ServerAliveInterval=15" not in got


def test_master_is_checked_and_ends_with_its_owner() -> None:
    argv = options.master_argv(target(port=2222, key=Path("/keys/50% id")), SOCKET)
    tail = argv[1 + len(options.connection_options(target())) :]
    assert argv[0] == "ssh"
    assert tail == [
        *("-o", "LogLevel=DEBUG1", "-o", "ControlMaster=yes", "-o", f"ControlPath={SOCKET}", "-o", "ControlPersist=no"),
        *("-i", "/keys/50%% id", "-l", "ubuntu", "-p", "2222", "-T", "--", "10.0.0.1"),
        "echo flambe-connection-ready; exec cat >/dev/null",
    ]


def test_commands_use_the_open_connection() -> None:
    argv = options.client_argv(target(), SOCKET, "uptime")
    assert argv == [*OVER_SOCKET, "-T", "--", "i-1", "uptime"]
    assert options.control_argv(SOCKET, "forward", "-L", "1:h:2") == [
        *OVER_SOCKET,
        *("-O", "forward", "-L", "1:h:2", "--", "flambe"),
    ]


@pytest.mark.parametrize("tty", [False, True])
def test_an_interactive_session_has_a_separate_connection(tty: bool) -> None:
    argv = options.interactive_argv(target(), tty=tty)
    assert "StrictHostKeyChecking=yes" in argv
    assert "ControlPath=none" in argv
    assert argv[-2:] == ["--", "10.0.0.1"]
    assert ("-t" in argv) is tty


def test_ansible_uses_the_same_options() -> None:
    variables = options.ansible_variables(target(), socket=SOCKET, python="/usr/bin/python3.11")
    common = shlex.split(variables.pop("ansible_ssh_common_args"))
    assert common == [*options.connection_options(target()), "-o", f"ControlPath={SOCKET}"]
    assert variables == {
        "ansible_connection": "ssh",
        "ansible_host": "10.0.0.1",
        "ansible_port": 22,
        "ansible_user": "ubuntu",
        "ansible_ssh_private_key_file": "/keys/id",
        "ansible_host_key_checking": True,
        "ansible_python_interpreter": "/usr/bin/python3.11",
    }


@pytest.mark.parametrize(
    ("argument", "quoted"),
    [("plain", "plain"), ("a b", "'a b'"), ("it's", "'it''s'"), ('say "x"', "'say \"x\"'"), ("", "''")],
)
def test_rsync_shell_is_quoted_for_rsync(argument: str, quoted: str) -> None:
    assert options.rsync_shell(["ssh", argument]) == f"ssh {quoted}"


def test_quote_round_trips_through_a_shell() -> None:
    words = ["echo", "$(touch /tmp/x)", "a'b", ""]
    assert shlex.split(options.quote(words)) == words
