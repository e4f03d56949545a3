"""Convert Ansible's events to one step per role and host, and collect the failures."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flambe_ansible.errors import TaskFailure
from flambe_ansible.events import Activity, Observer, Status, StepEvent, ignore

_NO_TRACEBACK = "(traceback unavailable)"  # Ansible's text for a module that failed without an exception
_TAIL_LINES = 30
_DETAIL_LENGTH = 120
_OWN_MODULES = "flambe.cluster."
_CHANGED = re.compile(r"^changed: \[", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class RoleResult:
    """The result of one role on one host."""

    status: Status  # OK, CHANGED, SKIPPED or FAILED
    seconds: float  # from the start of its first task to the end of its last one
    details: tuple[str, ...] = ()  # its changes, or the reason of its failure


@dataclass(frozen=True, kw_only=True)
class HostResult:
    """The result of a playbook on one host; the numbers count tasks, as in Ansible's recap."""

    host: str
    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    roles: Mapping[str, RoleResult] = field(default_factory=dict)
    failures: tuple[TaskFailure, ...] = ()  # that were not rescued


@dataclass
class _Step:
    """A role that is running on a host."""

    name: str
    started: float
    ended: float
    seconds: float = 0.0
    done: int = 0
    skipped: int = 0
    changes: list[str] = field(default_factory=list)
    failure: str = ""

    @property
    def status(self) -> Status:
        if self.failure:
            return Status.FAILED
        if self.changes:
            return Status.CHANGED
        return Status.OK if self.done or not self.skipped else Status.SKIPPED

    @property
    def details(self) -> tuple[str, ...]:
        return (self.failure,) if self.failure else tuple(dict.fromkeys(self.changes))


