"""``flambe-ans launch``: create or update a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cli.progress import Progress
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.launch.launch import LaunchResult


@options.command(
    "flambe-ans launch cluster.yaml",
    "flambe-ans launch cluster.yaml --yes --on-failure terminate",
    "flambe-ans launch cluster.yaml --dry-run --json",
)
@options.cluster_argument
@options.yes_option
@click.option(
    "--on-failure",
    type=click.Choice(["keep", "terminate"]),
    help="What to do with hosts created by a failed or cancelled launch. Default: ask; keep them without a terminal.",
)
@click.option("-f", "--force", is_flag=True, help="Restart Ray if needed, even if that ends a running job.")
@options.rerun_option
@options.secrets_option("orchestrator")
@click.option("--dry-run", is_flag=True, help="Show the plan and exit.")
@options.json_option
@click.pass_obj
def launch(
    output: Output,
    file: str,
    yes: bool,
    on_failure: str | None,
    force: bool,
    rerun_setup: bool,
    secrets_file: Path | None,
    dry_run: bool,
) -> None:
    """Create or update a cluster.

    The plan is shown first. If hosts will be created or started, you are asked to confirm; without a terminal, --yes
    is required.

    Existing hosts are reused: what is missing or broken on them is repaired, the rest is unchanged. A larger
    factories_num adds hosts; a launch never removes existing ones. It succeeds only when every host is ready. If it
    fails, run it again: it continues.

    If another user is launching or submitting, or if Ray would be restarted while a job is running, the command fails
    and changes nothing.
    """
    from flambe_ansible.cli.launching import attempt, confirm
    from flambe_ansible.cli.render.plan import render_plan

    output.next_command = output.command
    with options.open_cluster(output, file) as cluster:
        plan = cluster.plan()
        output.console.print(render_plan(plan))
        if dry_run:
            if output.json:
                output.write_document(plan.to_dict())
            return
        confirm(output, plan, yes=yes)
        arguments: dict[str, Any] = {"force": force, "rerun_setup": rerun_setup, "secrets_file": secrets_file}
        result, progress = attempt(output, cluster, plan, lambda: cluster.run(**arguments), on_failure=on_failure)
    _finish(output, file, result, progress, cluster)


def _finish(output: Output, file: str, result: LaunchResult, progress: Progress, cluster: Cluster) -> None:
    """Print the result, and with ``--json`` the document."""
    from flambe_ansible.cli.render.card import describe_launch, render_card, write_ssh_line

    orchestrator = result.hosts[0]
    ssh = write_ssh_line(
        orchestrator,
        username=cluster.username,
        key=cluster.key,
        known_hosts=cluster.known_hosts,
        proxy_jump=cluster.proxy_jump,
    )
    changes = progress.board.list_changes()
    output.console.print(render_card(result, file=file, cluster=cluster.name, changes=changes))
    output.say()
    output.say("With plain OpenSSH:")
    output.say_command(ssh)
    if output.json:
        document = describe_launch(result, cluster=cluster.name)
        output.write_document({**document, "steps": progress.board.to_list(), "notices": output.notices})
