"""``flambe-ans schema``: JSON Schema for editors."""

from __future__ import annotations

import json
from typing import Any

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.completing import complete_yaml

KINDS = ("cluster", "experiment")


@options.command(
    "flambe-ans schema > cluster.schema.json",
    "flambe-ans schema experiment > experiment.schema.json",
    "flambe-ans schema examples/provider/cluster.yaml > cluster.schema.json",
)
@click.argument(
    "kind",
    metavar="[cluster|experiment|FILE]",
    default=KINDS[0],
    type=click.Path(path_type=str),
    shell_complete=complete_yaml,
)
def schema(kind: str) -> None:
    """Print the JSON Schema (draft 7) of the files of clusters, or of experiments and runnables.

    Editors use it to complete, explain and check fields. FILE has a cluster, an experiment or a runnable of a custom
    class: the schema is that of the class.
    """
    click.echo(json.dumps(_describe(kind), indent=2))


def _describe(kind: str) -> dict[str, Any]:
    from flambe_ansible.config.kinds import SCHEMAS
    from flambe_ansible.runnable.json_schema import describe_runnables
    from flambe_ansible.validation.json_schema import describe_clusters

    if kind == "cluster":
        return describe_clusters(SCHEMAS.values())
    return describe_runnables() if kind == "experiment" else _describe_file(kind)


def _describe_file(file: str) -> dict[str, Any]:
    """Return the schema for the class that a file names."""
    from flambe_ansible.config.load import find_experiment, read_class
    from flambe_ansible.runnable.json_schema import describe_runnable_class, describe_runnables
    from flambe_ansible.runnable.runnable import Runnable
    from flambe_ansible.validation.json_schema import describe_clusters

    if tag := find_experiment(file):
        return describe_runnables(tag)
    schema, custom = read_class(file, base=Runnable)
    if custom and not custom.is_cluster:
        return describe_runnable_class(custom)
    return describe_clusters([schema])
