#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Install and configure a container engine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_engine
short_description: Install and configure Docker, the container engine
description:
  - Installs the engine of the distribution unless the host has one, merges its settings, and enables and starts it.
  - Adds the user to the engine's group, and logs in to registries.
  - Prepares NVIDIA's runtime if the host has an NVIDIA GPU.
options:
  packages:
    description: The packages to install if the host has no engine; empty for those of the distribution.
    type: list
    elements: str
    default: []
  settings:
    description: Settings that are merged into C(/etc/docker/daemon.json); other settings in the file are kept.
    type: dict
    default: {}
  log_max_size:
    description: The size at which the log of a container is rotated, such as V(50m); empty leaves logs alone.
    type: str
    default: ""
  log_max_files:
    description: How many files of a container's log are kept.
    type: int
    default: 5
  nvidia:
    description: Whether to prepare NVIDIA's runtime if the host has an NVIDIA GPU.
    type: bool
    default: true
  logins:
    description: The registries to log in to as the user.
    type: list
    elements: dict
    default: []
    suboptions:
      registry:
        description: The host of the registry, with its port if it has one; empty for Docker Hub.
        type: str
        default: ""
      username:
        description: The user name.
        type: str
        required: true
      password:
        description: The password or token.
        type: str
        required: true
  disk_mb:
    description: The free disk space in MB that an installation needs.
    type: int
    default: 0
  timeout:
    description: Time limit in seconds of each command that installs packages.
    type: float
    default: 1800
  timeout_setting:
    description: The name of the variable that sets O(timeout), for messages.
    type: str
    default: timeout
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
attributes:
  diff_mode:
    description: Shows the settings that change.
    support: full
"""

EXAMPLES = r"""
- name: Install a container engine
  flambe.cluster.container_engine:
    log_max_size: 50m
"""

RETURN = r"""
unit:
  description: The unit of the engine.
  type: str
  returned: success
nvidia:
  description: Whether containers can use the NVIDIA GPUs of the host.
  type: bool
  returned: success
actions:
  description: What was done; the message is a summary of it.
  type: list
  elements: str
  returned: success
output:
  description: The end of the output of the command that failed, or of the engine's journal.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils.container_engine import UNIT, Engine, EngineError
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import UnitError


def main():
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "packages": {"type": "list", "elements": "str", "default": []},
            "settings": {"type": "dict", "default": {}},
            "log_max_size": {"type": "str", "default": ""},
            "log_max_files": {"type": "int", "default": 5},
            "nvidia": {"type": "bool", "default": True},
            "logins": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "registry": {"type": "str", "default": ""},
                    "username": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                },
            },
            "disk_mb": {"type": "int", "default": 0},
            "timeout": {"type": "float", "default": 1800},
            "timeout_setting": {"type": "str", "default": "timeout"},
        },
        supports_check_mode=True,
    )
    engine = Engine(module.params, accounts.of_module(module), module.check_mode)
    try:
        engine.converge()
    except (EngineError, accounts.CommandError) as error:
        module.fail_json(msg=str(error), output=error.output)
    except (OSError, UnitError) as error:
        module.fail_json(msg=f"the container engine cannot be configured: {error}", output="")
    for text in engine.warnings:
        module.warn(text)
    actions = engine.unit.actions
    facts = {"unit": UNIT, "nvidia": engine.has_nvidia}
    module.exit_json(changed=bool(actions), actions=actions, diff=engine.diff, msg=engine.summary, **facts)


if __name__ == "__main__":
    main()
