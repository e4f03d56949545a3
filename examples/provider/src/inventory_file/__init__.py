"""Clusters whose hosts are listed in a text file: the first line is the orchestrator, the others are factories."""

from inventory_file.cluster import FileCluster

__all__ = ["FileCluster"]
