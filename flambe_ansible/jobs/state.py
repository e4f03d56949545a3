"""The state of the last job, as the orchestrator reports it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flambe_ansible.errors import RunError
from flambe_ansible.runnable.checks import NAME

NONE = "none"


@dataclass(frozen=True, kw_only=True)
class LostHost:
    """A host that was lost during a job: since when (ISO 8601, UTC), and the evidence."""

    name: str
    address: str
    since: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class JobState:
    """The last job of a cluster.

    Attributes:
        state: ``none``, ``queued``, ``running``, ``succeeded``, ``failed``, ``stopped`` or ``replaced``.
        active: Whether it has not ended yet.
        settling: Whether it is ending, or has ended and the hosts are being made ready for the next job.
        name: The experiment's name, or the runnable's class.
        id: Its unique id.
        stage: The stage that runs, or the last one that ended.
        stages: All stages in order: ``pending``, ``running``, ``succeeded`` or ``failed``.
        since: When it started (ISO 8601, UTC), or "".
        until: When it ended, or "".
        exit_code: The exit code of its process, or None.
        reason: Why it did not succeed, or "".
        lost: Hosts that were lost while it ran.
        save_path: The folder of its results on the orchestrator, or "".
        log: The file with its output on the orchestrator, or "".
    """

    state: str = NONE
    active: bool = False
    settling: bool = False
    name: str = ""
    id: str = ""
    stage: str = ""
    stages: Mapping[str, str] = field(default_factory=dict)
    since: str = ""
    until: str = ""
    exit_code: int | None = None
    reason: str = ""
    lost: tuple[LostHost, ...] = ()
    save_path: str = ""
    log: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it ended successfully."""
        return self.state == "succeeded"

    @property
    def is_experiment(self) -> bool:
        """Whether flambé runs it. A custom runnable is named by its class, ``module.Class``."""
        return NAME.fullmatch(self.name) is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        return asdict(self)


def parse(text: str, *, host: str) -> JobState:
    """Read the document that an orchestrator prints; any other text is an error, not a state."""
    line = text.strip().rpartition("\n")[2]
    try:
        document: dict[str, Any] = json.loads(line)
        return read(document)
    except (ValueError, TypeError, AttributeError, KeyError) as e:
        raise RunError(f"{host}: the state of the last job is unknown: {line or 'the answer is empty'}") from e


def read(document: Mapping[str, Any]) -> JobState:
    """Return the state that a document describes; unknown keys are ignored, empty values get their default."""
    lost = tuple(
        LostHost(name=one["name"], address=one["address"], since=str(one["since"]), reason=one["reason"])
        for one in document.get("lost") or ()
    )
    names = set(JobState.__dataclass_fields__) - {"lost"}
    known = {name: value for name, value in document.items() if name in names and value is not None}
    return JobState(**known, lost=lost)
