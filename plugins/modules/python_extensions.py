#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Install extensions into a runtime."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_extensions
short_description: Install folders, archives and requirements into a runtime that python_runtime made
description:
  - Does nothing for an extension whose content, or requirement, is the one that was installed last, and of which no
    file is missing. A folder is built from a copy; it stays as it is.
  - All are installed together and must fit the runtime's own packages; flambé, Ray and torch keep their versions.
  - Each must be importable afterwards.
options:
  root:
    description: The folder of the runtime.
    type: path
    required: true
  user:
    description: Whose runtime it is; empty for the user who connects.
    type: str
    default: ""
  packages:
    description: What is installed, by the name of the module; an absolute path, one below C(~/), or a requirement.
    type: dict
    required: true
  extra_index_url:
    description: A package index that is asked beside those that the host is configured for. May carry a password.
    type: str
    default: ""
  trusted_host:
    description: A host whose certificate is not checked.
    type: str
    default: ""
  uv:
    description: A uv on the host.
    type: str
    default: ""
  uv_version:
    description: The uv that is fetched where the host has none.
    type: str
    required: true
  uv_sha256:
    description: The SHA-256 of its wheel for Linux on x86_64.
    type: str
    required: true
  timeout:
    description: Seconds that each command of uv may take.
    type: float
    default: 1800
author: [the flambe-ansible contributors]
attributes:
  check_mode:
    description: Says what would be done.
    support: full
"""

EXAMPLES = r"""
- name: Install an extension that is on the host
  flambe.cluster.python_extensions:
    root: /opt/flambe
    packages:
      topics: ~/extensions/topics
      nltk_data: nltk-data==0.1
    uv_version: "0.13.9"
    uv_sha256: "{{ uv_sha256 }}"
"""

RETURN = r"""
installed:
  description: Names of those that were installed, or have to be.
  type: list
  elements: str
  returned: success
output:
  description: What the installer said.
  type: str
  returned: failure
"""

import os
from urllib.parse import unquote, urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import package_index, pip_config, venv
from ansible_collections.flambe.cluster.plugins.module_utils import uv as uvs
from ansible_collections.flambe.cluster.plugins.module_utils.extensions import ExtensionError, Extensions


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "default": ""},
            "packages": {"type": "dict", "required": True},
            "extra_index_url": {"type": "str", "default": "", "no_log": True},
            "trusted_host": {"type": "str", "default": ""},
            "uv": {"type": "str", "default": ""},
            "uv_version": {"type": "str", "required": True},
            "uv_sha256": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 1800},
        },
        supports_check_mode=True,
    )
    try:
        account = accounts.find(module.params["user"])
    except KeyError:
        module.fail_json(msg="there is no user {} on this host".format(module.params["user"]))
    module.no_log_values.update(find_secrets(module.params, account))
    params = {**module.params, "missing_ok": module.check_mode}
    try:
        extensions = Extensions(params, account)
        if not os.path.exists(os.path.join(extensions.venv, venv.MARKER)) and not module.check_mode:
            module.fail_json(msg=f"there is no finished runtime in {extensions.venv}")
        extensions.inspect()
        if extensions.todo and not module.check_mode:
            extensions.converge()
    except ExtensionError as error:
        module.fail_json(msg=str(error), output=error.output)
    except package_index.PackageNotFoundError as error:
        module.fail_json(msg=f"this host has no uv, and none could be fetched: {error}")
    except (uvs.UvError, OSError) as error:
        module.fail_json(msg=f"the extensions could not be installed: {error}")
    names = ", ".join(extensions.todo)
    done = "would install " if module.check_mode else "installed "
    module.exit_json(
        changed=bool(extensions.todo), installed=extensions.todo, msg=done + names if names else "nothing to do"
    )


def find_secrets(params, account):
    """List the passwords that could stand in a message: the indexes' and those of the packages' URLs."""
    options = pip_config.read(account.pw_dir, accounts.environment(account))
    found = set(pip_config.passwords({**options, "extra-index-url": params["extra_index_url"]}))
    found.update(pip_config.passwords(options))
    for value in map(str, params["packages"].values()):
        for word in value.split():
            try:
                password = urlsplit(word).password
            except ValueError:
                password = None
            if password:
                found.update({password, unquote(password)})
    return found


if __name__ == "__main__":
    main()
