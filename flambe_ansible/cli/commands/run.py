"""``flambe-ans run``: a runnable on this machine."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, debug_option, examples
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.runnable.document import RunnableFile


@click.command(
    context_settings=CONTEXT,
    epilog=examples("flambe-ans run examples/runnable/survey.yaml", "flambe-ans run experiment.yaml --force"),
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=str))
@click.option(
    "--secrets",
    "secrets_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The secrets for the runnable, instead of ~/.flambe/secrets.ini.",
)
@click.option("-f", "--force", is_flag=True, help="Replace results of before.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.option(
    "--installed",
    is_flag=True,
    help="Import extensions as they are installed in this environment, not from where FILE says that they are.",
)
@debug_option
@click.pass_obj
def run(output: Output, file: str, secrets_file: Path | None, force: bool, verbose: bool, installed: bool) -> None:
    """Run a runnable on this machine.

    One of your own (a subclass of flambe_ansible.Runnable) runs in this process, its extension imported from where the
    file says. An experiment runs under flambé, in a runtime with a Python 3.7 that is made once and kept.
    """
    from flambe_ansible import secrets
    from flambe_ansible.runnable import make, read, running
    from flambe_ansible.runnable.importing import import_sources

    output.next_command = f"flambe-ans run {shlex.quote(file)}"
    found = read(file)
    for warning in found.warnings:
        output.errors.print(f"warning: {warning}", soft_wrap=True)
    given = secrets.find(secrets_file)
    if found.is_experiment:
        _run_flambe(output, found, given, force=force, verbose=verbose)
        return
    if not installed:
        import_sources(found, observer=output.hear)
    logging.basicConfig(format="%(message)s", level=logging.DEBUG if verbose else logging.INFO, stream=sys.stderr)
    running.run(make(found, secrets=given), force=force, verbose=verbose)


def _run_flambe(output: Output, file: RunnableFile, secrets_file: Path | None, *, force: bool, verbose: bool) -> None:
    """Run an experiment under flambé."""
    from flambe_ansible.runtimes import local_flambe

    python = local_flambe.prepare(file, secrets_file=secrets_file, observer=output.hear)
    local_flambe.run(python, file, secrets_file=secrets_file, force=force, verbose=verbose, observer=output.hear)
