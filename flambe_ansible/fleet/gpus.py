"""The GPUs of hosts over their connections."""

from __future__ import annotations

from collections.abc import Sequence

from flambe_ansible import gpus
from flambe_ansible.errors import HostError
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Connections, on_each, quote


def read_gpus(connections: Connections, host: Host) -> HostGpus:
    """Return the GPUs of a host; their state is unknown if the host answers something else.

    Raises:
        HostError: It does not answer.
    """
    python = str(connections.ansible_variables(host)["ansible_python_interpreter"])
    command = quote([python, "-I", "-"])
    answer = connections.ask(host, command, about="its GPUs", input=gpus.read_program(), check=False)
    return gpus.parse(answer.stdout)


def read_all(connections: Connections, hosts: Sequence[Host]) -> dict[str, HostGpus]:
    """Return the GPUs of each host, by name; hosts that do not answer are left out."""

    def read(host: Host) -> HostGpus | None:
        try:
            return read_gpus(connections, host)
        except HostError:
            return None

    return {name: found for name, found in on_each(hosts, read).items() if found}
