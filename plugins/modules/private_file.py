#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Write a file that only its owner may read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: private_file
short_description: Write a file with secrets that nobody but its owner can read at any moment
description:
  - The file is written beside its place with its final mode, then moved there; at no moment could others read it.
  - Never shows its content, not in a diff either.
options:
  path:
    description: The file, absolute or relative to the user's home. Its folder must exist.
    type: str
    required: true
  content:
    description: What stands in it.
    type: str
    required: true
  user:
    description: Whose file it is; empty for the user who connects.
    type: str
    default: ""
author: [the flambe-ansible contributors]
attributes:
  check_mode:
    description: Says whether the file would change.
    support: full
"""

EXAMPLES = r"""
- name: Write the token
  flambe.cluster.private_file:
    path: token
    content: "{{ lookup('ansible.builtin.file', '~/token') }}"
  no_log: true
"""

RETURN = r"""
path:
  description: Where it is.
  type: str
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "content": {"type": "str", "required": True, "no_log": True},
            "user": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        account = accounts.find(module.params["user"])
    except KeyError:
        module.fail_json(msg="there is no user {} on this host".format(module.params["user"]))
    path = os.path.join(account.pw_dir, module.params["path"])
    try:
        with accounts.acting_as(account):
            changed = files.ensure(path, module.params["content"], 0o600, dry=module.check_mode)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error.strerror}", path=path)
    module.exit_json(changed=changed, path=path, msg=f"wrote {path}" if changed else "nothing to do")


if __name__ == "__main__":
    main()
