#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Run a list of commands once, and again when it has to be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: setup_commands
short_description: Run a list of bash commands once, and again when they changed or the host was rebooted
description:
  - Runs the commands in order as O(user), each in a login shell without stdin.
  - They run when they never ran to their end on this host, when the list changed (then all of it, in order),
    after a reboot, and with O(rerun).
options:
  commands:
    description: The commands, in their order.
    type: list
    elements: str
    required: true
  user:
    description: Who runs them; empty for the user who connects.
    type: str
    default: ""
  timeout:
    description: Seconds that each command may take; then its whole process group is killed.
    type: float
    default: 3600
  rerun:
    description: Run them whatever was done before.
    type: bool
    default: false
  state_file:
    description: Where the host remembers what ran, relative to the user's home.
    type: str
    default: .local/state/flambe/setup_cmds.json
author: [the flambe-ansible contributors]
attributes:
  check_mode:
    description: Says whether they would run.
    support: full
"""

EXAMPLES = r"""
- name: Mount the data
  flambe.cluster.setup_commands:
    commands:
      - sudo mkdir -p /data
      - sudo mount /dev/xvdf /data
"""

RETURN = r"""
reason:
  description: Why they ran, empty when they did not.
  type: str
  returned: always
command:
  description: The command that failed.
  type: str
  returned: failure
rc:
  description: Its exit code; absent after a time-out.
  type: int
  returned: failure
output:
  description: The end of what it printed.
  type: str
  returned: failure
"""

import hashlib
import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def decide(commands, state, boot_id, rerun):
    """Tell why the commands have to run; empty when they need not."""
    if not commands:
        return ""
    if not state:
        return "they never ran to their end here"
    if state.get("commands") != digest(commands):
        return "they changed"
    if state.get("boot_id") != boot_id:
        return "the host was rebooted"
    return "asked for" if rerun else ""


def digest(commands):
    """Tell one list of commands from another without keeping what they say."""
    return hashlib.sha256(json.dumps(commands).encode()).hexdigest()


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "commands": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 3600},
            "rerun": {"type": "bool", "default": False},
            "state_file": {"type": "str", "default": ".local/state/flambe/setup_cmds.json"},
        },
        supports_check_mode=True,
    )
    commands = module.params["commands"]
    try:
        account = accounts.find(module.params["user"])
    except KeyError:
        module.fail_json(msg="there is no user {} on this host".format(module.params["user"]))
    path = os.path.join(account.pw_dir, module.params["state_file"])
    boot_id = (files.read(BOOT_ID) or "").strip()
    with accounts.acting_as(account):
        state = read_state(path)
    reason = decide(commands, state, boot_id, module.params["rerun"])
    if not reason:
        module.exit_json(changed=False, reason="", msg="nothing to run")
    done = f"{len(commands)} setup command{'' if len(commands) == 1 else 's'}: {reason}"
    if module.check_mode:
        module.exit_json(changed=True, reason=reason, msg="would run " + done)
    for number, command in enumerate(commands, 1):
        run_one(module, account, command, f"{number} of {len(commands)}")
    with accounts.acting_as(account):
        files.ensure_folder(os.path.dirname(path), 0o700)
        files.write(path, json.dumps({"commands": digest(commands), "boot_id": boot_id}) + "\n", 0o600)
    module.exit_json(changed=True, reason=reason, msg="ran " + done)


def read_state(path):
    """Read what the host remembers; anything unreadable is no memory."""
    try:
        state = json.loads(files.read(path) or "{}")
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}


def run_one(module, account, command, place):
    """Run one command, or fail with what it was and what it printed."""
    timeout = module.params["timeout"]
    try:
        code, output = accounts.run(account, ["/bin/bash", "-lc", command], timeout=timeout)
    except accounts.CommandTimeoutError as error:
        module.fail_json(
            msg=f"setup command {place} was stopped after {timeout:g} s: {command}",
            command=command,
            output=accounts.tail(error.output),
        )
    except OSError as error:
        module.fail_json(msg=f"setup command {place} cannot be run: {error}", command=command, output="")
    if code:
        output = accounts.tail(output)
        module.fail_json(
            msg=f"setup command {place} failed with exit code {code}: {command}" + (f"\n{output}" if output else ""),
            command=command,
            rc=code,
            output=output,
        )


if __name__ == "__main__":
    main()
