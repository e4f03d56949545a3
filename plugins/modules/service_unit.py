#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Run a command as a systemd unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_unit
short_description: Run a command as a systemd unit of a user
description:
  - Writes folders, files and the unit, and starts the unit. The words of the command are passed unchanged.
  - It is restarted if the unit, one of its files or its runtime changed, and started if it does not run. A restart that
    an earlier run did not reach is repeated.
  - The unit reads /etc/environment, except C(PYTHONPATH) and C(PYTHONHOME).
options:
  name:
    description: The unit's name.
    type: str
    required: true
  description:
    description: One line that describes it.
    type: str
    required: true
  command:
    description:
      - The words of the command; the first is a path.
      - In them, in O(stop_post) and in the contents of O(files), C(@PYTHON@) is replaced by the path of the Python that
        runs this module; in files it is quoted for a shell.
    type: list
    elements: str
    required: true
  stop_post:
    description: A command that runs after it has ended for any reason.
    type: list
    elements: str
    default: []
  directory:
    description: The working directory; empty for the user's home.
    type: str
    default: ""
  environment:
    description: Environment variables.
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
    description: A virtual environment of python_runtime; the service is restarted after a new installation.
    type: str
    default: ""
  files:
    description: Files that it needs, owned by root.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path.
        type: path
        required: true
      content:
        description: The content.
        type: str
        required: true
      mode:
        description: Its permissions.
        type: str
        default: "0644"
  folders:
    description: Folders that only the user can access (0700).
    type: list
    elements: path
    default: []
  state:
    description: V(present) writes everything and does not touch the process.
    type: str
    choices: [present, started, stopped]
    default: started
  enabled:
    description: Whether it is started at boot.
    type: bool
    default: true
  host:
    description: The address on which it listens.
    type: str
    default: 127.0.0.1
  port:
    description: Wait until it listens on this port; V(0) to not wait.
    type: int
    default: 0
  timeout:
    description: Seconds to wait.
    type: float
    default: 60
  timeout_setting:
    description: The name of the variable that sets O(timeout), for messages.
    type: str
    default: timeout
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
attributes:
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
unit:
  description: The unit's name.
  type: str
  returned: success
host:
  description: The address on which it listens.
  type: str
  returned: success
port:
  description: The port on which it listens; V(0) for none.
  type: int
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
from ansible_collections.flambe.cluster.plugins.module_utils.service import Service
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import UnitError


def main():
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
            "timeout_setting": {"type": "str", "default": "timeout"},
        },
        supports_check_mode=True,
    )
    service = Service(module.params, accounts.of_module(module), module.check_mode)
    unit = service.systemd
    try:
        service.converge()
    except UnitError as error:
        unit.fail(module, str(error))
    except (OSError, ValueError) as error:
        module.fail_json(msg="{} could not be set up: {}".format(module.params["name"], error))
    facts = {"unit": module.params["name"], "host": module.params["host"], "port": module.params["port"]}
    module.exit_json(changed=bool(unit.actions), actions=unit.actions, diff=unit.diff, msg=unit.summary(), **facts)


if __name__ == "__main__":
    main()
