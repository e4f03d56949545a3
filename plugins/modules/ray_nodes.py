#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Wait until nodes of Ray are alive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_nodes
short_description: Wait until nodes of Ray are alive
description:
  - Waits until the unit of Ray runs on this host, and until Ray reports nodes as alive. Changes nothing.
  - The head sees all nodes, and other hosts may see only their own.
  - It is an error if the unit ends, or is restarted three times.
options:
  unit:
    description: The unit's name.
    type: str
    default: flambe-ray.service
  command:
    description: The path of C(ray-nodes), which M(flambe.cluster.ray_node) returns.
    type: str
    required: true
  expect:
    description: The nodes, name to address.
    type: dict
    required: true
  ports:
    description: The ports of every node to which this host must be able to connect.
    type: list
    elements: int
    default: []
  started:
    description: Whether the unit was started just now, so that all its restarts count.
    type: bool
    default: false
  timeout:
    description: Seconds to wait.
    type: float
    default: 90
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
"""

EXAMPLES = r"""
- name: Wait for two nodes
  flambe.cluster.ray_nodes:
    command: /opt/flambe/bin/ray-nodes
    expect: {head: 10.0.0.4, worker: 10.0.0.5}
"""

RETURN = r"""
missing:
  description: Names of O(expect) that are not alive in Ray after the time limit.
  type: list
  elements: str
  returned: success
answer:
  description: Why they are missing; on the head, the ports that it cannot connect to, or Ray's last error.
  type: str
  returned: success
blocked:
  description: Whether they are missing because this host cannot connect to their ports.
  type: bool
  returned: success
output:
  description: The last lines of the unit's journal.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils.ray_waiting import Wait
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import UnitError


def main():
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "unit": {"type": "str", "default": "flambe-ray.service"},
            "command": {"type": "str", "required": True},
            "expect": {"type": "dict", "required": True},
            "ports": {"type": "list", "elements": "int", "default": []},
            "started": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 90},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, missing=[], answer="", blocked=False)
    wait = Wait(module.params, accounts.of_module(module))
    try:
        missing, answer = wait.settle()
    except UnitError as error:
        wait.systemd.fail(module, f"Ray does not run here: {error}")
    except (accounts.CommandError, OSError) as error:
        module.fail_json(msg=f"Ray's nodes cannot be read: {error}")
    module.exit_json(changed=False, missing=missing, answer=answer, blocked=wait.blocked)


if __name__ == "__main__":
    main()
