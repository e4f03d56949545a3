"""A job that runs a command, as the orchestrator describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CommandJob:
    """A job that runs a command.

    Attributes:
        id: Its unique id.
        name: The name that the user gave, or "".
        state: ``queued``, ``running``, ``succeeded``, ``failed`` or ``stopped``.
        active: Whether it has not ended yet.
        submitter: Who submitted it, ``user@machine``.
        command: The words of its command.
        since: When it started, or was submitted (ISO 8601, UTC).
        until: When it ended, or "".
        exit_code: The exit code of its command, 128 and the signal's number after a signal; None if it is unknown.
        reason: Why it did not succeed, or "".
        workdir: The folder that was sent, on the submitter's machine.
        env: The names of the environment variables that were set.
        folder: Its working folder on the hosts.
        results: The folder of its results, relative to its working folder.
        log: The file with its output on the orchestrator.
        tail: The last lines of its output, if they were asked for.
        offset: Where these lines begin in the log, in bytes.
    """

    id: str
    name: str = ""
    state: str
    active: bool
    submitter: str = ""
    command: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    exit_code: int | None = None
    reason: str = ""
    workdir: str = ""
    env: tuple[str, ...] = ()
    folder: str = ""
    results: str = ""
    log: str = ""
    tail: tuple[str, ...] = ()
    offset: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether it ended successfully."""
        return self.state == "succeeded"

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document, without the output."""
        return {name: value for name, value in asdict(self).items() if name not in ("tail", "offset")}


@dataclass(frozen=True, kw_only=True)
class StoppedJob:
    """A job after a request to stop it, and whether it was active before."""

    job: CommandJob
    stopped: bool


@dataclass(frozen=True, kw_only=True)
class CommandJobs:
    """The jobs of a cluster.

    Attributes:
        jobs: Those with a record, the newest first.
        others: Active jobs of Ray that were not submitted with this package: their ids and command lines.
        error: Why Ray did not answer, or ""; the records do not depend on it.
    """

    jobs: tuple[CommandJob, ...]
    others: tuple[CommandJob, ...] = ()
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        found = {"jobs": self.jobs, "others": self.others}
        return {**{name: [job.to_dict() for job in jobs] for name, jobs in found.items()}, "error": self.error}

    @property
    def active(self) -> tuple[CommandJob, ...]:
        """All active jobs, which a restart of Ray would end."""
        return (*(one for one in self.jobs if one.active), *self.others)


def read_job(document: Mapping[str, Any]) -> CommandJob:
    """Return the job that a document describes; unknown keys are ignored."""
    known: dict[str, Any] = {name: value for name, value in document.items() if name in CommandJob.__dataclass_fields__}
    for name in {"command", "env", "tail"} & set(known):
        known[name] = tuple(known[name])
    return CommandJob(**known)


def read_jobs(document: Mapping[str, Any]) -> CommandJobs:
    """Return the jobs that a document lists."""
    return CommandJobs(
        jobs=tuple(read_job(one) for one in document["jobs"]),
        others=tuple(
            CommandJob(id=one["id"], state="running", active=True, command=(one["command"],))
            for one in document["others"]
        ),
        error=document["error"],
    )
