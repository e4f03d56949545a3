#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Read the token of a Ray cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_token_info
short_description: Read the token of a Ray cluster from a host
description:
  - Returns the token in C(~/.ray/auth_token). Use it with C(no_log). Changes nothing.
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
"""

EXAMPLES = r"""
- name: Read the token
  flambe.cluster.ray_token_info:
  register: token
  no_log: true
"""

RETURN = r"""
token:
  description: The token.
  type: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils.ray_token import Token, TokenError


def main():
    module = AnsibleModule(argument_spec={"user": {"type": "str", "default": ""}}, supports_check_mode=True)
    account = accounts.of_module(module)
    try:
        token = Token(account).text
    except (TokenError, OSError) as error:
        module.fail_json(msg=f"the token of the cluster cannot be read: {error}")
    if not token and not module.check_mode:
        module.fail_json(msg=f"user {account.pw_name} has no token of a Ray cluster here")
    module.exit_json(changed=False, token=token)


if __name__ == "__main__":
    main()
