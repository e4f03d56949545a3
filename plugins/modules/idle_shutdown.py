#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Power this host off after it was idle for some time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: idle_shutdown
short_description: Power a host off after it was idle for some time
description:
  - Writes a program with its settings, and a systemd timer that runs it as root.
  - Removes the guard that a launch gives to new hosts, which ends hosts that are not configured.
options:
  state:
    description: V(absent) removes everything; the host is not powered off then.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The folder for the program and its settings.
    type: path
    required: true
  python:
    description: The host's Python for the program, 3.8 or later; empty for the one that runs this module.
    type: str
    default: ""
  interval:
    description: Seconds between two checks.
    type: float
    default: 60
  files:
    description: The modules of the program, name to content.
    type: dict
    default: {}
  settings:
    description: The settings of the program.
    type: dict
    default: {}
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
attributes:
  diff_mode:
    description: Shows the unit of a check.
    support: full
"""

EXAMPLES = r"""
- name: Keep this host running
  flambe.cluster.idle_shutdown:
    root: /opt/flambe-idle-shutdown
    state: absent
"""

RETURN = r"""
timer:
  description: The name of the timer.
  type: str
  returned: success
program:
  description: The path of the program that shows or postpones the end of the host.
  type: str
  returned: success
actions:
  description: What was done; the message is a summary of it.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils.idle_shutdown import TIMER, IdleShutdown
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import UnitError


def main():
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "root": {"type": "path", "required": True},
            "python": {"type": "str", "default": ""},
            "interval": {"type": "float", "default": 60},
            "files": {"type": "dict", "default": {}},
            "settings": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    idle = IdleShutdown(module.params, accounts.of_module(module), module.check_mode)
    try:
        idle.converge()
    except (OSError, ValueError, UnitError) as error:
        module.fail_json(msg=f"the idle shutdown could not be set up: {error}")
    facts = {"timer": TIMER, "program": idle.program}
    module.exit_json(changed=bool(idle.actions), actions=idle.actions, diff=idle.diff, msg=idle.summary, **facts)


if __name__ == "__main__":
    main()
