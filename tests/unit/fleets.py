"""Fleets and jobs whose hosts are replaced by autospecs: every call is checked against the real signature."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

from flambe_ansible.events import Event
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.instance import Instance
from flambe_ansible.fleet.player import Player
from flambe_ansible.fleet.receipts import Receipts
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.jobs import Jobs
from flambe_ansible.runtimes.flambe import FlambeRuntime
from flambe_ansible.ssh import Completed, Connections
from tests.unit.cli.made_up import HOSTS

HOME = "/home/ml"


def make_connections(stdout: str = "", *, stderr: str = "", returncode: int = 0) -> Any:
    """Make connections that return the same output for every command; ``printf`` of HOME returns the home folder."""
    connections = create_autospec(Connections, instance=True)

    def run(_host: Host, command: str, **options: Any) -> Completed:
        if command != "exec /bin/sh -s":
            return Completed(returncode=returncode, stdout=stdout, stderr=stderr)
        text = HOME if '"$HOME"' in options["input"] else stdout
        mark = options["input"].split()[2]
        return Completed(returncode=0, stdout=f"Welcome\n{mark}\n{text}", stderr=stderr)

    connections.run.side_effect = run
    connections.ansible_variables.return_value = {"ansible_python_interpreter": "/usr/bin/python3"}
    connections.take_output.return_value = None
    connections.take_answer.return_value = None
    connections.probes = {}
    connections.ask.side_effect = lambda host, command, *, about, **options: connections.run(host, command, **options)
    connections.run_all.side_effect = lambda hosts, command, **_options: {
        host.name: Completed(returncode=returncode, stdout=stdout, stderr=stderr) for host in hosts
    }
    return connections


def make_fleet(connections: Any = None, *, hosts: Sequence[Host] = HOSTS, received: list[Event] | None = None) -> Fleet:
    """Make a fleet of the orchestrator and the factories."""
    found = connections or make_connections()
    orchestrator, *factories = (Instance(host, lambda: found) for host in hosts)
    observer = (lambda _event: None) if received is None else received.append
    return Fleet(
        connections=found, username="ml", orchestrator=orchestrator, factories=tuple(factories), observer=observer
    )


def make_jobs(connections: Any = None, *, fleet: Fleet | None = None) -> Jobs:
    """Make the jobs of such a fleet."""
    runner = FlambeRuntime.jobs
    assert runner is not None
    found = fleet or make_fleet(connections)
    return Jobs(Player(fleet=found, variables=dict, logs=Path("/logs")), runner)


def commands_of(connections: Any) -> list[str]:
    """Return the commands that were run on the orchestrator, without those of ``Instance.ask``."""
    calls = [call.args[1] for call in connections.run.call_args_list]
    return [command for command in calls if command != "exec /bin/sh -s"]


def read_digests(receipts: Receipts) -> dict[str, dict[str, str]]:
    """Return the digests of the roles that are sent to each host."""
    found = {}
    for name, program in receipts.programs.items():
        [call] = ast.parse(program.rstrip().rpartition("\n")[2]).body
        assert isinstance(call, ast.Expr)
        assert isinstance(call.value, ast.Call)
        found[name] = dict(ast.literal_eval(call.value.args[0]))
    return found
