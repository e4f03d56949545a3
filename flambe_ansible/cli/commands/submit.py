"""``flambe-ans submit``: run a job on a cluster."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.core import ParameterSource

from flambe_ansible.cli import options
from flambe_ansible.cli.completing import complete_yaml
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.jobs.state import JobState
    from flambe_ansible.launch.launch import Submission
    from flambe_ansible.runnable.document import RunnableFile


FILE_OPTIONS = ("force", "yes", "rerun_setup", "secrets_file", "wait")
COMMAND_OPTIONS = ("workdir", "env", "name", "results", "allow_large")


@options.command(
    "flambe-ans submit experiment.yaml --cluster cluster.yaml",
    "flambe-ans submit experiment.yaml --cluster cluster.yaml --force --follow",
    "flambe-ans submit --cluster cluster.yaml --follow -- python train.py",
    "flambe-ans submit -c cluster.yaml --env WANDB_API_KEY -- python train.py",
    cls=options.TailCommand,
)
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=str), required=False, shell_complete=complete_yaml)
@click.option(
    "-c",
    "--cluster",
    "cluster_file",
    metavar="CLUSTER",
    required=True,
    shell_complete=complete_yaml,
    help="The cluster's YAML file.",
)
@click.option("--follow", is_flag=True, help="Stream the job's log until it ends; the exit code is that of the job.")
@click.option("-f", "--force", is_flag=True, help="FILE: stop the running job and overwrite results of the same name.")
@click.option("-y", "--yes", is_flag=True, help="FILE: do not ask for confirmation.")
@click.option("--rerun-setup", is_flag=True, help="FILE: run setup_cmds again, even if nothing changed.")
@options.secrets_option("orchestrator")
@options.wait_option
@click.option(
    "--workdir",
    metavar="DIR",
    default=".",
    show_default=True,
    type=click.Path(path_type=str),
    help="COMMAND: the folder to send; the command runs in a copy of it.",
)
@click.option(
    "-e",
    "--env",
    metavar="NAME[=VALUE]",
    multiple=True,
    help="COMMAND: an environment variable; without a value, the one of this machine. Can be repeated.",
)
@click.option("--name", metavar="NAME", default="", help="COMMAND: a name that no running job has.")
@click.option(
    "--results",
    metavar="DIR",
    default="results",
    show_default=True,
    help="COMMAND: the folder of its results in the working folder, for `open` and `pull`.",
)
@click.option("--allow-large", is_flag=True, help="COMMAND: send more than 2 GB without a question.")
@options.json_option
@click.pass_context
def submit(ctx: click.Context, /, file: str | None, cluster_file: str, follow: bool, **given: Any) -> None:
    """Run a job on a cluster: an experiment or a ClusterRunnable from FILE, or a COMMAND.

    With `runtime: flambe`, FILE describes the job in flambé's format. The cluster is created or updated first, as by
    `launch`. Then the job's extensions, resources and secrets are sent, and the job starts. If another job is running,
    or results of the same name exist, the command fails and changes nothing. --force stops that job and overwrites the
    results. If some factories are not ready, the job starts on the others. The exit code is then that of the failure,
    as for `launch`; with --follow, it is that of the job.

    With `runtime: ray`, COMMAND runs on the orchestrator in a copy of the working folder, which the hosts of its tasks
    have too. Files that `.gitignore` and `.rayignore` exclude are not sent, and unchanged files are not sent again.
    Several jobs can run at once. FILE describes a custom ClusterRunnable, which runs in the cluster's environment.

    A job keeps running after you disconnect.
    """
    from flambe_ansible.cli.command_jobs import submit_command

    output: Output = ctx.obj
    command: list[str] = ctx.meta.get("tail", [])
    if (file is None) == (not command):
        raise click.UsageError("give either FILE, or a command after `--`: -- python train.py")
    _check_options(ctx, FILE_OPTIONS if command else COMMAND_OPTIONS, "FILE" if command else "a command after `--`")
    with options.open_cluster(output, cluster_file, wait=given.pop("wait"), connect=True) as cluster:
        if command:
            chosen = {name: given[name] for name in COMMAND_OPTIONS}
            ctx.exit(submit_command(output, cluster, command, follow=follow, **chosen))
        chosen = {name: given[name] for name in FILE_OPTIONS if name in given}
        ctx.exit(_submit_file(output, cluster, str(file), follow=follow, **chosen))


def _check_options(ctx: click.Context, names: Sequence[str], needed: str) -> None:
    """Refuse options that belong to the other kind of job."""
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name in names and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{max(parameter.opts, key=len)} needs {needed}")


def _submit_file(
    output: Output,
    cluster: Cluster,
    file: str,
    *,
    follow: bool,
    force: bool,
    yes: bool,
    rerun_setup: bool,
    secrets_file: Path | None,
) -> int:
    """Submit an experiment or a runnable; return the exit code."""
    from flambe_ansible.cli.launching import report_failed
    from flambe_ansible.cli.render.run import describe_submission, render_submission
    from flambe_ansible.errors import ClusterBusyError, ExistingResultsError, RunError
    from flambe_ansible.events import Notice
    from flambe_ansible.runnable import read

    output.next_command = output.command
    try:
        runnable = read(file)
        cluster.check_file_jobs(experiment=runnable.is_experiment)
        for warning in runnable.warnings:
            output.show_notice(Notice(message=str(warning), warning=True))
        arguments = {"rerun_setup": rerun_setup, "secrets_file": secrets_file}
        with redirect_stdout(output.console.file):  # what a runnable prints in its setup is not a part of the document
            done = _submit(output, cluster, runnable, force=force, yes=yes, arguments=arguments)
    except ClusterBusyError as error:
        if error.state:  # a job runs; otherwise another user has reserved the cluster
            error.hint = _list_choices(output, output.cluster_file)
        raise
    except ExistingResultsError as error:
        error.hint = f"{output.command} --force   # overwrites them; or change the name, or set `resume` in {file}"
        raise
    output.console.print(render_submission(done, file=output.cluster_file, cluster=cluster))
    code = report_failed(output, done.launch, cluster=cluster)
    run = _follow(output, cluster) if follow else done.run
    if output.json:
        output.write_document(describe_submission(done, run, cluster=cluster))
    if follow:
        return 0 if run.succeeded else RunError.exit_code
    return code


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
    if plan.changes_hosts or plan.problems:
        output.console.print(render_plan(plan))
        confirm(output, plan, yes=yes)
    hosts = [host.name for host in plan.hosts]
    done, _ = attempt(
        output, cluster, lambda: cluster.submit(made, force=force, **arguments), hosts=hosts, on_failure="keep"
    )
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
