"""Clusters of the hosts that a text file lists: the first line is the orchestrator, each further one a factory."""

from inventory_file.cluster import FileCluster

__all__ = ["FileCluster"]
