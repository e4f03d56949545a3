"""The journal of a cluster's creations: what was asked of the cloud, written down before it is asked.

It is the only local state that a launch depends on. A creation that was asked for and never answered (the process
was killed, the network failed) is repeated with the same token, which the cloud answers with the same hosts.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from flambe_ansible.errors import ClusterError

FILE = "journal.json"
VERSION = 1
KEPT = 20  # closed creations that stay in the file, for the curious


class Stage(StrEnum):
    """Where a creation stands."""

    ASKED = "asked"  # written down; nobody knows whether the cloud did it
    ANSWERED = "answered"  # the hosts' ids are known; the launch is not at its end
    CLOSED = "closed"  # done, refused, or undone


@dataclass(frozen=True, kw_only=True)
class Creation:
    """One request to create hosts.

    Attributes:
        token: The request's idempotency token, used for this request alone.
        generation: Counts the creations of this cluster.
        role: The hosts' part.
        count: How many hosts were asked for, all or none.
        digest: What tells this request from one for other hosts.
        asked: When it was written down (UTC).
        ids: The ids of the hosts, once they are known.
        stage: Where it stands.
        outcome: How it ended, in a word or two, or "".
    """

    token: str
    generation: int
    role: str
    count: int
    digest: str
    asked: datetime
    ids: tuple[str, ...] = ()
    stage: Stage = Stage.ASKED
    outcome: str = ""

    @property
    def age(self) -> float:
        """Seconds since it was written down."""
        return (datetime.now(UTC) - self.asked).total_seconds()


class Journal:
    """The journal in a cluster's state folder; every change is on the disk when its method returns.

    Args:
        folder: The state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> list[Creation]:
        """Return all creations, the oldest first.

        Raises:
            ClusterError: The file is not a journal of this version.
        """
        try:
            data = json.loads(self.path.read_text())
            if data["version"] != VERSION:
                raise ClusterError(
                    f"{self.path} was written by another version of flambe-ansible",
                    hint="use that version to end the cluster, or remove the file when no launch is under way",
                )
            return [_load(entry) for entry in data["creations"]]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterError(
                f"{self.path} cannot be read: {error}",
                hint="remove it when no launch of this cluster is under way; AWS's tags are what counts",
            ) from error

    def unfinished(self) -> list[Creation]:
        """Return the creations that are not closed."""
        return [creation for creation in self.read() if creation.stage is not Stage.CLOSED]

    def open(self, *, role: str, count: int, digest: str) -> Creation:
        """Write down that hosts are about to be asked for, with a token that was never used before."""
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
        """Write down which hosts a creation made."""
        self._replace({token}, ids=tuple(ids), stage=Stage.ANSWERED)

    def close(self, tokens: set[str], outcome: str) -> None:
        """Write down that creations are over, and how they ended."""
        if tokens:
            self._replace(tokens, stage=Stage.CLOSED, outcome=outcome)

    def _replace(self, tokens: set[str], **changes: object) -> None:
        """Change the creations with these tokens."""
        with self._change() as creations:
            creations[:] = [replace(one, **changes) if one.token in tokens else one for one in creations]  # type: ignore[arg-type]

    @contextmanager
    def _change(self) -> Iterator[list[Creation]]:
        """Hand out the creations, and write them back; one change at a time, threads and processes alike."""
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            creations = self.read()
            yield creations
            self._write(creations)
        finally:
            os.close(descriptor)

    def _write(self, creations: Sequence[Creation]) -> None:
        """Replace the file at once; a kill leaves the old one or the new one."""
        closed = [creation for creation in creations if creation.stage is Stage.CLOSED]
        dropped = {creation.token for creation in closed[:-KEPT]}
        entries = [_dump(creation) for creation in creations if creation.token not in dropped]
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".journal-")  # 0600 from the start
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump({"version": VERSION, "creations": entries}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _dump(creation: Creation) -> dict[str, object]:
    return {**asdict(creation), "asked": creation.asked.isoformat(), "ids": list(creation.ids)}


def _load(entry: dict[str, object]) -> Creation:
    values = dict(entry)
    values["asked"] = datetime.fromisoformat(str(values["asked"]))
    values["ids"] = tuple(values["ids"])  # type: ignore[arg-type]
    values["stage"] = Stage(str(values["stage"]))
    return Creation(**values)  # type: ignore[arg-type]
