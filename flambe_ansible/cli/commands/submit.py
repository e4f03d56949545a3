"""``flambe-ans submit``: from a runnable's file to its run on a cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, debug_option, examples, json_option, load, yes_option
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster, Submission
    from flambe_ansible.jobs.state import JobState
    from flambe_ansible.runnable.document import RunnableFile


@click.command(
    context_settings=CONTEXT,
    epilog=examples(
        "flambe-ans submit experiment.yaml --cluster cluster.yaml",
        "flambe-ans submit experiment.yaml --cluster cluster.yaml --force --follow",
        "flambe-ans submit experiment.yaml --cluster cluster.yaml --yes --json",
    ),
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=str))
@click.option(
    "-c", "--cluster", "cluster_file", metavar="CLUSTER", required=True, help="The configuration of the cluster."
)
@click.option("-f", "--force", is_flag=True, help="End what runs, and replace results of the same name.")
@yes_option
@click.option("--follow", is_flag=True, help="Show what it prints until it ends; exit code 0 only if it succeeds.")
@click.option("--rerun-setup", is_flag=True, help="Run setup_cmds again even where nothing calls for it.")
@click.option(
    "--secrets",
    "secrets_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The secrets for the orchestrator, instead of ~/.flambe/secrets.ini.",
)
@json_option
@debug_option
@click.pass_context
def submit(
    ctx: click.Context,
    file: str,
    cluster_file: str,
    force: bool,
    yes: bool,
    follow: bool,
    rerun_setup: bool,
    secrets_file: Path | None,
) -> None:
    """Run an experiment, or a ClusterRunnable of your own, on a cluster, which is made or repaired first.

    FILE is flambé's: an optional document of extensions, then the runnable. All it needs is sent: extensions,
    resources, secrets. The run goes on when this command, or this machine, has ended.

    A busy cluster and results of the same name are refused before anything is touched, unless --force is given.
    """
    from flambe_ansible.cli.render.run import describe_submission, render_submission
    from flambe_ansible.errors import RunError
    from flambe_ansible.runnable import read

    output: Output = ctx.obj
    output.next_command = f"flambe-ans submit {shlex.quote(file)} --cluster {shlex.quote(cluster_file)}"
    cluster = load(output, cluster_file)
    try:
        runnable = read(file)
        for warning in runnable.warnings:
            output.errors.print(f"warning: {warning}", soft_wrap=True)
        options = {"rerun_setup": rerun_setup, "secrets_file": secrets_file}
        done = _submit(output, cluster, runnable, force=force, yes=yes, options=options)
        output.console.print(render_submission(done, file=cluster_file, cluster=cluster))
        run = _follow(output, cluster) if follow else done.run
        if output.json:
            output.write_document(describe_submission(done, run, cluster=cluster))
        if follow and not run.succeeded:
            ctx.exit(RunError.exit_code)
    finally:
        cluster.close()


def _submit(
    output: Output, cluster: Cluster, runnable: RunnableFile, *, force: bool, yes: bool, options: dict[str, Any]
) -> Submission:
    """Refuse or ask first, then do it under the eyes of the user."""
    from flambe_ansible.cli.launching import attempt, confirm
    from flambe_ansible.cli.progress import Progress
    from flambe_ansible.cli.render.plan import render_plan
    from flambe_ansible.jobs.submission import make_runnable

    cluster.observer = output.hear
    made = make_runnable(runnable, secrets_file=options["secrets_file"])
    cluster.check_free(made, force=force)
    plan = cluster.plan()
    if plan.changes_hosts:
        output.console.print(render_plan(plan))
        confirm(output, plan, yes=yes)
    progress = Progress(output, cluster=plan.cluster, hosts=[host.name for host in plan.hosts])
    cluster.observer = progress

    def work() -> Submission:
        return cluster.submit(made, force=force, **options)

    return attempt(output, cluster, progress, work, on_failure="keep")


def _follow(output: Output, cluster: Cluster) -> JobState:
    """Show what the run prints until it ends, and say how it did."""
    from flambe_ansible.cli.following import show_log
    from flambe_ansible.cli.render.run import render_run

    output.say()
    show_log(cluster, follow=True, to=output.console.file)
    found = cluster.get_run()
    output.console.print(render_run(found))
    return found
