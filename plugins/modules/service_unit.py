#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Run a command as a systemd unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_unit
short_description: Bring one command to its wanted state as a systemd unit of a user's
description:
  - Writes folders, files and the unit, and starts the unit. Words of the command reach it as they are.
  - It is restarted when the unit, one of its files or its runtime changed, and started when it does not run.
options:
  name:
    description: The unit's name.
    type: str
    required: true
  description:
    description: What it is, one line.
    type: str
    required: true
  user:
    description: Who runs it; empty for the user who connects.
    type: str
    default: ""
  command:
    description: The command, a word each; the first is a path.
    type: list
    elements: str
    required: true
  stop_post:
    description: A command for when it has ended, in whatever way.
    type: list
    elements: str
    default: []
  directory:
    description: Where it runs; empty for the user's home.
    type: str
    default: ""
  environment:
    description: Its variables.
    type: dict
    default: {}
  options:
    description: Further settings of the unit's C([Service]) section.
    type: dict
    default: {}
  type:
    description: The unit's C(Type=).
    type: str
    default: exec
  runtime:
    description: A virtual environment that python_runtime made; installed anew, the service is restarted.
    type: str
    default: ""
  files:
    description: Files of root's that it needs.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is written.
        type: path
        required: true
      content:
        description: What stands in it.
        type: str
        required: true
      mode:
        description: Its permissions.
        type: str
        default: "0644"
  folders:
    description: Folders of the user's alone (0700).
    type: list
    elements: path
    default: []
  state:
    description: V(present) writes all and leaves the process alone.
    type: str
    choices: [present, started, stopped]
    default: started
  enabled:
    description: Whether it is started at boot.
    type: bool
    default: true
  host:
    description: Where it listens.
    type: str
    default: 127.0.0.1
  port:
    description: Wait until it listens there; V(0) waits for nothing.
    type: int
    default: 0
  timeout:
    description: Seconds to wait.
    type: float
    default: 60
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
- name: Serve a folder
  flambe.cluster.service_unit:
    name: my-files.service
    description: My files
    command: [/usr/bin/python3, -m, http.server, --bind, 127.0.0.1, "8000"]
    port: 8000
"""

RETURN = r"""
actions:
  description: What was done.
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
from ansible_collections.flambe.cluster.plugins.module_utils.service import Service, ServiceError
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import SystemdError


def main():
    """Run the module."""
    file_options = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
    }
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "description": {"type": "str", "required": True},
            "user": {"type": "str", "default": ""},
            "command": {"type": "list", "elements": "str", "required": True},
            "stop_post": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "str", "default": ""},
            "environment": {"type": "dict", "default": {}},
            "options": {"type": "dict", "default": {}},
            "type": {"type": "str", "default": "exec"},
            "runtime": {"type": "str", "default": ""},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file_options},
            "folders": {"type": "list", "elements": "path", "default": []},
            "state": {"type": "str", "choices": ["present", "started", "stopped"], "default": "started"},
            "enabled": {"type": "bool", "default": True},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 0},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        account = accounts.find(module.params["user"])
    except KeyError:
        module.fail_json(msg="there is no user {} on this host".format(module.params["user"]))
    service = Service(module.params, account, module.check_mode)
    try:
        service.converge()
    except (ServiceError, SystemdError) as error:
        log = service.systemd.log()
        shown = accounts.tail(log, 10)
        module.fail_json(msg="{}{}".format(error, "\n" + shown if shown else ""), output=log)
    except (OSError, ValueError) as error:
        module.fail_json(msg="{} could not be set up: {}".format(module.params["name"], error))
    module.exit_json(
        changed=bool(service.actions),
        actions=service.actions,
        diff=service.diff,
        msg="; ".join(service.actions) or "nothing to do",
    )


if __name__ == "__main__":
    main()
