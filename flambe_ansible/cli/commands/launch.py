"""``flambe-ans launch``: from a configuration to a live cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, cluster_argument, debug_option, examples, json_option, load, yes_option
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cli.progress import Progress
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.launch.launch import LaunchResult
    from flambe_ansible.launch.plan import Plan


@click.command(
    context_settings=CONTEXT,
    epilog=examples(
        "flambe-ans launch cluster.yaml",
        "flambe-ans launch cluster.yaml --yes --on-failure terminate",
        "flambe-ans launch cluster.yaml --dry-run --json",
    ),
)
@cluster_argument
@yes_option
@click.option(
    "--on-failure",
    type=click.Choice(["keep", "terminate"]),
    help="What becomes of the hosts that a failed or cancelled launch created. Default: ask; without a terminal, keep.",
)
@click.option("--rerun-setup", is_flag=True, help="Run setup_cmds again even where nothing calls for it.")
@click.option(
    "--secrets",
    "secrets_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The secrets for the orchestrator, instead of ~/.flambe/secrets.ini.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@json_option
@debug_option
@click.pass_obj
def launch(
    output: Output,
    file: str,
    yes: bool,
    on_failure: str | None,
    rerun_setup: bool,
    secrets_file: Path | None,
    dry_run: bool,
) -> None:
    """Make a cluster exist and ready: its hosts, flambé on each, Ray across all.

    A cluster that exists is reused: hosts that are missing are created, what is not as it should be is repaired, and
    the rest stays. A larger factories_num makes the cluster grow. The question comes only where hosts are created or
    started; without a terminal, --yes has to answer it.
    """
    from flambe_ansible.cli.launching import attempt, confirm
    from flambe_ansible.cli.progress import Progress
    from flambe_ansible.cli.render.plan import render_plan

    output.next_command = f"flambe-ans launch {shlex.quote(file)}"
    cluster = load(output, file)
    cluster.observer = output.hear
    try:
        plan = cluster.plan()
        output.console.print(render_plan(plan))
        if dry_run:
            _finish_dry_run(output, plan)
            return
        confirm(output, plan, yes=yes)
        progress = Progress(output, cluster=plan.cluster, hosts=[host.name for host in plan.hosts])
        cluster.observer = progress
        options: dict[str, Any] = {"rerun_setup": rerun_setup, "secrets_file": secrets_file}
        result = attempt(output, cluster, progress, lambda: cluster.run(**options), on_failure=on_failure)
    finally:
        cluster.close()
    _finish(output, file, result, progress, cluster)


def _finish_dry_run(output: Output, plan: Plan) -> None:
    if output.json:
        output.write_document(plan.to_dict())


def _finish(output: Output, file: str, result: LaunchResult, progress: Progress, cluster: Cluster) -> None:
    """Show the closing card, or write the document."""
    from flambe_ansible.cli.render.card import describe_launch, render_card, write_ssh_line

    orchestrator = result.hosts[0]
    ssh = write_ssh_line(
        orchestrator,
        username=cluster.username,
        key=cluster.key,
        known_hosts=cluster.known_hosts,
        proxy_jump=cluster.proxy_jump,
    )
    card = render_card(
        result,
        file=file,
        cluster=cluster.name,
        changes=progress.board.list_changes(),
    )
    output.console.print(card)
    output.say(f"\nWith plain OpenSSH:\n{ssh}")
    if output.json:
        document = describe_launch(result, cluster=cluster.name)
        output.write_document({**document, "steps": progress.board.to_list(), "notices": output.notices})
