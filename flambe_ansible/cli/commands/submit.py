"""``flambe-ans submit``: run a job on a cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster, Submission
    from flambe_ansible.jobs.state import JobState
    from flambe_ansible.runnable.document import RunnableFile


@options.command(
    "flambe-ans submit experiment.yaml --cluster cluster.yaml",
    "flambe-ans submit experiment.yaml --cluster cluster.yaml --force --follow",
    "flambe-ans submit experiment.yaml --cluster cluster.yaml --yes --json",
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=str))
@click.option("-c", "--cluster", "cluster_file", metavar="CLUSTER", required=True, help="The cluster's YAML file.")
@click.option("-f", "--force", is_flag=True, help="Stop the running job and overwrite results of the same name.")
@options.yes_option
@click.option(
    "--follow", is_flag=True, help="Stream the job's log until it ends; the exit code is 0 only if it succeeds."
)
@options.rerun_option
@options.secrets_option("orchestrator")
@options.json_option
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
    """Run an experiment or a ClusterRunnable as a job on a cluster.

    FILE describes the job in flambé's format. The cluster is created or updated first, as by `launch`. Then the job's
    extensions, resources and secrets are sent, and the job starts. It keeps running after you disconnect.

    If another job is running, or results of the same name exist, the command fails and changes nothing. --force stops
    that job and overwrites the results.

    If some factories are not ready, the job starts on the others. The exit code is then that of the failure, as for
    `launch`; with --follow, it is that of the job.
    """
    from flambe_ansible.cli.launching import report_failed
    from flambe_ansible.cli.render.run import describe_submission, render_submission
    from flambe_ansible.errors import ClusterBusyError, ExistingResultsError, RunError
    from flambe_ansible.events import Notice
    from flambe_ansible.runnable import read

    output: Output = ctx.obj
    output.next_command = output.command
    with options.open_cluster(output, cluster_file) as cluster:
        try:
            runnable = read(file)
            for warning in runnable.warnings:
                output.show_notice(Notice(message=str(warning), warning=True))
            arguments = {"rerun_setup": rerun_setup, "secrets_file": secrets_file}
            done = _submit(output, cluster, runnable, force=force, yes=yes, arguments=arguments)
        except ClusterBusyError as error:
            if error.state:  # a job runs; otherwise another user has reserved the cluster
                error.hint = _list_choices(output, cluster_file)
            raise
        except ExistingResultsError as error:
            error.hint = f"{output.command} --force   # overwrites them; or change the name, or set `resume` in {file}"
            raise
        output.console.print(render_submission(done, file=cluster_file, cluster=cluster))
        code = report_failed(output, done.launch, cluster=cluster)
        run = _follow(output, cluster) if follow else done.run
        if output.json:
            output.write_document(describe_submission(done, run, cluster=cluster))
    if follow:
        code = 0 if run.succeeded else RunError.exit_code
    ctx.exit(code)


def _list_choices(output: Output, cluster_file: str) -> str:
    """List what to run while another job is running."""
    name = shlex.quote(cluster_file)
    choices = {
        f"flambe-ans logs {name} --follow": "wait until it ends",
        f"flambe-ans stop {name}": "stop it",
        f"{output.command} --force": "stop it and start this job",
    }
    return "\n".join(f"{command}   # {meaning}" for command, meaning in choices.items())


def _submit(
    output: Output, cluster: Cluster, runnable: RunnableFile, *, force: bool, yes: bool, arguments: dict[str, Any]
) -> Submission:
    """Check that the cluster is free, ask, then launch and submit while showing the progress."""
    from flambe_ansible.cli.launching import attempt, confirm
    from flambe_ansible.cli.render.plan import render_plan
    from flambe_ansible.jobs.submission import make_runnable

    cluster.observer = output.show_notice
    made = make_runnable(runnable, secrets_file=arguments["secrets_file"])
    cluster.check_free(made, force=force)
    plan = cluster.plan()
    if plan.changes_hosts:
        output.console.print(render_plan(plan))
        confirm(output, plan, yes=yes)
    done, _ = attempt(output, cluster, plan, lambda: cluster.submit(made, force=force, **arguments), on_failure="keep")
    return done


def _follow(output: Output, cluster: Cluster) -> JobState:
    """Stream the job's log until it ends, and print its state."""
    from flambe_ansible.cli.remote import show_log
    from flambe_ansible.cli.render.run import render_run

    output.say()
    show_log(cluster, follow=True, to=output.console.file)
    found = cluster.get_run()
    output.console.print(render_run(found))
    return found
