"""The commands that ask hosts for their addresses; a shell of this machine runs them."""

from __future__ import annotations

import subprocess
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import UnsupportedHostError
from flambe_ansible.hosts import Host, Role
from flambe_ansible.providers import addresses
from flambe_ansible.ssh import Completed, Connections, probing

HEAD = Host(name="a_orchestrator", role=Role.ORCHESTRATOR, private_ip="localhost")


@pytest.fixture
def connections() -> Any:
    """Make connections that run one-line commands here; csh accepts no others."""

    def run(_host: Host, command: str, *, input: str = "", **_options: Any) -> Completed:  # noqa: A002
        assert "\n" not in command
        assert "2>" not in command.partition("'")[0]  # csh has no such redirection
        done = subprocess.run(["sh", "-c", command], input=input, capture_output=True, text=True, check=True)
        return Completed(returncode=0, stdout=done.stdout, stderr=done.stderr)

    found = create_autospec(Connections, instance=True)
    found.ask.side_effect = run
    return found


def test_names_are_resolved(connections: Any) -> None:
    other = Host(name="a_factory_0", role=Role.FACTORY, private_ip="127.0.0.1")
    assert set(addresses.resolve(connections, [HEAD, other])) == {"localhost"}


def test_an_answer_that_is_no_address_is_not_used() -> None:
    other = Host(name="a_factory_0", role=Role.FACTORY, private_ip="worker")
    answer = '{"worker": "-oProxyCommand=touch /tmp/x", "localhost": "127.0.0.1"}'
    hostile = create_autospec(Connections, instance=True)
    hostile.ask.return_value = Completed(returncode=0, stdout=answer, stderr="")
    with pytest.raises(UnsupportedHostError, match="cannot resolve worker"):
        addresses.resolve(hostile, [HEAD, other])


def test_an_address_of_another_host_is_refused(connections: Any) -> None:
    own = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    if not own:
        pytest.fail("this machine has no address")
    wrong = Host(name="a_orchestrator", role=Role.ORCHESTRATOR, private_ip="192.0.2.7")
    printed = subprocess.run(
        ["sh", "-s"], input=probing.write_script(), capture_output=True, text=True, check=True
    ).stdout
    connections.probes = {wrong.name: probing.parse(printed)}
    errors = addresses.check_each(connections, [wrong])
    assert isinstance(errors[wrong.name], UnsupportedHostError)
    assert "192.0.2.7 is not an address of this host" in errors[wrong.name].message
