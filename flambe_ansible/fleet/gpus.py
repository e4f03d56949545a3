"""The GPUs of hosts over their connections."""

from __future__ import annotations

from flambe_ansible import gpus
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Connections, quote


def read_gpus(connections: Connections, host: Host) -> HostGpus:
    """Return the GPUs of a host; their state is unknown if the host answers something else.

    Raises:
        HostError: It does not answer.
    """
    command, program = make_command(connections, host), gpus.read_program()
    return gpus.parse(connections.ask(host, command, about="its GPUs", input=program, check=False).stdout)


def make_command(connections: Connections, host: Host) -> str:
    """Return the command that runs the program on its standard input, ``gpus.read_program``, on a host."""
    python = str(connections.ansible_variables(host)["ansible_python_interpreter"])
    return quote([python, "-I", "-"])
