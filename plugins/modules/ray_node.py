#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Run Ray on a host as a systemd unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_node
short_description: Bring Ray on a host to its wanted state, as a systemd unit
description:
  - Writes the unit and the command C(ray-nodes), enables the unit, and starts it.
  - Ray is restarted when something that it depends on changed (its runtime, the unit, the head that it joined), and
    started when it does not run.
options:
  user:
    description: Who runs Ray; empty for the user who connects.
    type: str
    default: ""
  unit:
    description: The unit's name.
    type: str
    default: flambe-ray.service
  runtime:
    description: The virtual environment that holds Ray.
    type: path
    required: true
  root:
    description: The folder below which C(bin/ray-nodes) is written.
    type: path
    required: true
  script:
    description: The text of the script behind C(ray-nodes).
    type: str
    required: true
  address_script:
    description: >-
      The text of a Python module that has Ray before 1.0 take this host by its address on the way to the head; empty:
      nothing is done about that.
    type: str
    default: ""
  head:
    description: Whether this host is the head.
    type: bool
    required: true
  address:
    description: This host's own private address; empty for the one that it sends from towards the head.
    type: str
    default: ""
  head_address:
    description: The head's private address, or a name that this host can resolve. The head itself may leave it empty.
    type: str
    default: ""
  head_id:
    description: What this module returned as C(head_id) on the head; empty when the head was not looked at.
    type: str
    default: ""
  port:
    description: Where the head listens.
    type: int
    default: 12345
  start:
    description: V(false) only writes files and returns facts, for factories whose head is not up yet.
    type: bool
    default: true
  expect:
    description: Wait until Ray calls these nodes alive, name to address.
    type: dict
    default: {}
  timeout:
    description: Seconds to wait for the unit, and for the nodes of O(expect).
    type: float
    default: 90
author: [the flambe-ansible contributors]
attributes:
  check_mode:
    description: Says what would be done.
    support: full
  diff_mode:
    description: Shows the unit.
    support: full
"""

EXAMPLES = r"""
- name: Run the head
  flambe.cluster.ray_node:
    runtime: /opt/flambe/venv
    root: /opt/flambe
    script: "{{ lookup('ansible.builtin.file', 'ray_nodes.py') }}"
    head: true
    address: 10.0.0.4
"""

RETURN = r"""
address:
  description: This host's own address in Ray.
  type: str
  returned: success
head_id:
  description: On the head, what names this start of it.
  type: str
  returned: success
missing:
  description: Names of O(expect) that Ray does not call alive.
  type: list
  elements: str
  returned: success
actions:
  description: What was done.
  type: list
  elements: str
  returned: success
output:
  description: The last lines of the unit's journal.
  type: str
  returned: failure, or when nodes are missing
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils.ray_service import Node, RayNodeError
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd, SystemdError


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "unit": {"type": "str", "default": "flambe-ray.service"},
            "runtime": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "script": {"type": "str", "required": True},
            "address_script": {"type": "str", "default": ""},
            "head": {"type": "bool", "required": True},
            "address": {"type": "str", "default": ""},
            "head_address": {"type": "str", "default": ""},
            "head_id": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 12345},
            "start": {"type": "bool", "default": True},
            "expect": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 90},
        },
        supports_check_mode=True,
    )
    try:
        account = accounts.find(module.params["user"])
    except KeyError:
        module.fail_json(msg="there is no user {} on this host".format(module.params["user"]))
    systemd = Systemd(module.params["unit"])
    try:
        node = Node(module.params, account, module.check_mode)
        node.converge()
        missing, answer = settle(module, node)
    except (RayNodeError, SystemdError) as error:
        log = systemd.log()
        shown = accounts.tail(log, 10)
        module.fail_json(msg="Ray does not run here: {}{}".format(error, "\n" + shown if shown else ""), output=log)
    except OSError as error:
        module.fail_json(msg=f"Ray could not be set up: {error}")
    module.exit_json(
        changed=bool(node.actions),
        actions=node.actions,
        address=node.address,
        head_id=systemd.show().get("InvocationID", "") if module.params["head"] else "",
        missing=missing,
        answer=answer,
        diff=node.diff,
        output=systemd.log() if missing else "",
        msg="; ".join(node.actions) or "nothing to do",
    )


def settle(module, node):
    """Wait for what was asked for; nothing in check mode."""
    if module.check_mode or not module.params["start"]:
        return [], ""
    deadline = time.monotonic() + module.params["timeout"]
    if not module.params["head"] or module.params["expect"]:
        node.await_unit(deadline)
    if not module.params["expect"]:
        return [], ""
    return node.await_nodes(deadline)


if __name__ == "__main__":
    main()
