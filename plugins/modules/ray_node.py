#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Run Ray on a host as a systemd unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_node
short_description: Run Ray on a host as a systemd unit
description:
  - Writes the unit and the command C(ray-nodes), enables the unit, and starts it. It does not wait until Ray runs, as
    M(flambe.cluster.ray_nodes) does.
  - Ray is restarted if something that it depends on changed (its runtime, the unit, the head that it joined), and
    started if it does not run. A restart that an earlier run did not reach is repeated.
  - It is an error if another process listens on the head's port.
options:
  state:
    description: >-
      V(present) runs Ray. V(stopped) stops it and disables its start at boot; its files are kept. V(absent) also
      removes the unit, the commands and the rules of the firewall, but not the environment or the token.
    type: str
    choices: [present, stopped, absent]
    default: present
  unit:
    description: The unit's name.
    type: str
    default: flambe-ray.service
  runtime:
    description: The virtual environment that holds Ray, an absolute path.
    type: str
    required: true
  root:
    description: The folder below which C(bin/ray-nodes) is written, an absolute path.
    type: str
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
  head_versions:
    description: The RV(versions) of the head; it is an error if those of this host differ. Empty if unknown.
    type: dict
    default: {}
  head_state:
    description: The RV(state) of the head; it is an error if a host is to join a head without Ray.
    type: str
    default: present
  head_restarted:
    description: Whether the head was started or restarted just now; workers that run then join it at once.
    type: bool
    default: false
  port:
    description: The port of the head; 0 for V(6379), or V(12345) below Ray 1.0.
    type: int
    default: 0
  dashboard_port:
    description: The port of the dashboard, which listens on the head's loopback address.
    type: int
    default: 8265
  client_port:
    description: The port of the Ray client server on the head.
    type: int
    default: 10001
  ports:
    description: >-
      The ports of every node from Ray 1.0 on, V(node_manager), V(object_manager), V(runtime_env_agent),
      V(agent_grpc), V(agent_http), V(metrics), V(worker_min), V(worker_max).
    type: dict
    default: {}
  head_cpus:
    description: How many CPUs of the head run tasks, unless O(resources) has V(CPU).
    type: int
    default: 0
  resources:
    description: >-
      The resources of this host; C(GPU) is the number of GPUs that C(nvidia-smi) lists unless it is set.
    type: dict
    default: {}
  labels:
    description: The labels of this host, name to value.
    type: dict
    default: {}
  object_store_memory:
    description: The size of the object store in bytes; 0 for Ray's own choice.
    type: int
    default: 0
  temp_dir:
    description: Ray's folder for temporary files; empty for C(/tmp/ray).
    type: str
    default: ""
  options:
    description: Further options of C(ray start); it is an error if they contradict one that the module sets.
    type: list
    elements: str
    default: []
  auth:
    description: V(auto) requires a token from Ray 2.52 on; V(none) never does.
    type: str
    choices: [auto, none]
    default: auto
  token:
    description: The cluster's token for a host that is not the head.
    type: str
    default: ""
  new_token:
    description: The token for a host that has none, or with O(rotate_token); the head creates one if it is empty.
    type: str
    default: ""
  firewall:
    description: >-
      Whether only loopback and the addresses in O(allow) reach Ray's ports, by a table of nftables, or a chain of
      iptables, that exists while the unit runs.
    type: bool
    default: true
  allow:
    description: The addresses of the cluster's hosts, and further addresses or networks.
    type: list
    elements: str
    default: []
  keep_allowed:
    description: Whether the addresses that an earlier run allowed are kept.
    type: bool
    default: false
  add_allowed:
    description: Whether O(allow) is added to addresses that are kept; V(false) uses it only if there are none.
    type: bool
    default: true
  rotate_token:
    description: Whether the head, and hosts with O(new_token), replace the cluster's token.
    type: bool
    default: false
  start:
    description: V(false) only writes files and returns facts, for workers whose head is unknown.
    type: bool
    default: true
  early:
    description: >-
      Whether the head may not run yet, or may be restarted at the same time. A worker is then started if it does not
      run, and if its Ray rejoins the head by itself; its unit waits for the head. Others are left to a second run.
    type: bool
    default: false
  restart:
    description: V(false) fails instead of restarting a Ray that runs; one that does not run is started.
    type: bool
    default: true
author: [The flambe-ansible contributors (@flambe-ansible)]
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
state:
  description: The value of O(state).
  type: str
  returned: success
unit:
  description: The unit's name.
  type: str
  returned: success
address:
  description: This host's address in Ray.
  type: str
  returned: when O(state) is V(present)
head_address:
  description: The head's address.
  type: str
  returned: when O(state) is V(present)
port:
  description: The port of the head; V(0) in check mode if Ray is not installed yet.
  type: int
  returned: when O(state) is V(present)
dashboard_url:
  description: On the head, the URL of the dashboard on its loopback address; empty without a dashboard.
  type: str
  returned: when O(state) is V(present)
command:
  description: The path of the command that prints Ray's nodes.
  type: str
  returned: when O(state) is V(present)
