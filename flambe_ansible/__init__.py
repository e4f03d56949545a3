"""Ray clusters the Ansible way: flambé's remote layer on EC2, SSH hosts, or the lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambe_ansible import lazy
from flambe_ansible.version import __version__

if TYPE_CHECKING:
    from flambe_ansible.cluster.aws import AWSCluster
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.cluster.lab import LabCluster
    from flambe_ansible.cluster.loading import load_cluster
    from flambe_ansible.cluster.ssh import SSHCluster
    from flambe_ansible.fleet.instance import Instance
    from flambe_ansible.jobs.instances import CPUFactoryInstance, GPUFactoryInstance, OrchestratorInstance
    from flambe_ansible.runnable.document import read
    from flambe_ansible.runnable.environment import RemoteEnvironment
    from flambe_ansible.runnable.runnable import ClusterRunnable, Runnable

__all__ = [
    "AWSCluster",
    "CPUFactoryInstance",
    "Cluster",
    "ClusterRunnable",
    "GPUFactoryInstance",
    "Instance",
    "LabCluster",
    "OrchestratorInstance",
    "RemoteEnvironment",
    "Runnable",
    "SSHCluster",
    "__version__",
    "load_cluster",
    "read",
]

# Some of the modules import botocore and ansible-runner.
__getattr__ = lazy.attach(
    __name__,
    {
        "AWSCluster": "cluster.aws",
        "CPUFactoryInstance": "jobs.instances",
        "Cluster": "cluster.cluster",
        "ClusterRunnable": "runnable.runnable",
        "GPUFactoryInstance": "jobs.instances",
        "Instance": "fleet.instance",
        "LabCluster": "cluster.lab",
        "OrchestratorInstance": "jobs.instances",
        "RemoteEnvironment": "runnable.environment",
        "Runnable": "runnable.runnable",
        "SSHCluster": "cluster.ssh",
        "load_cluster": "cluster.loading",
        "read": "runnable.document",
    },
)
