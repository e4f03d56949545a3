"""Rules about several fields of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flambe_ansible.validation.schema import CrossRule, Flaw
from flambe_ansible.validation.tags import MAX_TAGS

NEVER = -1  # the timeout of hosts that are never terminated
LONGEST_TIMEOUT = 168  # hours; CloudWatch alarms cover at most 7 days
GP2_IO1_LARGEST = 16_384  # GB
GP3_LARGEST = 65_536  # GB
IO1_SMALLEST = 100  # GB; io1 gives 50 IOPS per GB, and volumes get 5000
VOLUME_TYPES = ("gp2", "io1", "gp3")


def check_flambe(_values: Mapping[str, Any]) -> list[Flaw]:
    """Refuse a release together with a checkout; rules only run if all fields they need are set."""
    message = "and flambe_version are both set"
    return [Flaw(message=message, expected="only one: a checkout or a release", path=("flambe_source",))]


def check_runtime(field: str, runtime: str) -> Callable[[Mapping[str, Any]], list[Flaw]]:
    """Return the rule that refuses a field of one runtime for the others."""

    def check(values: Mapping[str, Any]) -> list[Flaw]:
        given = values["runtime"] if isinstance(values["runtime"], str) else "ray"
        if given == runtime:
            return []
        message = f"is set, and runtime {given} does not use it"
        return [Flaw(message=message, expected=f"runtime: {runtime}, or no {field}", path=(field,))]

    return check


def check_pair(field: str, other: str) -> Callable[[Mapping[str, Any]], list[Flaw]]:
    """Return the rule that refuses one of two fields without the other."""

    def check(values: Mapping[str, Any]) -> list[Flaw]:
        if values.get(other) is not None:
            return []
        return [Flaw(message=f"is set, and {other} is not", expected=f"both, or no {field}", path=(field,))]

    return check


def check_sources(_values: Mapping[str, Any]) -> list[Flaw]:
    """Refuse sources for a security group that does not belong to the cluster."""
    message = "is set, and the rules of security_group are not changed"
    return [Flaw(message=message, expected="only one of ssh_sources and security_group", path=("ssh_sources",))]


def check_timeouts(values: Mapping[str, Any]) -> list[Flaw]:
    """Check that the orchestrator is not terminated before the factories."""
    orchestrator, factories = values["orchestrator_timeout"], values["factories_timeout"]
    if orchestrator == NEVER or NEVER < factories <= orchestrator:
        return []
    lifetime = "-1 (never)" if factories == NEVER else f"{factories}"
    lower = f"0 to {orchestrator}" if orchestrator else "0"
    enough = "" if factories == NEVER else f" or at least {factories}"
    message = f"is {orchestrator}, but factories_timeout is {lifetime}: the orchestrator would be terminated first"
    expected = f"-1 (never){enough}, or a factories_timeout of {lower}"
    return [Flaw(message=message, expected=expected, path=("orchestrator_timeout",))]


def check_volume(values: Mapping[str, Any]) -> list[Flaw]:
    """Check that EC2 offers this volume type in this size."""
    kind, size = values["volume_type"], values["volume_size"]
    smallest = IO1_SMALLEST if kind == "io1" else 1
    largest = GP3_LARGEST if kind == "gp3" else GP2_IO1_LARGEST
    if smallest <= size <= largest:
        return []
    reason = " (AWS requires 1 GB per 50 IOPS, and io1 volumes get 5000 IOPS)" if size < smallest else ""
    expected = f"{smallest} to {largest} GB for volume_type {kind}{reason}"
    return [Flaw(message=f"is {size}", expected=expected, path=("volume_size",))]


def check_tags(values: Mapping[str, Any]) -> list[Flaw]:
    """Check that there is room for the tag of the budget."""
    if len(values["tags"]) < MAX_TAGS:
        return []
    message = f"has {len(values['tags'])} tags, and the cluster sets one more for its budget"
    return [Flaw(message=message, expected=f"at most {MAX_TAGS - 1} with a budget", path=("tags",))]


def check_choices(field: str, other: str) -> Callable[[Mapping[str, Any]], list[Flaw]]:
    """Return the rule that refuses a list of choices together with the field for a single one."""

    def check(_values: Mapping[str, Any]) -> list[Flaw]:
        return [Flaw(message=f"and {other} are both set", expected="only one of them", path=(field,))]

    return check


def check_minimum(values: Mapping[str, Any]) -> list[Flaw]:
    """Check that the accepted number of factories is not larger than the wanted one."""
    least, wanted = values["min_factories"], values["factories_num"]
    if least <= wanted:
        return []
    return [
        Flaw(message=f"is {least}, and factories_num is {wanted}", expected=f"1 to {wanted}", path=("min_factories",))
    ]


FLAMBE_RULE = CrossRule(needs=("flambe_version", "flambe_source"), check=check_flambe)
RUNTIME_RULES = tuple(
    CrossRule(needs=("runtime", field), check=check_runtime(field, runtime))
    for runtime, fields in (
        ("flambe", ("flambe_version", "flambe_source")),
        ("ray", ("factories_resources", "orchestrator_resources", "factories_labels")),
    )
    for field in fields
)
KEY_RULES = tuple(
    CrossRule(needs=(field,), reads=(other,), check=check_pair(field, other))
    for field, other in (("key_name", "key"), ("key", "key_name"))
)
SOURCES_RULE = CrossRule(needs=("security_group", "ssh_sources"), check=check_sources)
TIMEOUTS_RULE = CrossRule(needs=("orchestrator_timeout", "factories_timeout"), check=check_timeouts)
BUDGET_RULE = CrossRule(needs=("tags", "budget"), check=check_tags)
VOLUME_RULE = CrossRule(needs=("volume_type", "volume_size"), check=check_volume)
CAPACITY_RULES = (
    CrossRule(needs=("factories_types", "factories_type"), check=check_choices("factories_types", "factories_type")),
    CrossRule(needs=("subnet_ids", "subnet_id"), check=check_choices("subnet_ids", "subnet_id")),
    CrossRule(needs=("min_factories", "factories_num"), check=check_minimum),
)
