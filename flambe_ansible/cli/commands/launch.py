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
    from flambe_ansible.cluster.base import Cluster, LaunchResult
    from flambe_ansible.cluster.plan import Plan


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
    from flambe_ansible.cli.progress import Progress
    from flambe_ansible.cli.render.plan import render_plan

    output.next_command = f"flambe-ans launch {shlex.quote(file)}"
    cluster = load(output, file)
    try:
        plan = cluster.plan()
        output.console.print(render_plan(plan))
        if dry_run:
            _finish_dry_run(output, plan)
            return
        _confirm(output, plan, yes=yes)
        progress = Progress(output, cluster=plan.cluster, hosts=[host.name for host in plan.hosts])
        cluster.observer = progress
        options = {"rerun_setup": rerun_setup, "secrets_file": secrets_file}
        result = _run(output, cluster, progress, on_failure=on_failure, options=options)
    finally:
        cluster.close()
    _finish(output, file, result, progress, cluster)


def _confirm(output: Output, plan: Plan, *, yes: bool) -> None:
    """Ask before hosts come into being.

    Raises:
        NoAnswerError: Nobody is there to answer.
        CancelledError: The answer is no.
    """
    from flambe_ansible.cli.errors import NoAnswerError
    from flambe_ansible.cli.render.plan import write_question
    from flambe_ansible.errors import CancelledError

    if yes or not plan.changes_hosts:
        return
    question = write_question(plan)
    if not output.can_ask:
        raise NoAnswerError(question, "nothing was created")
    if not output.ask(question):
        output.next_command = ""
        raise CancelledError("cancelled; nothing was created")


def _run(
    output: Output, cluster: Cluster, progress: Progress, *, on_failure: str | None, options: dict[str, Any]
) -> LaunchResult:
    """Run the launch; where it does not end well, tell why first, then settle what becomes of the new hosts.

    Raises:
        ShownError: It did not end well.
    """
    from flambe_ansible.cli import errors
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.errors import CancelledError

    with interruptible():
        try:
            with progress:
                return cluster.run(**options)
        except (Exception, KeyboardInterrupt) as error:
            cause = error if isinstance(error, Exception) else CancelledError("cancelled")
            errors.show(output, cause)
            raise errors.ShownError(cause, **_settle(output, cluster, on_failure)) from error


def _settle(output: Output, cluster: Cluster, on_failure: str | None) -> dict[str, Any]:
    """Keep or terminate the hosts that this launch created, as told; return what was done."""
    created = list(cluster.created)
    if not created:
        return {"created": [], "kept": []}
    from flambe_ansible.cli import errors
    from flambe_ansible.cli.render.words import count

    hosts = count(len(created), "new host")
    terminate = on_failure == "terminate"
    if on_failure is None and output.can_ask:
        try:
            terminate = output.ask(f"Terminate the {hosts} of this launch ({', '.join(created)})?")
        except KeyboardInterrupt:
            terminate = False
    if not terminate:
        output.say(f"The {hosts} of this launch stay: {', '.join(created)}.")
        return {"created": created, "kept": created}
    try:
        cluster.rollback_env()
    except Exception as error:
        errors.show(output, error)
        output.say(f"Not all of the {hosts} could be terminated; `flambe-ans down` removes the whole cluster.")
        return {"created": created, "kept": None}
    output.say(f"The {hosts} of this launch {'is' if len(created) == 1 else 'are'} terminated: {', '.join(created)}.")
    return {"created": created, "kept": []}


def _finish_dry_run(output: Output, plan: Plan) -> None:
    if output.json:
        from dataclasses import asdict

        output.write_document({**asdict(plan), "changes_hosts": plan.changes_hosts})


def _finish(output: Output, file: str, result: LaunchResult, progress: Progress, cluster: Cluster) -> None:
    """Show the closing card, or write the document."""
    from flambe_ansible.cli.render.card import describe_launch, render_card, write_ssh_line

    orchestrator = result.hosts[0]
    ssh = write_ssh_line(orchestrator, username=cluster.username, key=cluster.key, known_hosts=cluster.known_hosts)
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
