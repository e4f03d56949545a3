"""Eventual consistency: for some seconds, calls do not show new instances and changed tags.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flambe_ansible.lab import calls
from flambe_ansible.lab.answers import RefusedError
from flambe_ansible.lab.cloud import Cloud
from flambe_ansible.lab.faults import Faults

STRONG, EVENTUAL = "strong", "eventual"
DELAY = 5.0  # seconds until a change is shown

_ID = re.compile(r"(?:Instance|Resource)Id(?:\.\d+)?")


class Visibility:
    """What calls to EC2 see. With ``STRONG`` consistency and no fault this is the account as it is."""

    def __init__(self, cloud: Cloud, consistency: str, faults: Faults) -> None:
        self._cloud = cloud
        self._delays = consistency == EVENTUAL
        self._faults = faults
        self._new: dict[str, float] = {}  # ids of instances, and when they will be shown
        self._old_tags: dict[str, tuple[dict[str, str], float]] = {}  # by id: what is shown, and until when

    @contextmanager
    def around(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[None]:
        """Answer a call within the context: one that reads does not see recent changes, any other is recorded."""
        changes = not (calls.is_reading(operation) or calls.is_true(parameters, "DryRun"))
        fault = self._faults.take("late-visibility", call=operation) if changes else None
        delay = fault.seconds if fault else DELAY if self._delays else 0.0
        if not (delay or self._new or self._old_tags):
            yield
            return
        now = time.monotonic()
        self._new = {one: until for one, until in self._new.items() if until > now}
        self._old_tags = {one: (tags, until) for one, (tags, until) in self._old_tags.items() if until > now}
        named = {str(value) for key, value in parameters.items() if _ID.fullmatch(key)} & self._new.keys()
        if named:
            raise RefusedError("InvalidInstanceID.NotFound", f"The instance ID '{min(named)}' does not exist")
        with self._hiding() if operation.startswith("Describe") else self._recording(delay):
            yield

    @contextmanager
    def _recording(self, delay: float) -> Iterator[None]:
        """Record the instances and tags that a call creates or changes, which are shown after ``delay`` seconds."""
        known = {instance.id for instance in self._cloud.instances()}
        tags = {one: dict(found) for one, found in self._cloud.ec2.tags.items()}
        yield
        until = time.monotonic() + delay
        self._new |= {instance.id: until for instance in self._cloud.instances() if instance.id not in known}
        for one, after in self._cloud.ec2.tags.items():
            before = tags.get(one, {})
            if one not in self._new and after != before:
                self._old_tags[one] = self._old_tags.get(one, (before, until))[0], until

    @contextmanager
    def _hiding(self) -> Iterator[None]:
        """Remove recent changes from the account within the context."""
        ec2 = self._cloud.ec2
        reservations, volumes = ec2.reservations, ec2.volumes
        lists = {key: reservation.instances for key, reservation in reservations.items()}
        tags = {one: ec2.tags[one] for one in self._old_tags if one in ec2.tags}
        new = [instance for instance in self._cloud.instances() if instance.id in self._new]
        hidden = {device.volume_id for one in new for device in one.block_device_mapping.values()}
        try:
            for reservation in reservations.values():
                reservation.instances = [one for one in reservation.instances if one.id not in self._new]
            ec2.reservations = {key: one for key, one in reservations.items() if one.instances}
            ec2.volumes = {key: one for key, one in volumes.items() if key not in hidden}
            ec2.tags.update({one: self._old_tags[one][0] for one in tags})
            yield
        finally:
            ec2.reservations, ec2.volumes = reservations, volumes
            ec2.tags.update(tags)
            for key, instances in lists.items():
                reservations[key].instances = instances
