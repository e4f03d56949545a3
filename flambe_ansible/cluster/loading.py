"""Load a cluster from its YAML file."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.config import ClusterDocument, read_cluster
from flambe_ansible.config.extension import format_origin
from flambe_ansible.errors import ClusterConfigurationError, FlambeAnsibleError, Problem

# Imported on first use: the classes import boto3.
CLASSES = {
    "!AWSCluster": ("flambe_ansible.cluster.aws", "AWSCluster"),
    "!SSHCluster": ("flambe_ansible.cluster.ssh", "SSHCluster"),
    "!LabCluster": ("flambe_ansible.cluster.lab", "LabCluster"),
}


def load_cluster(path: str | Path) -> Cluster:
    """Load the cluster that a YAML file describes. No host is contacted and nothing is created.

    Args:
        path: The file.

    Returns:
        An ``AWSCluster``, ``SSHCluster`` or ``LabCluster``, or an instance of an extension's class.

    Raises:
        ClusterConfigurationError: The file has problems; the error holds all of them, with their positions.
    """
    document = read_cluster(path, base=Cluster)
    try:
        return construct(document)
    except ClusterConfigurationError as error:
        problems = error.problems or [Problem(file="", line=0, column=0, message=error.message)]
        raise ClusterConfigurationError.of([document.locate(one) for one in problems]) from error


def construct(document: ClusterDocument) -> Cluster:
    """Construct the cluster of a checked document and call its ``parse()``.

    Raises:
        ClusterConfigurationError: ``parse()`` found problems, or the class of an extension raised an error.
    """
    if document.extension_class is None:
        module, name = CLASSES[document.tag]
        cluster = cast("Cluster", getattr(importlib.import_module(module), name)(**document.values))
        cluster.parse()
        return cluster
    try:
        cluster = cast("Cluster", document.extension_class(**document.values))
        cluster.parse()
    except FlambeAnsibleError:
        raise
    except Exception as error:
        what = f"{document.extension_class.__name__} raised {type(error).__name__}: {error}{format_origin(error)}"
        raise ClusterConfigurationError(f"{document.tag} cannot be constructed: {what}") from error
    return cluster