head_id:
  description: On the head, the id of its current start.
  type: str
  returned: success
started:
  description: Whether Ray was started or restarted.
  type: bool
  returned: success
restarted:
  description: Whether Ray was running, and was restarted.
  type: bool
  returned: success
settled:
  description: V(false) if a second run without O(early) is needed.
  type: bool
  returned: success
rejoins:
  description: Whether Ray restarts by itself and joins a new head, as from Ray 1.0 on.
  type: bool
  returned: success
token:
  description: Identifies the token of this host without revealing it; empty if it has none or needs none.
  type: str
  returned: success
needs_token:
  description: Whether Ray requires a token here.
  type: bool
  returned: success
versions:
  description: The installed versions of C(Ray) and C(Python), empty if unknown.
  type: dict
  returned: success
failed_step:
  description: C(protected) if Ray runs and O(restart) is V(false).
  type: str
  returned: when Ray would have been restarted
ports:
  description: On the head, the ports of every node that it connects to.
  type: list
  elements: int
  returned: success
actions:
  description: What was done; the message is a summary of it.
  type: list
  elements: str
  returned: success
output:
  description: The last lines of the unit's journal.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import ray_removal, ray_settings
from ansible_collections.flambe.cluster.plugins.module_utils.ray_service import Node
from ansible_collections.flambe.cluster.plugins.module_utils.ray_token import TokenError
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
            "state": {"type": "str", "choices": ["present", "stopped", "absent"], "default": "present"},
            "unit": {"type": "str", "default": "flambe-ray.service"},
            "runtime": {"type": "str", "required": True},
            "root": {"type": "str", "required": True},
            "script": {"type": "str", "required": True},
            "address_script": {"type": "str", "default": ""},
            "head": {"type": "bool", "required": True},
            "address": {"type": "str", "default": ""},
            "head_address": {"type": "str", "default": ""},
            "head_id": {"type": "str", "default": ""},
            "head_versions": {"type": "dict", "default": {}},
            "head_state": {"type": "str", "default": "present"},
            "head_restarted": {"type": "bool", "default": False},
            "port": {"type": "int", "default": 0},
            "dashboard_port": {"type": "int", "default": 8265},
            "client_port": {"type": "int", "default": 10001},
            "ports": {"type": "dict", "default": {}},
            "head_cpus": {"type": "int", "default": 0},
            "resources": {"type": "dict", "default": {}},
            "labels": {"type": "dict", "default": {}},
            "object_store_memory": {"type": "int", "default": 0},
            "temp_dir": {"type": "str", "default": ""},
            "options": {"type": "list", "elements": "str", "default": []},
            "auth": {"type": "str", "choices": ["auto", "none"], "default": "auto"},
            "token": {"type": "str", "default": "", "no_log": True},
            "new_token": {"type": "str", "default": "", "no_log": True},
            "firewall": {"type": "bool", "default": True},
            "allow": {"type": "list", "elements": "str", "default": []},
            "keep_allowed": {"type": "bool", "default": False},
            "add_allowed": {"type": "bool", "default": True},
            "rotate_token": {"type": "bool", "default": False, "no_log": False},
            "start": {"type": "bool", "default": True},
            "early": {"type": "bool", "default": False},
            "restart": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if module.params["state"] == "present":
        run_ray(module)
    else:
        end_ray(module)


def run_ray(module):
    """Bring Ray to the wanted state, and end the module."""
    account = accounts.of_module(module)
    systemd = Systemd(module.params["unit"])
    try:
        ray_settings.check(module.params)
        node = Node(module.params, account, module.check_mode)
        node.converge()
    except ray_settings.SettingsError as error:
        module.fail_json(msg=str(error))
    except ProtectedError as error:
        module.fail_json(msg=str(error), failed_step=PROTECTED)
    except UnitError as error:
        systemd.fail(module, f"Ray does not run here: {error}")
    except (accounts.CommandError, TokenError, ValueError, OSError) as error:
        module.fail_json(msg=f"Ray could not be set up: {error}")
    for warning in node.warnings:
        module.warn(warning)
    module.exit_json(
        changed=bool(node.systemd.actions),
        actions=node.systemd.actions,
        state="present",
        unit=module.params["unit"],
        head_id=systemd.show().get("InvocationID", "") if module.params["head"] else "",
        diff=node.systemd.diff,
        msg=node.systemd.summary(),
        **node.describe(),
    )


def end_ray(module):
    """Stop or remove Ray, and end the module."""
    params = module.params
    systemd = Systemd(params["unit"], module.check_mode)
    try:
        if params["state"] == "absent":
            ray_removal.remove(systemd, params)
        else:
            ray_removal.stop(systemd, params)
    except ProtectedError as error:
        module.fail_json(msg=str(error), failed_step=PROTECTED)
    except (accounts.CommandError, UnitError, OSError) as error:
        module.fail_json(msg=f"Ray could not be stopped or removed: {error}")
    module.exit_json(
        changed=bool(systemd.actions),
        actions=systemd.actions,
        state=params["state"],
        unit=params["unit"],
        msg=systemd.summary(),
    )


if __name__ == "__main__":
    main()
