#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Write a file that only its owner can read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: private_file
short_description: Write a file with secrets that only its owner can read at any moment
description:
  - The file is written next to its path with its final mode, then moved; at no moment can others read it.
  - The content is never shown, not even in a diff.
options:
  path:
    description: The file, absolute or relative to the user's home. Its folder must exist.
    type: str
    required: true
  content:
    description: The content.
    type: str
    required: true
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
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
  description: The absolute path.
  type: str
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "content": {"type": "str", "required": True, "no_log": True},
            "user": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    account = accounts.of_module(module)
    path = os.path.join(account.pw_dir, module.params["path"])
    try:
        with accounts.acting_as(account):
            changed = files.ensure(path, module.params["content"], 0o600, dry=module.check_mode)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error.strerror}", path=path)
    module.exit_json(changed=changed, path=path, msg=f"wrote {path}" if changed else "nothing to do")


if __name__ == "__main__":
    main()
