#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Install extensions into a runtime."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_extensions
short_description: Install folders, archives and requirements into a runtime of python_runtime
description:
  - Changes nothing for an extension whose content or requirement is unchanged and none of whose files is missing.
    A folder is built from a copy and is not modified.
  - All are installed in one resolution, compatible with the runtime's packages; flambé, Ray and torch keep their
    versions.
  - Each must be importable afterwards.
options:
  root:
    description: The folder of the runtime.
    type: path
    required: true
  environment:
    description: The environment; empty for the one of the runtime.
    type: str
    default: ""
  overlay:
    description: >-
      A folder that gets the extensions, and the packages that they require and the environment lacks; the environment
      is not changed. Processes of the environment import them with C(lib/python3.N/site-packages) of this folder on
      their PYTHONPATH. Empty to install into the environment.
    type: str
    default: ""
  packages:
    description: Module name to an absolute path, a path below C(~/), or a requirement.
    type: dict
    required: true
  requires:
    description:
      - Module name to requirements that are installed instead of what the extension requires; only with O(overlay).
    type: dict
    default: {}
  extra_index_url:
    description: An additional package index. It may contain a password.
    type: str
    default: ""
  trusted_host:
    description: A host whose certificate is not verified.
    type: str
    default: ""
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common, flambe.cluster.common.uv]
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
  description: Names of the extensions that were installed, or have to be.
  type: list
  elements: str
  returned: success
output:
  description: The installer's output.
  type: str
  returned: failure
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import host_lock, package_index, pip_config, venv
from ansible_collections.flambe.cluster.plugins.module_utils.extensions import ExtensionError, Extensions
from ansible_collections.flambe.cluster.plugins.module_utils.overlay import Overlay
from ansible_collections.flambe.cluster.plugins.module_utils.uv import ARGUMENTS


def main():
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "default": ""},
            "environment": {"type": "str", "default": ""},
            "overlay": {"type": "str", "default": ""},
            "packages": {"type": "dict", "required": True},
            "requires": {"type": "dict", "default": {}},
            "extra_index_url": {"type": "str", "default": "", "no_log": True},
            "trusted_host": {"type": "str", "default": ""},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    account = accounts.of_module(module)
    options = pip_config.read(account.pw_dir, accounts.environment(account))
    texts = [module.params["extra_index_url"], *map(str, module.params["packages"].values())]
    module.no_log_values.update(pip_config.passwords(options) + pip_config.passwords_in(texts))
    params = {**module.params, "missing_ok": module.check_mode}
    kind = Overlay if params["overlay"] else Extensions
    try:
        extensions = kind(params, account)
        complete = extensions.python if params["environment"] else os.path.join(extensions.venv, venv.MARKER)
        if not os.path.exists(complete) and not module.check_mode:
            module.fail_json(msg=f"no complete runtime in {extensions.venv}: install it with the role flambe")
        extensions.inspect()
        if extensions.todo and not module.check_mode:
            with host_lock.hold(os.path.join(extensions.root, host_lock.NAME), f"installation in {extensions.root}"):
                extensions = kind(params, account)  # an earlier installation may have ended meanwhile
                extensions.inspect()
                if extensions.todo:
                    extensions.converge()
    except ExtensionError as error:
        module.fail_json(msg=str(error), output=error.output)
    except package_index.PackageNotFoundError as error:
        module.fail_json(msg=f"this host has no uv, and fetching it failed: {error}")
    except (accounts.CommandError, OSError, host_lock.LockedError) as error:
        module.fail_json(msg=f"the extensions could not be installed: {error}")
    names = ", ".join(extensions.todo)
    done = "would install " if module.check_mode else "installed "
    message = done + names if names else "nothing to do"
    module.exit_json(changed=bool(names), installed=extensions.todo, msg=message)


if __name__ == "__main__":
    main()
