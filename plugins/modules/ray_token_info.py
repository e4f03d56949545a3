#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Read the token of a Ray cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_token_info
short_description: Read the token of a Ray cluster from a host
description:
  - Returns the token in C(~/.ray/auth_token). Use it with C(no_log). Changes nothing.
options:
  required:
    description: Whether it is an error if there is no token. If it is none, a wrong O(user) is left to the next module.
    type: bool
    default: true
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
  description: The token; empty if there is none.
  type: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils.ray_token import Token, TokenError


def main():
    module = AnsibleModule(
        argument_spec={"user": {"type": "str", "default": ""}, "required": {"type": "bool", "default": True}},
        supports_check_mode=True,
    )
    account = find_account(module)
    try:
        token = Token(account).text
    except (TokenError, OSError) as error:
        module.fail_json(msg=f"the token of the cluster cannot be read: {error}")
    if not token and module.params["required"] and not module.check_mode:
        module.fail_json(msg=f"user {account.pw_name} has no token of a Ray cluster here")
    module.exit_json(changed=False, token=token)


def find_account(module):
    """Find the user's account; end the module without a token if it does not exist and no token is required."""
    if not module.params["required"]:
        try:
            return accounts.find(module.params["user"])
        except KeyError:
            module.exit_json(changed=False, token="")
    return accounts.of_module(module)


if __name__ == "__main__":
    main()
