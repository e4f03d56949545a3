"""The differences between a cluster's instances on EC2 and its configuration, field by field; pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flambe_ansible.ec2 import tags
from flambe_ansible.ec2.groups import RuleChanges
from flambe_ansible.ec2.instances import EC2Instance, Existing
from flambe_ansible.hosts import Role
from flambe_ansible.launch.costs import HostPrice
from flambe_ansible.launch.plan import Action, Change, Effect, PlannedHost
from flambe_ansible.providers.ec2_costs import Volume
from flambe_ansible.providers.ec2_spec import EC2Spec

KEPT = "to apply it to all hosts: flambe-ans down, then launch"
NO_REMOVAL = "a launch removes no hosts"
OWN_TAGS = (tags.NAME, tags.CREATOR, tags.PURPOSE, tags.CLUSTER, tags.ROLE)
TIMEOUTS = {Role.ORCHESTRATOR: "orchestrator_timeout", Role.FACTORY: "factories_timeout"}

Alarm = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What AWS shows of a cluster besides its instances.

    Attributes:
        volumes: The root volumes by their ids.
        alarms: The idle alarms by the ids of their instances.
        prices: The prices of all hosts by their names.
    """

    volumes: Mapping[str, Volume]
    alarms: Mapping[str, Alarm]
    prices: Mapping[str, HostPrice]


def compare_hosts(
    planned: Sequence[PlannedHost],
    existing: Existing,
    spec: EC2Spec,
    facts: Facts,
    build_alarm: Callable[[EC2Instance], Alarm | None],
) -> tuple[PlannedHost, ...]:
    """Add to each planned host its price, and the differences of an existing one."""
    named = dict(existing.named(spec.name))
    complete = []
    for host in planned:
        changes: tuple[Change, ...] = ()
        if host.action in (Action.REUSE, Action.START):
            instance = named[host.name]
            changes = (
                *_compare_settings(instance, spec, facts.volumes.get(instance.root_volume)),
                *_compare_tags(host.name, instance, spec),
                *_compare_alarm(instance, facts.alarms.get(instance.id), build_alarm(instance)),
            )
        complete.append(replace(host, changes=changes, price=facts.prices.get(host.name)))
    return tuple(complete)


def compare_number(existing: Existing, factories_num: int) -> tuple[Change, ...]:
    """Return the difference between the number of factories and the configured one, if there are too many."""
    number = len(existing.factories)
    if number <= factories_num:
        return ()
    change = Change(
        field="factories_num", current=str(number), wanted=str(factories_num), effect=Effect.NONE, why=NO_REMOVAL
    )
    return (change,)


def compare_sources(rules: RuleChanges | None) -> tuple[Change, ...]:
    """Return the differences between the rules of the cluster's own security group and the wanted ones."""
    if rules is None:
        return ()
    pairs = [("", str(one)) for one in rules.added] + [(str(one), "") for one in rules.removed]
    return tuple(
        Change(field="ssh_sources", current=current, wanted=wanted, effect=Effect.IN_PLACE) for current, wanted in pairs
    )


def _compare_settings(instance: EC2Instance, spec: EC2Spec, volume: Volume | None) -> Iterator[Change]:
    """Compare what an instance was created with; it cannot be changed later."""
    settings, names, role = spec.settings, spec.names, instance.role
    pairs = {
        names.types[role]: (instance.type, _choose(instance.type, settings.list_types(role))),
        names.images[role]: (_find_image(instance, settings.images[role]), settings.images[role] or ""),
        names.key_name: (instance.key_name, settings.key_name),
        names.security_group: (", ".join(instance.groups), settings.security_group),
        names.subnet_id: (instance.subnet_id, _choose(instance.subnet_id, settings.subnet_ids)),
        "dedicated": (str(instance.dedicated).lower(), str(settings.dedicated).lower()),
    }
    if role is Role.FACTORY:
        pairs["factories_spot"] = (str(instance.spot).lower(), str(role in settings.spot).lower())
    if volume:
        pairs["volume_type"] = (volume.type, settings.volume_type)
        pairs[names.volume_size] = (f"{volume.size} GB", f"{settings.volume_size} GB")
    for field, (current, wanted) in pairs.items():
        if current and wanted and current != wanted:
            yield Change(field=field, current=current, wanted=wanted, effect=Effect.NEW_HOSTS, why=KEPT)


def _find_image(instance: EC2Instance, wanted: str | None) -> str:
    """Return the image of an instance, or the wanted one if a baked image of the instance was made of it."""
    return instance.image if instance.image == wanted else instance.tags.get(tags.BASE, instance.image)


def _choose(current: str, wanted: Sequence[str]) -> str:
    """Return the current value if it is one of the wanted ones, else these in words."""
    return current if current in wanted else " or ".join(wanted)


def _compare_tags(name: str, instance: EC2Instance, spec: EC2Spec) -> Iterator[Change]:
    for key, value in tags.find_outdated(spec.tags.build(instance.role, name), instance.tags).items():
        field = f"tag {key}" if key in OWN_TAGS else f"tags.{key}"
        yield Change(field=field, current=instance.tags.get(key, ""), wanted=value, effect=Effect.IN_PLACE)


def _compare_alarm(instance: EC2Instance, current: Alarm | None, wanted: Alarm | None) -> Iterator[Change]:
    """Compare the idle alarm, which shows the timeout and the threshold of the last launch."""
    before, after = _describe_alarm(current), _describe_alarm(wanted)
    if before == after:
        return
    same_time = current and wanted and _count_minutes(current) == _count_minutes(wanted)
    field = "idle_cpu_percent" if same_time else TIMEOUTS[instance.role]
    yield Change(field=field, current=before, wanted=after, effect=Effect.IN_PLACE)


def _describe_alarm(alarm: Alarm | None) -> str:
    """Describe an alarm: ``alarm after 120 min below 0.1 % CPU``; "" for none."""
    return f"alarm after {_count_minutes(alarm)} min below {float(alarm['Threshold']):g} % CPU" if alarm else ""


def _count_minutes(alarm: Alarm) -> int:
    return int(alarm["Period"] * alarm["EvaluationPeriods"] // 60)
