"""``flambe-ans pull``: download the results of a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.errors import LocalFileError
from flambe_ansible.cli.output import Output


@options.command(
    "flambe-ans pull cluster.yaml results/",
    "flambe-ans pull cluster.yaml results/ --name first_try",
    "flambe-ans pull cluster.yaml results/ --without-checkpoints",
)
@options.cluster_argument
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", metavar="NAME", help="Download this experiment or job instead of the last job.")
@click.option("--without-checkpoints", is_flag=True, help="Skip models: *.pt and Ray's checkpoints.")
@options.json_option
@click.pass_obj
def pull(output: Output, file: str, destination: Path, name: str | None, without_checkpoints: bool) -> None:
    """Download the results and the log of the last job to DEST/NAME.

    Unchanged files are not downloaded again. While the job is running, the results that are on the orchestrator so far
    are downloaded. For a ClusterRunnable this is the folder that its class sets as `results`; without one, only the log
    is downloaded.

    With `runtime: ray`, the log and the results folder of a job (`submit --results`) are downloaded to DEST/ID, and
    Ray's own results of all jobs (~/ray_results) to DEST/ray_results.
    """
    from flambe_ansible.cli.render.words import count
    from flambe_ansible.jobs.results import pull_command, pull_results

    checkpoints = not without_checkpoints
    with options.open_cluster(output, file, connect=True) as cluster, _explaining(destination):
        if cluster.runs_commands:
            job = cluster.jobs.get(name or "")
            pulled = pull_command(cluster.fleet, job, destination, checkpoints=checkpoints)
        else:
            run = cluster.attach_job()
            pulled = pull_results(cluster.fleet, run, destination, name=name, checkpoints=checkpoints)
    files = sum(1 for one in pulled.path.rglob("*") if one.is_file())
    if pulled.missing:
        output.say(pulled.missing)
    if output.json:
        facts = {"name": pulled.path.name, "path": str(pulled.path), "files": files}
        output.write_document({**facts, "results": not pulled.missing})
    else:
        output.say(f"{count(files, 'file')} in {pulled.path}")


@contextmanager
def _explaining(destination: Path) -> Iterator[None]:
    """Name the reason if the destination cannot be a folder."""
    try:
        yield
    except OSError as error:
        path = Path(error.filename or "")
        if error.filename and (path.is_relative_to(destination) or destination.is_relative_to(path)):
            raise LocalFileError(f"{path}: cannot make this folder: {error.strerror}") from error
        raise