class Recorder:
    """Records a playbook's events, in their order; the observer receives each step's start, tasks and end."""

    def __init__(self, observer: Observer = ignore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._observer = observer
        self._clock = clock
        self._current: dict[str, _Step] = {}
        self._steps: dict[str, dict[str, _Step]] = {}
        self._failures: list[TaskFailure] = []
        self._stats: Mapping[str, Mapping[str, int]] | None = None

    def handle(self, event: Mapping[str, Any]) -> None:
        """Record one event of ansible-runner."""
        kind = event.get("event", "")
        data = event.get("event_data") or {}
        if kind == "runner_on_start":
            self._begin(data)
        elif kind in ("runner_on_ok", "runner_on_skipped"):
            self._end_task(data, changed=_has_changed(event), skipped=kind == "runner_on_skipped")
        elif kind in ("runner_on_failed", "runner_on_unreachable"):
            if data.get("ignore_errors"):
                self._end_task(data, changed=_has_changed(event))
            else:
                self._fail(data, unreachable=kind == "runner_on_unreachable")
        elif kind == "playbook_on_stats":
            self._stats = data
            self.finish()

    def finish(self) -> None:
        """End the open steps."""
        for host in list(self._current):
            self._close(host)

    def failures(self) -> list[TaskFailure]:
        """Return the failures that were not rescued."""
        if self._stats is None:
            return list(self._failures)
        lost = {*self._stats.get("failures", ()), *self._stats.get("dark", ())}
        return [failure for failure in self._failures if failure.host in lost]

    def results(self) -> dict[str, HostResult]:
        """Return the result of each host."""
        stats = self._stats or {}
        hosts = dict.fromkeys([*stats.get("processed", ()), *self._steps])
        failures: dict[str, list[TaskFailure]] = {}
        for failure in self.failures():
            failures.setdefault(failure.host, []).append(failure)
        return {host: self._result(host, stats, failures.get(host, [])) for host in hosts}

    def _result(self, host: str, stats: Mapping[str, Mapping[str, int]], failures: Sequence[TaskFailure]) -> HostResult:
        def count(name: str) -> int:
            return stats.get(name, {}).get(host, 0)

        return HostResult(
            host=host,
            ok=count("ok"),
            changed=count("changed"),
            failed=count("failures"),
            unreachable=count("dark"),
            skipped=count("skipped"),
            roles={
                name: RoleResult(status=step.status, seconds=step.seconds, details=step.details)
                for name, step in self._steps.get(host, {}).items()
            },
            failures=tuple(failures),
        )

    def _begin(self, data: Mapping[str, Any]) -> None:
        host, name, now = data["host"], _step_name(data), self._clock()
        step = self._current.get(host)
        if step is None or step.name != name:
            if step:
                self._close(host)
            step = self._steps.setdefault(host, {}).setdefault(name, _Step(name=name, started=now, ended=now))
            step.started = step.ended = now
            self._current[host] = step
        step.failure = ""  # a task after a failure means that it was rescued
        self._report(host, step, Status.RUNNING, detail=str(data.get("task", "")))

    def _end_task(self, data: Mapping[str, Any], *, changed: bool, skipped: bool = False) -> None:
        step = self._current.get(data["host"])
        if step is None:
            return
        step.ended = self._clock()
        step.done += not skipped
        step.skipped += skipped
        if changed:
            step.changes.append(_describe_change(data))
        self._observer(Activity(host=data["host"], text=""))

    def _fail(self, data: Mapping[str, Any], *, unreachable: bool) -> None:
        host = data["host"]
        if host not in self._current:
            self._begin(data)
        step = self._current[host]
        failure = read_failure(data, unreachable=unreachable)
        self._failures.append(failure)
        step.ended = self._clock()
        step.failure = _one_line(failure.message) or "failed"
        self._report(host, step, Status.FAILED, seconds=step.seconds + step.ended - step.started, detail=step.failure)

    def _close(self, host: str) -> None:
        step = self._current.pop(host)
        step.seconds += step.ended - step.started
        if step.status is not Status.FAILED:  # its failure was reported already
            self._report(host, step, step.status, seconds=step.seconds, detail="; ".join(step.details))

    def _report(
        self, host: str, step: _Step, status: Status, *, seconds: float | None = None, detail: str = ""
    ) -> None:
        self._observer(StepEvent(host=host, step=step.name, status=status, seconds=seconds, detail=detail))


def read_failure(data: Mapping[str, Any], *, unreachable: bool = False) -> TaskFailure:
    """Read the failure from the data of a failed task's event; of a loop, that of the first failed item."""
    result = data.get("res") or {}
    items = [item for item in result.get("results") or () if isinstance(item, Mapping)]
    failed = next((item for item in items if item.get("failed") or item.get("unreachable")), None)
    shown = failed if failed is not None else result
    returncode = shown.get("rc")
    return TaskFailure(
        host=str(data.get("host", "")),
        role=_short_role(data),
        task=str(data.get("task", "")),
        message=_message(shown) or _message(result),
        command=_command(shown.get("cmd") or shown.get("command")),
        returncode=returncode if isinstance(returncode, int) else None,
        output=_output(shown),
        unreachable=unreachable,
        step=str(shown.get("failed_step") or ""),
    )


def _message(result: Mapping[str, Any]) -> str:
    if "censored" in result:
        return "failed; its output is hidden, because it may contain secrets (no_log)"
    text = str(result.get("msg") or result.get("reason") or "").strip()
    # The modules of this collection repeat the end of the output below their message.
    lines, output = text.splitlines(), str(result.get("output") or "").strip().splitlines()
    while len(lines) > 1 and output and lines[-1].strip() == output.pop().strip():
        lines.pop()
    return "\n".join(lines).strip()


def _command(command: Any) -> str:
    return " ".join(str(part) for part in command) if isinstance(command, list | tuple) else str(command or "")


def _output(result: Mapping[str, Any]) -> str:
    names = ("stdout", "stderr", "module_stdout", "module_stderr", "output")
    parts = [text.strip() for name in names if isinstance(text := result.get(name), str) and text.strip()]
    exception = result.get("exception")
    if not parts and isinstance(exception, str) and exception.strip() != _NO_TRACEBACK:
        parts = [exception.strip()]
    return "\n".join("\n".join(parts).splitlines()[-_TAIL_LINES:])


def _has_changed(event: Mapping[str, Any]) -> bool:
    """Return whether a task changed something; a censored result only shows it in the printed line."""
    result = (event.get("event_data") or {}).get("res") or {}
    return bool(result.get("changed")) or ("censored" in result and bool(_CHANGED.search(event.get("stdout") or "")))


def _describe_change(data: Mapping[str, Any]) -> str:
    """Return the message of a module of this collection, or the name of the task."""
    action = str(data.get("resolved_action") or data.get("task_action") or "")
    message = (data.get("res") or {}).get("msg")
    if action.startswith(_OWN_MODULES) and isinstance(message, str) and message.strip():
        return _one_line(message)
    return _one_line(str(data.get("task", "")))


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _DETAIL_LENGTH else line[: _DETAIL_LENGTH - 3] + "..."


def _step_name(data: Mapping[str, Any]) -> str:
    return _short_role(data) or str(data.get("play") or "playbook")


def _short_role(data: Mapping[str, Any]) -> str:
    return str(data.get("role") or "").rpartition(".")[2]
