#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Run Ray on a host as a systemd unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_node
short_description: Run Ray on a host as a systemd unit
description:
  - Writes the unit and the command C(ray-nodes), enables the unit, and starts it.
  - Ray is restarted if something that it depends on changed (its runtime, the unit, the head that it joined), and
    started if it does not run. A restart that an earlier run did not reach is repeated.
  - It is an error if another process listens on the head's port.
options:
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
      The text of a Python module that makes Ray below 1.0 use this host's address towards the head; empty to keep
      Ray's detection.
    type: str
    default: ""
  head:
    description: Whether this host is the head.
    type: bool
    required: true
  address:
    description: This host's private address; empty for the source address of its route to the head.
    type: str
    default: ""
  head_address:
    description: The head's private address, or a name that this host can resolve. Not needed on the head.
    type: str
    default: ""
  head_id:
    description: The C(head_id) that this module returned on the head; empty if unknown.
    type: str
    default: ""
  port:
    description: The port of the head.
    type: int
    default: 12345
  start:
    description: V(false) only writes files and returns facts, for workers whose head does not run yet.
    type: bool
    default: true
  restart:
    description: V(false) fails instead of restarting a Ray that runs; one that does not run is started.
    type: bool
    default: true
  expect:
    description: Wait until these nodes are alive in Ray, name to address.
    type: dict
    default: {}
  timeout:
    description: Seconds to wait for the unit, and for the nodes of O(expect).
    type: float
    default: 90
author: [the flambe-ansible contributors]
extends_documentation_fragment: [flambe.cluster.common]
attributes:
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
  description: This host's address in Ray.
  type: str
  returned: success
head_id:
  description: On the head, the id of its current start.
  type: str
  returned: success
failed_step:
  description: C(protected) if Ray runs and O(restart) is V(false).
  type: str
  returned: when Ray would have been restarted
missing:
  description: Names of O(expect) that are not alive in Ray.
  type: list
  elements: str
  returned: success
actions:
  description: What was done; the message is a summary of it.
  type: list
  elements: str
  returned: success
output:
  description: The last lines of the unit's journal.
  type: str
  returned: failure, or when nodes are missing
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils.ray_service import Node
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import (
    PROTECTED,
    ProtectedError,
    Systemd,
    UnitError,
)


def main():
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
            "restart": {"type": "bool", "default": True},
            "expect": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 90},
        },
        supports_check_mode=True,
    )
    account = accounts.of_module(module)
    systemd = Systemd(module.params["unit"])
    try:
        node = Node(module.params, account, module.check_mode)
        node.converge()
        waits = module.params["start"] and not module.check_mode
        missing, answer = node.settle() if waits else ([], "")
    except ProtectedError as error:
        module.fail_json(msg=str(error), failed_step=PROTECTED)
    except UnitError as error:
        systemd.fail(module, f"Ray does not run here: {error}")
    except (accounts.CommandError, OSError) as error:
        module.fail_json(msg=f"Ray could not be set up: {error}")
    module.exit_json(
        changed=bool(node.systemd.actions),
        actions=node.systemd.actions,
        address=node.address,
        head_id=systemd.show().get("InvocationID", "") if module.params["head"] else "",
        missing=missing,
        answer=answer,
        diff=node.systemd.diff,
        output=systemd.log() if missing else "",
        msg=node.systemd.summary(),
    )


if __name__ == "__main__":
    main()
