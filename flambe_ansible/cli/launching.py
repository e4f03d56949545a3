"""Commands that may create hosts: the question before, the progress, and what to do with new hosts after a failure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flambe_ansible.cli import errors
from flambe_ansible.cli.errors import NoAnswerError
from flambe_ansible.cli.interrupts import interruptible
from flambe_ansible.cli.output import Output
from flambe_ansible.cli.progress import Progress
from flambe_ansible.cli.render.plan import render_plan, write_question
from flambe_ansible.cli.render.words import count, list_hosts, shorten_host
from flambe_ansible.errors import CancelledError, ClusterConfigurationError, HostConnectionError
from flambe_ansible.events import Notice

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.launch.launch import LaunchResult
    from flambe_ansible.launch.plan import Plan

Result = TypeVar("Result")


def show_plan(output: Output, plan: Plan) -> None:
    """Print a plan, with ``--json`` its document too; fail if the launch is refused."""
    output.console.print(render_plan(plan))
    check(output, plan)
    if output.json:
        output.write_document(plan.to_dict())


def confirm(output: Output, plan: Plan, *, yes: bool) -> None:
    """Ask before hosts are created or started; fail if the launch is refused."""
    check(output, plan)
    if plan.changes_hosts and not yes:
        require_yes(output, write_question(plan), "nothing was created")


def check(output: Output, plan: Plan) -> None:
    """Fail if a launch is refused; with ``--json``, the document has the plan, too."""
    try:
        plan.check()
    except ClusterConfigurationError as error:
        output.next_command = ""
        errors.show(output, error)
        raise errors.ShownError(error, **plan.to_dict()) from error


def require_yes(output: Output, question: str, outcome: str) -> None:
    """Ask a question, and fail unless the answer is yes; ``outcome`` is what was done without it."""
    if not output.can_ask:
        message = f"{question} There is no terminal for the answer; {outcome}"
        raise NoAnswerError(message, hint=f"{output.command} --yes")
    if not output.ask(question):
        output.next_command = ""
        raise CancelledError(f"cancelled; {outcome}")


def launch_existing(output: Output, file: str, cluster: Cluster, *, yes: bool) -> int:
    """Show the plan of a launch, ask, launch, and print the result; return the exit code."""
    plan = cluster.plan()
    output.console.print(render_plan(plan))
    confirm(output, plan, yes=yes)
    hosts = [host.name for host in plan.hosts]
    result, progress = attempt(output, cluster, cluster.run, hosts=hosts, on_failure=None)
    facts = settle(output, cluster, "keep") if result.failed else {}
    finish(output, file, result, progress, cluster, facts, plan=plan)
    return report_failed(output, result, cluster=cluster)


def attempt(
    output: Output, cluster: Cluster, work: Callable[[], Result], *, hosts: Sequence[str], on_failure: str | None
) -> tuple[Result, Progress]:
    """Do work that may create hosts, and show its progress; return its result and the progress.

    If it fails, print the error, then keep or terminate the new hosts.
    """
    cluster.observer = progress = Progress(output, cluster=cluster.name, hosts=hosts)
    with interruptible():
        try:
            with progress:
                return work(), progress
        except BrokenPipeError:  # the reader of the output exited; the new hosts are kept
            raise
        except (Exception, KeyboardInterrupt) as error:
            cause = error if isinstance(error, Exception) else CancelledError("cancelled")
            errors.show(output, cause)
            raise errors.ShownError(cause, **settle(output, cluster, on_failure)) from error


def report_failed(output: Output, result: LaunchResult, *, cluster: Cluster) -> int:
    """Print the errors of the factories that are not ready, and the next command; return the exit code for them."""
    if not result.failed:
        return 0
    found = dict.fromkeys(one.error for one in result.failed)
    command = f"flambe-ans launch {shlex.quote(output.cluster_file)}"
    choices = {command: "try again"}
    if cluster.ends_hosts and any(isinstance(error, HostConnectionError) and error.unreachable for error in found):
        choices[f"{command} --replace-dead"] = "replace the hosts that do not answer"
    output.next_command = ""  # the choices follow the last error
    for error in found:
        errors.show(output, error)
    names = list_hosts([shorten_host(one.host.name, cluster.name) for one in result.failed])
    verb = "is" if len(result.failed) == 1 else "are"
    message = f"{names} {verb} not ready; the other {count(len(result.hosts), 'host')} are ready"
    output.show_notice(Notice(message=message, warning=True))
    errors.show_next(output, "\n".join(f"{choice}   # {meaning}" for choice, meaning in choices.items()))
    return max(error.exit_code for error in found)


def settle(output: Output, cluster: Cluster, on_failure: str | None) -> dict[str, Any]:
    """Keep or terminate the hosts that this launch created; return which were created and kept."""
    created = list(cluster.created)
    if not created:
        return {"created": [], "kept": []}

    hosts = count(len(created), "new host")
    terminate = on_failure == "terminate"
    if on_failure is None and output.can_ask:
        try:
            terminate = output.ask(f"Terminate the {hosts} of this launch ({', '.join(created)})?")
        except KeyboardInterrupt:
            terminate = False
    if not terminate:
        output.say(f"Kept the {hosts} of this launch: {', '.join(created)}.")
        return {"created": created, "kept": created}
    try:
        cluster.rollback_env()
    except Exception as error:
        errors.show(output, error)
        output.say(
            f"The clean-up of the {hosts} failed. This command terminates the whole cluster and deletes its rest:"
        )
        output.say_command(f"  flambe-ans down {shlex.quote(output.cluster_file)}")
        return {"created": created, "kept": None}
    output.say(f"Terminated the {hosts} of this launch: {', '.join(created)}.")
    return {"created": created, "kept": []}


def finish(
    output: Output,
    file: str,
    result: LaunchResult,
    progress: Progress,
    cluster: Cluster,
    facts: dict[str, Any],
    *,
    plan: Plan | None = None,
) -> None:
    """Print the result, and with ``--json`` the document; ``plan`` is that of the launch."""
    from flambe_ansible.cli.render.card import describe_launch, list_planned_changes, render_card, write_ssh_line

    orchestrator = result.hosts[0]
    ssh = write_ssh_line(
        orchestrator,
        username=cluster.username,
        key=cluster.key,
        known_hosts=cluster.known_hosts,
        proxy_jump=cluster.proxy_jump,
    )
    changes = [*(list_planned_changes(plan) if plan else ()), *progress.board.list_changes()]
    output.console.print(render_card(result, file=file, cluster=cluster.name, changes=changes))
    output.say()
    output.say("With plain OpenSSH:")
    output.say_command(ssh)
    if output.json:
        document = describe_launch(result, cluster=cluster.name, location=cluster.location())
        output.write_document({**document, "steps": progress.board.to_list(), "notices": output.notices, **facts})
