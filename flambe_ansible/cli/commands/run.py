"""``flambe-ans run``: run a runnable on this machine."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.completing import complete_yaml
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.runnable.document import RunnableFile


@options.command("flambe-ans run examples/runnable/survey.yaml", "flambe-ans run experiment.yaml --force")
@click.argument("file", metavar="FILE", type=click.Path(path_type=str), shell_complete=complete_yaml)
@options.secrets_option("runnable")
@click.option("-f", "--force", is_flag=True, help="Overwrite existing results.")
@click.option("-v", "--verbose", is_flag=True, help="Print more details.")
@click.option("--installed", is_flag=True, help="Import the installed extensions instead of those that FILE refers to.")
@click.pass_obj
def run(output: Output, file: str, secrets_file: Path | None, force: bool, verbose: bool, installed: bool) -> None:
    """Run an experiment or a runnable on this machine.

    A subclass of flambe_ansible.Runnable runs in this process. An experiment runs with flambé in a Python 3.7
    environment, which is created on first use.
    """
    from flambe_ansible import secrets
    from flambe_ansible.events import Notice
    from flambe_ansible.runnable import make, read, running
    from flambe_ansible.runnable.importing import import_sources

    output.next_command = "" if installed else output.command  # as a job on a cluster, it is submitted again instead
    found = read(file)
    for warning in found.warnings:
        output.show_notice(Notice(message=str(warning), warning=True))
    given = secrets.find(secrets_file)
    if found.is_experiment:
        _run_flambe(output, found, given, force=force, verbose=verbose)
        return
    if not installed:
        import_sources(found, observer=output.show_notice)
    logging.basicConfig(format="%(message)s", level=logging.DEBUG if verbose else logging.INFO, stream=sys.stderr)
    running.run(make(found, secrets=given), force=force, verbose=verbose)


def _run_flambe(output: Output, file: RunnableFile, secrets_file: Path | None, *, force: bool, verbose: bool) -> None:
    """Run an experiment with flambé."""
    from flambe_ansible.runtimes import local_flambe

    python = local_flambe.prepare(file, secrets_file=secrets_file, observer=output.show_notice)
    local_flambe.run(python, file, secrets_file=secrets_file, force=force, verbose=verbose, observer=output.show_notice)
