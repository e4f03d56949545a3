"""``flambe-ans ssh``: a shell or a command on one host."""

from __future__ import annotations

import re
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

_HOST = re.compile(
    r"(?:(?P<cluster>[A-Za-z0-9][\w-]*)_)?(?:orchestrator|(?P<factory>factory)(?:[ _](?P<number>[0-9]+))?)",
    re.IGNORECASE | re.ASCII,
)


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

    HOST is `orchestrator` (the default), `factory N`, or a host's full name. The exit code is that of the command.

    A single word after -- is a command line for the host's shell; several words are quoted and arrive unchanged.
    """
    command = options.find_tail(ctx)
    named, role, index = read_target(target)
    with options.open_cluster(ctx.obj, file) as cluster:
        if named not in ("", cluster.name):
            raise ClusterNotFoundError(f"{' '.join(target)} is not a host of cluster {cluster.name}")
        host = pick_host(cluster.find_hosts(), role, index, cluster=cluster.name)
        cluster.attach([host])
        tty = sys.stdin.isatty() and sys.stdout.isatty()
        argv = [*cluster.connections.argv(host, tty=tty), *([command] if command else [])]
        ctx.exit(run_in_foreground(argv))


def read_target(words: Sequence[str]) -> tuple[str, Role, int]:
    """Read a host's cluster, role and number; the cluster is "" if the host is not given by its full name."""
    given = " ".join(words)
    found = _HOST.fullmatch(given or "orchestrator")
    if not found:
        raise click.UsageError(f"unknown host {given!r}; write `orchestrator` or `factory N`, and a command after `--`")
    role = Role.FACTORY if found["factory"] else Role.ORCHESTRATOR
    return found["cluster"] or "", role, int(found["number"] or 0)


def pick_host(hosts: Sequence[Host], role: Role, index: int, *, cluster: str) -> Host:
    """Find a running host; the error names the hosts that are running."""
    running = [host for host in hosts if host.state is HostState.RUNNING]
    for host in running:
        if (host.role, host.index) == (role, index):
            return host
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
