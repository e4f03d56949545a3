"""The plan of a launch, from the plan of its hosts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flambe_ansible.fleet import records
from flambe_ansible.hosts import Host
from flambe_ansible.launch.gpus import add_to_plan
from flambe_ansible.launch.plan import HostPlan, Plan, mark_replaced
from flambe_ansible.runtimes import RuntimeVersion


def make_plan(
    hosts: HostPlan,
    version: RuntimeVersion,
    *,
    cluster: str,
    provider: str,
    runtime: str,
    cuda_limit: float | None,
    replaced: Sequence[Host],
    state_dir: Path,
) -> Plan:
    """Add the runtime, the GPUs and the replaced hosts to a provider's plan.

    Args:
        hosts: The provider's plan.
        version: What the hosts get installed.
        cluster: The cluster's name.
        provider: The provider's name.
        runtime: The runtime's name.
        cuda_limit: The highest CUDA compute capability that the runtime can use; None is no limit.
        replaced: The existing hosts that the launch replaces.
        state_dir: The cluster's local folder, with the GPUs of the last launch.
    """
    found = records.read_gpus(state_dir, [one.host for one in hosts.hosts if one.host])
    marked = mark_replaced(hosts.hosts, replaced)
    planned, refused = add_to_plan(marked, found, limit=cuda_limit, runtime=runtime)
    return Plan(
        cluster=cluster,
        provider=provider,
        region=hosts.region,
        account=hosts.account,
        hosts=planned,
        runtime=runtime,
        version=version,
        notes=(*version.warnings, *hosts.notes, *refused),
        resources=hosts.resources,
        changes=hosts.changes,
        costs=hosts.costs,
        problems=hosts.problems,
    )
