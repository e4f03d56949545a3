"""The GPUs of a launch's hosts: whether the runtime can use them, and whether Ray has all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flambe_ansible.errors import RayError, UnsupportedHostError
from flambe_ansible.gpus import GpuState, HostGpus
from flambe_ansible.hosts import Host, Role
from flambe_ansible.launch.plan import PlannedHost
from flambe_ansible.runtimes.ray_service import RayNodes

ROLE = "cluster_gpu"
DRIVER, IGNORE = "cluster_gpu_driver", "ignore"  # its variable, and the value for GPUs that are not used
_RESOURCES = {Role.ORCHESTRATOR: "cluster_orchestrator_resources", Role.FACTORY: "cluster_factories_resources"}


def refuse_newer(
    hosts: Sequence[Host], found: Mapping[str, HostGpus], *, limit: float | None, runtime: str
) -> dict[str, UnsupportedHostError]:
    """Return an error for each factory whose GPUs are newer than the runtime supports, by name.

    Args:
        hosts: The hosts.
        found: The GPUs of each host, by name.
        limit: The highest CUDA compute capability that the runtime can use; None is no limit.
        runtime: The runtime's name.
    """
    newer = [host for host in hosts if host.role is Role.FACTORY and is_newer(found.get(host.name), limit)]
    return {host.name: _refuse(host, found[host.name], limit, runtime) for host in newer}


def is_newer(found: HostGpus | None, limit: float | None) -> bool:
    """Return whether GPUs are newer than this compute capability."""
    return bool(found and limit and found.capability > limit)


def describe_remedy(limit: float | None, runtime: str) -> str:
    """Return what to do about GPUs that are newer than a runtime supports."""
    return (
        f"runtime {runtime} supports CUDA compute capability {limit} at most: set runtime: ray, or nvidia_driver:"
        " ignore to use only the CPUs"
    )


def add_to_plan(
    planned: Sequence[PlannedHost], found: Mapping[str, HostGpus], *, limit: float | None, runtime: str
) -> tuple[tuple[PlannedHost, ...], list[str]]:
    """Describe the GPUs of existing hosts in a plan; return it, and a note for those that the launch will refuse.

    Args:
        planned: The hosts of the plan.
        found: The GPUs of the existing hosts at the last launch, by name.
        limit: The highest CUDA compute capability that the runtime can use; None is no limit.
        runtime: The runtime's name.
    """
    hosts = tuple(
        replace(one, gpus=str(found[one.name])) if one.host and one.name in found and not one.gpus else one
        for one in planned
    )
    refused = refuse_newer([one.host for one in planned if one.host], found, limit=limit, runtime=runtime)
    return hosts, [error.message for error in refused.values()]


def find_reason(found: HostGpus | None, played: Collection[str], variables: Mapping[str, Any]) -> str:
    """Return why the role for GPUs has to be played on a host that has a valid receipt; "" if it need not be.

    Args:
        found: Its GPUs; None if it was not probed.
        played: The roles of its receipt.
        variables: The role variables.
    """
    if found is None or found.state in (GpuState.NONE, GpuState.UNKNOWN) or variables.get(DRIVER) == IGNORE:
        return ""
    return found.error or ("" if ROLE in played else "its GPUs are new")


def may_exist(found: Mapping[str, HostGpus], hosts: Sequence[Host]) -> bool:
    """Return whether a host has GPUs, or was not probed for them."""
    return any(host.name not in found or found[host.name].state is not GpuState.NONE for host in hosts)


def list_counted_roles(variables: Mapping[str, Any]) -> frozenset[Role]:
    """Return the roles whose hosts give all their GPUs to Ray; the user may set another number of them, or none."""
    if variables.get(DRIVER) == IGNORE:
        return frozenset()
    return frozenset(role for role, name in _RESOURCES.items() if "GPU" not in (variables.get(name) or {}))


def compare_with_ray(
    nodes: RayNodes, hosts: Sequence[Host], found: Mapping[str, HostGpus], *, roles: Collection[Role]
) -> dict[str, tuple[int, int]]:
    """Return the hosts on which Ray has another number of GPUs than nvidia-smi: their names and both numbers.

    Hosts without a live node, or whose GPUs are not known, are left out.

    Args:
        nodes: Ray's nodes.
        hosts: The hosts.
        found: The GPUs of each host, by name.
        roles: The roles that are compared, as ``list_counted_roles`` returns them.
    """
    numbers = {node.address: int(node.resources.get("GPU", 0)) for node in nodes.nodes if node.alive}
    known = [host for host in hosts if host.role in roles and host.name in found and found[host.name].known]
    compared = {
        host.name: (numbers[host.private_ip], found[host.name].visible) for host in known if host.private_ip in numbers
    }
    return {name: pair for name, pair in compared.items() if pair[0] != pair[1]}


def describe_difference(ray: int, visible: int) -> str:
    """Describe the two numbers of ``compare_with_ray``."""
    return f"Ray has {ray} of {visible} GPUs" if ray < visible else f"Ray has {ray} GPUs, nvidia-smi lists {visible}"


def make_error(lacking: Mapping[str, tuple[int, int]], *, unit: str) -> RayError:
    """Make the error for hosts on which Ray has fewer GPUs than nvidia-smi."""
    lines = "; ".join(f"{name}: {describe_difference(*pair)} that nvidia-smi lists" for name, pair in lacking.items())
    hint = (
        f"read `journalctl -u {unit}` on the host; with runtime ray, GPU in factories_resources (or"
        " orchestrator_resources) sets the number that Ray should have"
    )
    return RayError(lines, missing=list(lacking), hint=hint)


def _refuse(host: Host, found: HostGpus, limit: float | None, runtime: str) -> UnsupportedHostError:
    newest = max(found.gpus, key=lambda one: float(one.capability or 0))
    what = f"GPU {newest.index} ({newest.name}) has CUDA compute capability {newest.capability}"
    return UnsupportedHostError(f"{host.name}: {what}; {describe_remedy(limit, runtime)}", host=host.name)
