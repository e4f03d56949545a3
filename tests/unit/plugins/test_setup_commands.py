"""When the setup commands have to run."""

from __future__ import annotations

import pytest
from ansible_collections.flambe.cluster.plugins.modules import setup_commands

COMMANDS = ["a", "b"]
DONE = {"commands": setup_commands.digest(COMMANDS), "boot_id": "1"}


@pytest.mark.parametrize(
    ("commands", "state", "boot_id", "rerun", "expected"),
    [
        ([], {}, "1", True, ""),
        (COMMANDS, {}, "1", False, "they never ran to their end here"),
        (COMMANDS, DONE, "1", False, ""),
        (["b", "a"], DONE, "1", False, "they changed"),
        (COMMANDS, DONE, "2", False, "the host was rebooted"),
        (COMMANDS, DONE, "1", True, "asked for"),
    ],
)
def test_decide(commands: list[str], state: dict[str, str], boot_id: str, rerun: bool, expected: str) -> None:
    assert setup_commands.decide(commands, state, boot_id, rerun) == expected
