"""What a launch on EC2 would do with each host; pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flambe_ansible.ec2.checks import Checked
from flambe_ansible.ec2.creating import name_of
from flambe_ansible.ec2.instances import EC2Instance, Existing
from flambe_ansible.ec2.launching import InstanceSettings
from flambe_ansible.ec2.tags import read_index
from flambe_ansible.hosts import Host, HostState, Role
from flambe_ansible.launch.plan import Action, PlannedHost


def plan_hosts(
    cluster: str,
    existing: Existing,
    missing: Mapping[Role, Sequence[int]],
    settings: InstanceSettings,
    checked: Checked,
    *,
    make_host: Callable[[str, EC2Instance], Host],
) -> tuple[PlannedHost, ...]:
    """Return what a launch does with each host, the orchestrator first, the factories by index."""
    hosts = [_plan_existing(name, instance, make_host(name, instance)) for name, instance in existing.named(cluster)]
    for role, indices in missing.items():
        choice = checked.choices[role][0]
        hosts += [
            PlannedHost(
                name=name_of(cluster, role, index),
                role=role,
                action=Action.CREATE,
                instance_type=choice.type,
                image=choice.image.id,
                image_name=choice.image.origin,
                volume=settings.volume,
                gpus=choice.gpus,
            )
            for index in indices
        ]
    return tuple(sorted(hosts, key=lambda host: (host.role is Role.FACTORY, read_index(cluster, host.name) or 0)))


def list_new(cluster: str, missing: Mapping[Role, Sequence[int]]) -> dict[str, Role]:
    """Return the role of each host that a launch creates, by its name."""
    return {name_of(cluster, role, index): role for role, indices in missing.items() for index in indices}


def list_notes(cluster: str, existing: Existing, settings: InstanceSettings, factories_num: int) -> list[str]:
    """Return a note for each difference between existing hosts and the configuration that a launch does not change."""
    notes = []
    if len(existing.factories) > factories_num:
        notes.append(f"{len(existing.factories)} factories exist and factories_num is {factories_num}; all are kept")
    for name, instance in existing.named(cluster):
        wanted = settings.list_types(instance.role)
        if instance.type not in wanted:
            notes.append(
                f"{name} is a {instance.type} and the configuration has {' or '.join(wanted)}; it is unchanged"
            )
    return notes


def list_alternatives(
    missing: Mapping[Role, Sequence[int]], checked: Checked, settings: InstanceSettings, *, least: int, wanted: int
) -> list[str]:
    """Return notes about Spot Instances, the combinations that are used in order, and fewer factories."""
    notes = []
    if settings.spot.keys() & missing.keys():
        limit = f" for at most {settings.spot[Role.FACTORY]} USD per hour each" if settings.spot[Role.FACTORY] else ""
        notes.append(f"new factories are Spot Instances{limit}; AWS may terminate them at any time")
    for role in missing:
        first, *others = map(str, checked.choices.get(role, ()))
        if others:
            hosts = "factories" if role is Role.FACTORY else "the orchestrator"
            notes.append(f"{hosts}: {first}; if AWS has no room for them, then {', '.join(others)}")
    if Role.FACTORY in missing and least < wanted:
        notes.append(f"the launch succeeds with {least} of {wanted} factories if AWS has no room for more")
    return notes


def describe_interruption(host: Host) -> str:
    """Describe a Spot Instance that AWS ended."""
    return f"{host.name} ({host.instance_id}, {host.instance_type}) was interrupted by AWS; it is created anew"


def _plan_existing(name: str, instance: EC2Instance, host: Host) -> PlannedHost:
    stopped = instance.state in (HostState.STOPPED, HostState.STOPPING)
    return PlannedHost(
        name=name,
        role=instance.role,
        action=Action.START if stopped else Action.REUSE,
        host=host,
        instance_type=instance.type,
        image=instance.image,
    )
