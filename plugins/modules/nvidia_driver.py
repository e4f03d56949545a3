#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Check or install NVIDIA's driver, and keep it loaded."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_driver
short_description: Check or install NVIDIA's driver, and keep it loaded
description:
  - Does nothing on a host without an NVIDIA GPU.
  - Fails in one line if the GPUs cannot be used, with the reason and the remedy.
  - Turns persistence mode on, so that the driver stays loaded. Without it the start of each program takes 1 to 3
    seconds longer for each GPU. The division of GPUs (MIG) is not changed.
options:
  driver:
    description: >-
      V(require) fails if there is no driver, V(install) installs it from the distribution, V(ignore) does nothing.
    type: str
    choices: [require, install, ignore]
    default: require
  packages:
    description: >-
      The packages of the driver; empty for those of this collection for Debian and Ubuntu. C({kernel}) stands for the
      release of the running kernel.
    type: list
    elements: str
    default: []
  persistence:
    description: Whether persistence mode is turned on.
    type: bool
    default: true
  timeout:
    description: Time limit of the installation, in seconds.
    type: float
    default: 1800
author: [The flambe-ansible contributors (@flambe-ansible)]
attributes:
  check_mode:
    description: Reports what would be done.
    support: full
"""

EXAMPLES = r"""
- name: Install the driver if there is none
  flambe.cluster.nvidia_driver:
    driver: install
"""

RETURN = r"""
state:
  description: V(ok) or V(none); in check mode V(no_driver) before an installation. Empty if the GPUs are ignored.
  type: str
  returned: success
gpus:
  description: Each GPU with C(index), C(name), C(uuid), C(memory) in MiB, C(driver), C(capability), C(mig).
  type: list
  elements: dict
  returned: success
actions:
  description: What was done; the message is a summary of it.
  type: list
  elements: str
  returned: success
output:
  description: The last lines of the command that failed.
  type: str
  returned: failure of a command
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils.nvidia_driver import Driver, DriverError


def main():
    module = AnsibleModule(
        argument_spec={
            "driver": {"type": "str", "choices": ["require", "install", "ignore"], "default": "require"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "persistence": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 1800},
        },
        supports_check_mode=True,
    )
    if module.params["driver"] == "ignore":
        module.exit_json(changed=False, state="", gpus=[], actions=[], msg="the GPUs are ignored")
    driver = Driver(module.params, module.check_mode)
    try:
        facts = driver.converge()
    except DriverError as error:
        module.fail_json(msg=str(error))
    except accounts.CommandError as error:
        module.fail_json(msg=f"NVIDIA's driver could not be installed: {error}", output=error.output)
    for warning in driver.warnings:
        module.warn(warning)
    module.exit_json(
        changed=bool(driver.actions),
        state=facts["state"],
        gpus=facts["gpus"],
        actions=driver.actions,
        msg="; ".join(driver.actions) or "nothing to do",
    )


if __name__ == "__main__":
    main()
