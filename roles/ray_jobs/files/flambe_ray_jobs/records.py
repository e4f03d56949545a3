"""The records of jobs: a folder for each, with its description, its output, and how it began and ended."""

from __future__ import annotations

import difflib
import os

from flambe_ray_jobs import settings as files
from flambe_ray_jobs.settings import JobError

_SHOWN = 5  # jobs that an error lists


class Record:
    """One job's folder.

    Documents: ``job`` (what was submitted), ``env`` (its environment variables), ``sent`` (size and time of the files
    that were sent), ``began``, ``request`` (to stop it), ``end``; ``fetched`` on other hosts than the head.
    """

    def __init__(self, folder):
        self.folder = folder
        self.id = os.path.basename(folder)
        self.work = os.path.join(folder, "work")  # its working folder
        self.log = os.path.join(folder, "log")
        self.files = os.path.join(folder, "files")  # the names of what other hosts need, each ended by a zero byte

    def path(self, name):
        """Return the path of a document."""
        return os.path.join(self.folder, name + ".json")

    def find_directory(self, job):
        """Return the folder in which the command runs, and that its results are relative to."""
        return job.get("directory") or self.work

    def load(self, name):
        """Read a document; {} if there is none."""
        return files.load(self.path(name))

    def save(self, name, document):
        """Write a document."""
        files.save(self.path(name), document)


def list_records(settings):
    """Return all records, the newest first."""
    try:
        names = os.listdir(settings.folder)
    except FileNotFoundError:
        return []
    records = [Record(os.path.join(settings.folder, name)) for name in names if not name.startswith(".")]
    found = [(record.load("job").get("clock", 0.0), record.id, record) for record in records]
    return [record for clock, _name, record in sorted(found, key=lambda one: one[:2], reverse=True) if clock]


def get(settings, name):
    """Return the record of an id."""
    record = Record(os.path.join(settings.folder, name))
    if not name or os.path.basename(name) != name or not record.load("job"):
        raise JobError(f"there is no job {name!r}", "unknown")
    return record


def find(settings, word):
    """Return the record that a user means: an id, the newest of a name, or the only id that begins with the word."""
    records = list_records(settings)
    if not records:
        raise JobError("no job was submitted yet", "none")
    if not word:
        return records[0]
    for matches in (
        [one for one in records if one.id == word],
        [one for one in records if one.load("job").get("name") == word][:1],
        [one for one in records if one.id.startswith(word)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = ", ".join(one.id for one in matches[:_SHOWN])
            raise JobError(f"several jobs begin with {word!r}: {ids}", "unknown")
    names = [one.id for one in records] + [one.load("job").get("name") for one in records]
    close = difflib.get_close_matches(word, [name for name in names if name], n=1)
    hint = (
        f"did you mean {close[0]}?" if close else "the last ones are " + ", ".join(one.id for one in records[:_SHOWN])
    )
    raise JobError(f"there is no job {word!r}; {hint}", "unknown")
