"""``flambe-ans tunnel``: Ray's own tools on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.commands.open import TOKEN_FILE
from flambe_ansible.cli.forwarding import forward, port_option
from flambe_ansible.cli.output import Output


@options.command(
    "flambe-ans tunnel cluster.yaml",
    "flambe-ans tunnel cluster.yaml -- ray job list",
    "flambe-ans tunnel cluster.yaml -- ray list nodes",
    "flambe-ans tunnel cluster.yaml --port 8080",
    cls=options.TailCommand,
)
@options.cluster_argument
@port_option
@options.json_option
@click.pass_context
def tunnel(ctx: click.Context, file: str, ports: tuple[int, ...]) -> None:
    """Open a tunnel to Ray for its own tools: `ray job submit`, `ray list nodes`, ray.init("ray://...").

    It prints the environment variables for them, and stays open until Ctrl-C. With a COMMAND, it runs the command with
    these variables, and the exit code is that of the command. Ray must be installed on this machine, for ray:// in the
    same version as on the cluster, with the same minor version of Python.

    The token is not printed: RAY_AUTH_TOKEN_PATH is a file that only you can read.

    With --port, it opens a tunnel to ports of the orchestrator instead, whatever the runtime is. A COMMAND gets the
    local ports as FLAMBE_ANS_PORT_<PORT>.
    """
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.events import Notice
    from flambe_ansible.jobs.tunnels import Tunnels

    output: Output = ctx.obj
    command: list[str] = ctx.meta.get("tail", [])
    if command and not shutil.which(command[0]):
        raise click.UsageError(f"{command[0]}: command not found on this machine")
    try:
        with options.open_cluster(output, file, connect=True) as cluster:
            if ports:
                ctx.exit(forward(output, cluster, ports, command=command, url="127.0.0.1:{}"))
            jobs = cluster.jobs
            runner = jobs.runner
            token = cluster.state_dir / TOKEN_FILE
            has_token = jobs.fetch_token(token)
            for note in cluster.compare_clients():
                output.show_notice(Notice(message=note, warning=True))
            units = {runner.dashboard_port: runner.dashboard_unit}
            with interruptible(), Tunnels(cluster.fleet, units, others=[runner.client_port]) as tunnels:
                variables = {"RAY_ADDRESS": f"http://127.0.0.1:{tunnels.ports[runner.dashboard_port]}"}
                if has_token:
                    variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
                if command:
                    ctx.exit(subprocess.run(command, env={**os.environ, **variables}, check=False).returncode)
                _show(output, variables, client=f"ray://127.0.0.1:{tunnels.ports[runner.client_port]}")
                tunnels.keep()
    except KeyboardInterrupt:
        output.say()


def _show(output: Output, variables: dict[str, str], *, client: str) -> None:
    """Print the variables for a shell, or as a document."""
    if output.json:
        output.write_document({**variables, "client": client})
        return
    for name, value in variables.items():
        output.say_command(f"export {name}={shlex.quote(value)}")
    output.say_command(f'# in Python: ray.init("{client}")')
    output.say_command("# The tunnel is open until Ctrl-C.")
