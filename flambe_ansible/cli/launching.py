"""Commands that may create hosts: ask before, show what happens, and settle what is left of a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flambe_ansible.cli import errors
from flambe_ansible.cli.errors import NoAnswerError
from flambe_ansible.cli.interrupts import interruptible
from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.plan import write_question
from flambe_ansible.cli.render.words import count
from flambe_ansible.errors import CancelledError

if TYPE_CHECKING:
    from flambe_ansible.cli.progress import Progress
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.launch.plan import Plan

Result = TypeVar("Result")


def confirm(output: Output, plan: Plan, *, yes: bool) -> None:
    """Ask before hosts come into being.

    Raises:
        NoAnswerError: Nobody is there to answer.
        CancelledError: The answer is no.
    """
    if yes or not plan.changes_hosts:
        return
    question = write_question(plan)
    if not output.can_ask:
        raise NoAnswerError(question, "nothing was created")
    if not output.ask(question):
        output.next_command = ""
        raise CancelledError("cancelled; nothing was created")


def attempt(
    output: Output, cluster: Cluster, progress: Progress, work: Callable[[], Result], *, on_failure: str | None
) -> Result:
    """Do work that may create hosts; where it does not end well, tell why, then settle what becomes of the new hosts.

    Raises:
        ShownError: It did not end well.
    """
    with interruptible():
        try:
            with progress:
                return work()
        except (Exception, KeyboardInterrupt) as error:
            cause = error if isinstance(error, Exception) else CancelledError("cancelled")
            errors.show(output, cause)
            raise errors.ShownError(cause, **_settle(output, cluster, on_failure)) from error


def _settle(output: Output, cluster: Cluster, on_failure: str | None) -> dict[str, Any]:
    """Keep or terminate the hosts that this launch created, as told; return what was done."""
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
