#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Check the variables of a role of this collection; an action plugin on the controller does it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_variables
short_description: Check the variables of a role of this collection
description:
  - Fails with one line per variable whose value is wrong, with the value and with what is expected.
  - Warns about variables that are set by a former name.
  - The modules with which most roles begin do the same. This one is for roles that need their variables before.
options: {}
author: [The flambe-ansible contributors (@flambe-ansible)]
attributes:
  check_mode:
    description: Nothing is changed.
    support: full
"""

EXAMPLES = r"""
- name: Check the variables
  flambe.cluster.check_variables:
"""

RETURN = r"""#"""

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
