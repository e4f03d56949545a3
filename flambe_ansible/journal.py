"""The journal of a cluster's creations: each request to the cloud is recorded before it is sent.

It is the only local state that a launch depends on. A request without an answer (the process was killed, the network
failed) is repeated with the same token, for which the cloud returns the same hosts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from flambe_ansible.files import lock, read_versioned, write_json

FILE = "journal.json"
RESOURCES_FILE = "resources.json"  # of the security group and the key pair
VERSION = 1
UNKNOWN = "unknown"  # the role of the requests of a journal that was damaged
KEPT = 20  # closed creations that are kept in the file for debugging


class Stage(StrEnum):
    """The stage of a creation."""

    ASKED = "asked"  # recorded; it is unknown whether the cloud carried it out
    ANSWERED = "answered"  # the hosts' ids are known; the launch has not ended
    CLOSED = "closed"  # done, refused, or rolled back


@dataclass(frozen=True, kw_only=True)
class Creation:
    """One request to create hosts."""

    token: str  # the idempotency token of the request
    generation: int  # the number of this creation, counted per cluster
    role: str
    count: int  # all or none
    digest: str  # of the request
    asked: datetime  # the time it was recorded (UTC)
    ids: tuple[str, ...] = ()  # of the hosts, once they are known
    stage: Stage = Stage.ASKED
    outcome: str = ""  # a few words

    @property
    def age(self) -> float:
        """Seconds since it was recorded."""
        return (datetime.now(UTC) - self.asked).total_seconds()


class Journal:
    """A journal in a cluster's state folder; a change is on the disk when its method returns.

    Args:
        folder: The state folder.
        file: The name of the journal.
        ending: The cluster is terminated: a damaged journal is replaced, and one that cannot be written is ignored.
    """

    def __init__(self, folder: Path, file: str = FILE, *, ending: bool = False) -> None:
        self.path = folder / file
        self._ending = ending

    def read(self) -> list[Creation]:
        """Return all creations, the oldest first; a damaged file is set aside (``_set_aside``).

        Raises:
            StateVersionError: Another version of this package wrote the file.
        """
        try:
            return self._read()
        except (OSError, ValueError, KeyError, TypeError) as error:
            if self._ending:
                return [self._make_unknown()]
            if isinstance(error, OSError):
                raise
        self._set_aside()
        return self._read()

    def _read(self) -> list[Creation]:
        remedy = "remove it if no launch of this cluster is running"
        data = read_versioned(self.path, version=VERSION, remedy=remedy)
        return [_load(entry) for entry in data["creations"]] if data else []

    def _set_aside(self) -> None:
        """Rename a damaged file, and start a new one.

        A request in the damaged file may have created something that the cloud does not show yet. The new file has a
        request of an unknown role and the age of the damaged file, for whose end the next command waits.
        """
        unknown = self._make_unknown()
        self.path.replace(self.path.with_name(f"{self.path.name}.damaged"))
        self._write([unknown])

    def _make_unknown(self) -> Creation:
        """Return a creation in place of those that a damaged file may have had: it may have been requested just now."""
        changed = datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
        token = f"{UNKNOWN}-{changed.timestamp():.6f}"  # the same until the file changes
        return Creation(token=token, generation=0, role=UNKNOWN, count=0, digest="", asked=changed)

    def unfinished(self) -> list[Creation]:
        """Return the creations that are not closed."""
        return [creation for creation in self.read() if creation.stage is not Stage.CLOSED]

    def open(self, *, role: str, count: int, digest: str) -> Creation:
        """Record a request for hosts before it is sent, with a new token."""
        with self._change() as creations:
            generation = max((creation.generation for creation in creations), default=0) + 1
            creation = Creation(
                token=f"flambe-{generation}-{uuid.uuid4().hex}",
                generation=generation,
                role=role,
                count=count,
                digest=digest,
                asked=datetime.now(UTC),
            )
            creations.append(creation)
        return creation

    def answer(self, token: str, ids: Sequence[str]) -> None:
        """Record the hosts of a creation."""
        self._replace({token}, ids=tuple(ids), stage=Stage.ANSWERED)

    def close(self, tokens: set[str], outcome: str) -> None:
        """Record the end of creations and their outcome."""
        if tokens:
            self._replace(tokens, stage=Stage.CLOSED, outcome=outcome)

    def _replace(self, tokens: set[str], **changes: object) -> None:
        """Change the creations with these tokens."""
        with suppress(OSError) if self._ending else nullcontext(), self._change() as creations:
            creations[:] = [replace(one, **changes) if one.token in tokens else one for one in creations]  # type: ignore[arg-type]

    @contextmanager
    def _change(self) -> Iterator[list[Creation]]:
        """Yield the creations and write them back; other threads and processes wait."""
        with lock(self.path.with_suffix(".lock")):
            creations = self.read()
            yield creations
            self._write(creations)

    def _write(self, creations: Sequence[Creation]) -> None:
        closed = [creation for creation in creations if creation.stage is Stage.CLOSED]
        dropped = {creation.token for creation in closed[:-KEPT]}
        entries = [_dump(creation) for creation in creations if creation.token not in dropped]
        write_json(self.path, {"version": VERSION, "creations": entries}, sync=True)


def _dump(creation: Creation) -> dict[str, object]:
    return {**asdict(creation), "asked": creation.asked.isoformat(), "ids": list(creation.ids)}


def _load(entry: dict[str, object]) -> Creation:
    values = dict(entry)
    values["asked"] = datetime.fromisoformat(str(values["asked"]))
    values["ids"] = tuple(values["ids"])  # type: ignore[arg-type]
    values["stage"] = Stage(str(values["stage"]))
    return Creation(**values)  # type: ignore[arg-type]
