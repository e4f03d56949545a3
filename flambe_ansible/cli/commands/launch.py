"""``flambe-ans launch``: create or update a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster


@options.command(
    "flambe-ans launch cluster.yaml",
    "flambe-ans launch cluster.yaml --yes --on-failure terminate",
    "flambe-ans launch cluster.yaml --replace-dead",
    "flambe-ans launch cluster.yaml --wait 30m",
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
@click.option(
    "--replace-dead", is_flag=True, help="Terminate running hosts that do not answer, and create them anew; asks first."
)
@click.option("--full", is_flag=True, help="Play all Ansible roles on all hosts, also if nothing differs.")
@options.rerun_option
@click.option("--rotate-token", is_flag=True, help="Replace the token that Ray requires. Ray restarts; jobs end.")
@options.secrets_option("orchestrator")
@options.wait_option
@click.option("--dry-run", is_flag=True, help="Show the plan and exit.")
@options.json_option
@click.pass_context
def launch(
    ctx: click.Context,
    file: str,
    yes: bool,
    on_failure: str | None,
    force: bool,
    replace_dead: bool,
    full: bool,
    rerun_setup: bool,
    rotate_token: bool,
    secrets_file: Path | None,
    wait: float | None,
    dry_run: bool,
) -> None:
    """Create or update a cluster.

    The plan is shown first. If hosts will be created or started, you are asked to confirm; without a terminal, --yes
    is required.

    Existing hosts are reused: what is missing or broken on them is repaired, the rest is unchanged. A larger
    factories_num adds hosts; a launch never removes existing ones, except with --replace-dead. It succeeds only when
    every host is ready; with min_factories, factories for which AWS has no room may be missing. A factory that fails
    does not stop the others: it is listed at the end, and the exit code is that of its failure. Run the command again:
    it continues.

    If another user is launching or submitting, or if Ray would be restarted while a job is running, the command fails
    and changes nothing. With --wait it waits until the other command has ended.
    """
    from flambe_ansible.cli.launching import attempt, confirm, finish, report_failed, settle, show_plan
    from flambe_ansible.cli.render.plan import render_plan

    output: Output = ctx.obj
    output.next_command = output.command
    with options.open_cluster(output, file, wait=wait, connect=not dry_run) as cluster:
        if replace_dead:
            _find_dead(output, cluster)
        elif not dry_run:
            cluster.prepare_launch()
        plan = cluster.plan()
        if dry_run:
            show_plan(output, plan)
            return
        output.console.print(render_plan(plan))
        if plan.changes_hosts:
            cluster.abandon_launch()  # the user's answer may take long, and stopped hosts do not answer
        confirm(output, plan, yes=yes)
        arguments: dict[str, Any] = {
            "force": force,
            "full": full,
            "rerun_setup": rerun_setup,
            "rotate_token": rotate_token,
            "secrets_file": secrets_file,
        }
        result, progress = attempt(
            output,
            cluster,
            lambda: cluster.run(**arguments),
            hosts=[host.name for host in plan.hosts],
            on_failure=on_failure,
        )
        facts = {}
        if result.failed:
            facts = settle(output, cluster, on_failure or "keep")
    finish(output, file, result, progress, cluster, facts, plan=plan)
    ctx.exit(report_failed(output, result, cluster=cluster))


def _find_dead(output: Output, cluster: Cluster) -> None:
    """Let the launch replace the running hosts that do not answer, and print why they do not."""
    from flambe_ansible.cli.render.words import shorten_host

    dead = cluster.find_dead()
    for error in dead.values():
        output.say(error.message)
    if not dead:
        output.say("No host has to be replaced: all running hosts answer.")
    names = [shorten_host(name, cluster.name) for name in dead]
    if "orchestrator" in names:
        output.say("The orchestrator will be replaced: the results and logs on it will be lost.", style="bold yellow")
    cluster.replace_hosts(dead)
