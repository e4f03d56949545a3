"""Removes one safeguard of the product; ``pytest -p tests.drills.removals`` with FLAMBE_ANS_WITHOUT=NAME.

Each removal is one replaced function. A test of ``test_safeguards`` that passes without its safeguard would prove
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flambe_ansible import journal
from flambe_ansible.ec2 import alarms, api, instances, launching
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.launch import lock
from flambe_ansible.ssh import options as ssh_options


def forget_tokens() -> None:
    """Do not write the journal."""
    journal.Journal._write = lambda *_args: None  # type: ignore[method-assign]


def create_untagged() -> None:
    """Create instances without tags."""
    build = launching.build_request

    def build_untagged(*args: Any, **kwargs: Any) -> dict[str, Any]:
        request = build(*args, **kwargs)
        del request["TagSpecifications"]
        return request

    launching.build_request = build_untagged  # type: ignore[assignment]


def skip_reservation() -> None:
    """Do not reserve a cluster on its orchestrator."""
    Reservation.take = lambda *_args: None  # type: ignore[method-assign]


def skip_lock() -> None:
    """Let several launches of one machine run."""

    @contextmanager
    def hold(_folder: Any) -> Any:
        yield

    lock.hold = hold  # type: ignore[assignment]


def trust_at_once() -> None:
    """Take an instance that is not shown for one that does not exist."""
    launching._is_hidden = lambda *_args, **_kwargs: False  # type: ignore[assignment]
    wait_for = instances.wait_for

    def wait_shortly(*args: Any, **kwargs: Any) -> Any:
        instances.VISIBLE_SECONDS = 0.0  # type: ignore[misc]
        return wait_for(*args, **kwargs)

    instances.wait_for = wait_shortly  # type: ignore[assignment]


def accept_host_keys() -> None:
    """Do not check host keys."""
    list_options = ssh_options.connection_options

    def list_lax(*args: Any) -> list[str]:
        return [one.replace("StrictHostKeyChecking=yes", "StrictHostKeyChecking=no") for one in list_options(*args)]

    ssh_options.connection_options = list_lax


def delete_alarms_first() -> None:
    """Delete the alarms of hosts before their new ones are set."""
    replace = alarms._replace

    def replace_late(cloudwatch: Any, wanted: Mapping[str, Any], found: Sequence[Any]) -> None:
        api.delete_alarms(cloudwatch, [one["AlarmName"] for one in found])
        replace(cloudwatch, wanted, [])

    alarms._replace = replace_late


REMOVALS: Mapping[str, Callable[[], None]] = {
    "token persistence": forget_tokens,
    "tags on creation": create_untagged,
    "reservation": skip_reservation,
    "lock": skip_lock,
    "not-found grace": trust_at_once,
    "host key check": accept_host_keys,
    "alarm order": delete_alarms_first,
}

if os.environ.get("FLAMBE_ANS_WITHOUT"):
    REMOVALS[os.environ["FLAMBE_ANS_WITHOUT"]]()
