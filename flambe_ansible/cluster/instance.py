"""flambé's names for hosts: ``from flambe.cluster.instance import ...`` becomes an import of this module.

flambé's documents name the classes with ``AWS`` too; its code has one class per role for all providers.
"""

from __future__ import annotations

from flambe_ansible.cluster import host_errors as errors
from flambe_ansible.fleet.instance import Instance, RemoteCommand
from flambe_ansible.jobs.instances import CPUFactoryInstance, GPUFactoryInstance, OrchestratorInstance

AWSOrchestratorInstance = OrchestratorInstance
AWSCPUFactoryInstance = CPUFactoryInstance
AWSGPUFactoryInstance = GPUFactoryInstance

__all__ = [
    "AWSCPUFactoryInstance",
    "AWSGPUFactoryInstance",
    "AWSOrchestratorInstance",
    "CPUFactoryInstance",
    "GPUFactoryInstance",
    "Instance",
    "OrchestratorInstance",
    "RemoteCommand",
    "errors",
]
