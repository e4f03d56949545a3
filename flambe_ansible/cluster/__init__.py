"""The public cluster classes; flambé's API.

The classes are imported at their first use, so that boto3 is imported only if it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambe_ansible import errors, lazy

if TYPE_CHECKING:
    from flambe_ansible.cluster.aws import AWSCluster
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.cluster.lab import LabCluster
    from flambe_ansible.cluster.ssh import SSHCluster

__all__ = ["AWSCluster", "Cluster", "LabCluster", "SSHCluster", "errors"]

__getattr__ = lazy.attach(
    __name__, {"AWSCluster": "aws", "Cluster": "cluster", "LabCluster": "lab", "SSHCluster": "ssh"}
)
