"""Import the extensions of a runnable's file from their declared locations."""

from __future__ import annotations

from flambe_ansible.config.extension import ExtensionError, import_extension
from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.events import Observer, ignore
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.sources import fetch_extensions


def import_sources(file: RunnableFile, *, observer: Observer = ignore) -> None:
    """Import the extensions of a file from their folders, even if modules of the same names are installed.

    Git repositories are fetched first. Requirements and archives are skipped: they must be installed here.
    """
    problems: list[Problem] = []
    places = {one.name: one.location for one in file.extensions}
    for one in fetch_extensions(file.extensions, folder=file.path.parent, observer=observer):
        if one.path is None or not one.path.is_dir():
            continue
        try:
            import_extension(one.name.partition(".")[0], str(one.path), folder=file.path.parent)
        except ExtensionError as error:
            problems.append(places[one.name].problem(error.message, error.expected, error.suggestion))
    if problems:
        raise ClusterConfigurationError.of(problems)
