#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Read what a host offers for a Python environment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_info
short_description: Read a host's own Python, its kind, and which files for an environment it lacks
description:
  - Changes nothing.
options:
  root:
    description: The folder of the environment; interpreters below it are not the host's own.
    type: path
    required: true
  python_version:
    description: The wanted version, such as V(3.12); empty for the C(python3) on the user's PATH.
    type: str
    default: ""
  venv:
    description: A virtual environment that is described instead of the host's own Python; empty for none.
    type: str
    default: ""
  packages:
    description: The packages of O(venv) whose versions are returned.
    type: list
    elements: str
    default: []
  files:
    description: The paths to check.
    type: list
    elements: path
    default: []
  wheels:
    description: Requirements of wheels on the host, C(name @ file:///path.whl#sha256=...), that are checked, too.
    type: list
    elements: str
    default: []
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
"""

EXAMPLES = r"""
- name: Read the Python of the host
  flambe.cluster.python_info:
    root: /opt/ray
  register: python
"""

RETURN = r"""
version:
  description: The version of the interpreter, such as V(3.11.2); empty if there is none.
  type: str
  returned: success
path:
  description: The path of the interpreter.
  type: str
  returned: success
kind:
  description: >-
    The machine and the version of NVIDIA's driver, such as V(x86_64-cpu) or V(x86_64-cuda-580.65.06). Hosts of one kind
    get the same packages.
  type: str
  returned: success
machine:
  description: The machine, such as V(x86_64) or V(aarch64).
  type: str
  returned: success
packages:
  description: The version of each of O(packages), empty if it is missing.
  type: dict
  returned: success
missing:
  description: The paths of O(files) and O(wheels) that do not exist, or have another SHA-256.
  type: list
  elements: str
  returned: success
"""

import os
import platform

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import interpreters, locks, venv


def list_missing(paths, requirements):
    """List the files that do not exist, and the wheels that are missing or differ."""
    wheels = [path for path, sha256 in venv.wheels(requirements).values() if not venv.is_wheel(path, sha256)]
    return [path for path in paths if not os.path.exists(path)] + wheels


def main():
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "default": ""},
            "python_version": {"type": "str", "default": ""},
            "venv": {"type": "str", "default": ""},
            "packages": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "path", "default": []},
            "wheels": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    account = accounts.of_module(module)
    environment, packages = module.params["venv"].rstrip("/"), {}
    try:
        if environment:
            path = os.path.join(environment, "bin/python")
            version = interpreters.probe(account, path).version
            present = venv.installed(environment)
            packages = {name: present.get(venv.normalize(name), ("",))[0] for name in module.params["packages"]}
        else:
            root = module.params["root"].rstrip("/")
            found = interpreters.find_own(account, module.params["python_version"], root)
            version, path = (found.version, found.path) if found else ("", "")
    except interpreters.BrokenError as error:
        module.fail_json(msg=f"the prepared environment {environment} is missing or broken: {error}")
    except accounts.CommandError as error:
        module.fail_json(msg=str(error), output=error.output)
    module.exit_json(
        changed=False,
        version=version,
        path=path,
        kind=locks.host_kind(),
        machine=platform.machine(),
        packages=packages,
        missing=list_missing(module.params["files"], module.params["wheels"]),
    )


if __name__ == "__main__":
    main()
