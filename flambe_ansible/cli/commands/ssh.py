"""``flambe-ans ssh``: a shell or a command on one host."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.completing import complete_host
from flambe_ansible.cli.render.words import label_host, list_hosts
from flambe_ansible.errors import ClusterNotFoundError
from flambe_ansible.hosts import Host, HostState, Role


@options.command(
    "flambe-ans ssh cluster.yaml",
    "flambe-ans ssh cluster.yaml factory 0",
    "flambe-ans ssh cluster.yaml factory 0 -- nvidia-smi",
    "flambe-ans ssh cluster.yaml -- 'journalctl -u flambe-ray | tail'",
    cls=options.TailCommand,
)
@options.cluster_argument
@click.argument("target", nargs=-1, metavar="[HOST]", shell_complete=complete_host)
@click.pass_context
def ssh(ctx: click.Context, file: str, target: tuple[str, ...]) -> None:
    """Open a shell on a host, or run a command there.

    HOST is `orchestrator` (the default) or `factory N`. The exit code is that of the command.

    A single word after -- is a command line for the host's shell; several words are quoted and arrive unchanged.
    """
    command = options.find_tail(ctx)
    wanted = read_target(target)
    with options.open_cluster(ctx.obj, file) as cluster:
        host = pick_host(cluster.find_hosts(), wanted, cluster=cluster.name)
        cluster.attach([host])
        tty = sys.stdin.isatty() and sys.stdout.isatty()
        argv = [*cluster.connections.argv(host, tty=tty), *([command] if command else [])]
        ctx.exit(run_in_foreground(argv))


def read_target(words: Sequence[str]) -> tuple[Role, int]:
    """Read the role and the number of a host: nothing, ``orchestrator``, ``factory``, or ``factory N``."""
    match [word.lower() for word in words]:
        case [] | ["orchestrator"]:
            return Role.ORCHESTRATOR, 0
        case ["factory"]:
            return Role.FACTORY, 0
        case ["factory", number] if number.isdecimal():
            return Role.FACTORY, int(number)
    given = " ".join(words)
    raise click.UsageError(f"unknown host {given!r}; write `orchestrator` or `factory N`, and a command after `--`")


def pick_host(hosts: Sequence[Host], wanted: tuple[Role, int], *, cluster: str) -> Host:
    """Find a running host; the error names the hosts that are running."""
    running = [host for host in hosts if host.state is HostState.RUNNING]
    for host in running:
        if (host.role, host.index) == wanted:
            return host
    role, index = wanted
    name = "orchestrator" if role is Role.ORCHESTRATOR else f"factory {index}"
    others = list_hosts([label_host(host) for host in running]) or "none"
    raise ClusterNotFoundError(f"{name} of cluster {cluster} is not running; running hosts: {others}")


def run_in_foreground(argv: Sequence[str]) -> int:
    """Run a process on the terminal; Ctrl-C reaches it and not this process."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    # An ignored signal stays ignored across exec, so the child restores the default.
    restore = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    try:
        code = subprocess.run(argv, check=False, preexec_fn=restore).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code
