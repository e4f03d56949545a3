"""What a configuration for EC2 must keep to before AWS is asked; pure functions.

Limits of tags: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html; of volumes:
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flambe_ansible.ec2 import alarms, tags
from flambe_ansible.errors import Problem

IO1_IOPS = 5000
MAX_TAGS = 50
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256


@dataclass(frozen=True)
class VolumeRule:
    """The sizes (GB) that a volume type can have."""

    smallest: int
    largest: int


# io1 gives at most 50 IOPS a GB, so that 5000 need 100 GB.
VOLUMES = {"gp2": VolumeRule(1, 16_384), "gp3": VolumeRule(1, 16_384), "io1": VolumeRule(IO1_IOPS // 50, 16_384)}


def problem(field: str, message: str, *, expected: str = "", suggestion: str = "") -> Problem:
    """Make a problem of one field; who reads the file knows its place."""
    return Problem(file="", line=0, column=0, message=message, expected=expected, suggestion=suggestion, field=field)


def check_timeouts(orchestrator: Any, factories: Any) -> Iterator[Problem]:
    """Check the idle times (hours): in CloudWatch's limits, and the factories' within the orchestrator's."""
    valid = True
    for field, hours in (("orchestrator_timeout", orchestrator), ("factories_timeout", factories)):
        whole = isinstance(hours, int | float) and not isinstance(hours, bool) and hours == int(hours)
        if not (whole and alarms.NEVER <= hours <= alarms.MAX_HOURS):
            valid = False
            yield problem(
                field,
                f"{field} is {hours}",
                expected=f"a whole number of hours from 0 to {alarms.MAX_HOURS}, or -1 for never",
            )
    if valid and orchestrator != alarms.NEVER and (factories == alarms.NEVER or factories > orchestrator):
        yield problem(
            "factories_timeout",
            f"factories would outlive the orchestrator (factories_timeout {factories}, "
            f"orchestrator_timeout {orchestrator})",
            expected=f"a factories_timeout from 0 to {orchestrator}, or an orchestrator_timeout of -1",
        )


def check_volume(volume_type: Any, size: Any) -> Iterator[Problem]:
    """Check the root volume's type and size (GB)."""
    rule = VOLUMES.get(volume_type) if isinstance(volume_type, str) else None
    if rule is None:
        close = difflib.get_close_matches(str(volume_type), VOLUMES, n=1)
        yield problem(
            "volume_type",
            f"volume_type is {volume_type!r}",
            expected=f"one of {', '.join(VOLUMES)}",
            suggestion=close[0] if close else "",
        )
        return
    whole = isinstance(size, int | float) and not isinstance(size, bool) and size == int(size)
    if not (whole and rule.smallest <= size <= rule.largest):
        why = f" ({IO1_IOPS} IOPS need {rule.smallest})" if volume_type == "io1" else ""
        yield problem(
            "volume_size",
            f"volume_size is {size} with volume_type {volume_type}",
            expected=f"a whole number of GB from {rule.smallest} to {rule.largest}{why}",
        )


def check_tags(user_tags: Mapping[Any, Any] | None, creator: Any) -> Iterator[Problem]:
    """Check the user's tags against our own and against AWS's limits."""
    if not isinstance(creator, str) or not 0 < len(creator) <= MAX_TAG_VALUE or creator != creator.strip():
        yield problem(
            "creator", f"creator is {creator!r}", expected=f"1 to {MAX_TAG_VALUE} characters, no space around them"
        )
    reserved = {key.lower(): key for key in tags.OWN_KEYS}
    given = dict(user_tags or {})
    for key, value in given.items():
        if str(key).lower() in reserved:
            yield problem("tags", f"the tag {key} is set by flambe-ansible itself", expected="another name for the tag")
        elif str(key).lower().startswith("aws:"):
            yield problem("tags", f"the tag {key} begins with aws:, which AWS keeps for itself")
        elif not isinstance(key, str) or not 0 < len(key) <= MAX_TAG_KEY:
            yield problem("tags", f"the tag name {key!r}", expected=f"text of 1 to {MAX_TAG_KEY} characters")
        elif not isinstance(value, str) or len(value) > MAX_TAG_VALUE:
            yield problem("tags", f"the tag {key} is {value!r}", expected=f"text of at most {MAX_TAG_VALUE} characters")
    if len(given) > MAX_TAGS - len(tags.OWN_KEYS):
        yield problem("tags", f"{len(given)} tags", expected=f"at most {MAX_TAGS - len(tags.OWN_KEYS)}")
