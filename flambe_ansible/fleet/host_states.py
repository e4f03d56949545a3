"""What a status shows of every host, read with one command on each: its idle time and its GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from flambe_ansible import gpus
from flambe_ansible.errors import HostError
from flambe_ansible.fleet import idle
from flambe_ansible.fleet.gpus import make_command
from flambe_ansible.fleet.idle import IdleState
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Connections, on_each

_MARK = "flambe-end-of-idle-state"


def read_each(
    connections: Connections, hosts: Sequence[Host], *, with_idle: bool
) -> tuple[dict[str, IdleState], dict[str, HostGpus]]:
    """Return the idle states and the GPUs of hosts, by name; hosts that do not answer are left out.

    Hosts without a readable idle state are left out of the first, and all are without ``with_idle``.
    """

    def read(host: Host) -> tuple[IdleState | None, HostGpus] | None:
        command, program = make_command(connections, host), gpus.read_program()
        if with_idle:  # for every shell
            command = f"{idle.PROGRAM} show; echo {_MARK}; {command}"
        try:
            answer = connections.ask(host, command, about="its idle time and GPUs", input=program, check=False).stdout
        except HostError:
            return None
        shown, _, listed = answer.rpartition(f"{_MARK}\n")
        return idle.parse(shown), gpus.parse(listed)

    found = {name: one for name, one in on_each(hosts, read).items() if one}
    return {name: state for name, (state, _) in found.items() if state}, {name: one for name, (_, one) in found.items()}
