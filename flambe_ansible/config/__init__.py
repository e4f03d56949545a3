"""Read and check a cluster's YAML file. All problems of a file are reported at once, each with its position."""

from flambe_ansible.config.document import Position
from flambe_ansible.config.load import ClusterDocument, read_cluster

__all__ = ["ClusterDocument", "Position", "read_cluster"]
