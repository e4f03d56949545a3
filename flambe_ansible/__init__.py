"""Ray clusters the Ansible way: flambé's remote layer on EC2, SSH hosts, or the lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambe_ansible.cluster import AWSCluster, Cluster, LabCluster, SSHCluster

__version__ = "0.1.0"
__all__ = ["AWSCluster", "Cluster", "LabCluster", "SSHCluster", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the cluster classes at their first use: they bring boto3 and Ansible's runner along."""
    if name in __all__:
        from flambe_ansible import cluster

        return getattr(cluster, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
