"""A cluster's YAML, to a cluster: all problems of a file at once, each with its place, before anything is created."""

from flambe_ansible.config.document import Place
from flambe_ansible.config.load import ClusterDocument, load_cluster, read_cluster

__all__ = ["ClusterDocument", "Place", "load_cluster", "read_cluster"]
