#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Resolve Python requirements to exact versions."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_lock
short_description: Resolve Python requirements to exact versions, once for all hosts
description:
  - Resolves O(requirements) with uv for each kind of host, and records the result in O(root)C(/lock.json).
  - Nothing is resolved again while the inputs are the same, so a new release on the index changes no host.
  - A kind that is added later gets the same releases as the kinds before.
  - With O(managed) it also installs the build of Python below O(root); a version that does not exist fails here.
options:
  root:
    description: The folder of the environment.
    type: path
    required: true
  requirements:
    description: The packages, as PEP 508 requirements.
    type: list
    elements: str
    required: true
  constraints:
    description: Version limits for dependencies.
    type: list
    elements: str
    default: []
  python_version:
    description: The version of Python to resolve for, such as V(3.12).
    type: str
    required: true
  managed:
    description: Whether the Python is a build that uv installs.
    type: bool
    default: false
  reason:
    description: Why a build is installed, for messages.
    type: str
    default: ""
  kinds:
    description: The kinds of the hosts, as M(flambe.cluster.python_info) returns them.
    type: list
    elements: str
    required: true
  torch_backend:
    description: >-
      The builds of PyTorch. V(auto) is the CUDA build for the host's driver, and the CPU build on hosts without one;
      V(none) is the package index's own build; other values are those of uv's C(--torch-backend).
    type: str
    default: auto
  copies:
    description: >-
      Files of the controller that are copied to the host before: C(src), C(dest) and C(mode), as for
      M(ansible.builtin.copy).
    type: list
    elements: dict
    default: []
  index_url:
    description: The package index; empty for the one that the host is configured for. It may contain a password.
    type: str
    default: ""
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common, flambe.cluster.common.uv]
"""

EXAMPLES = r"""
- name: Resolve Ray
  flambe.cluster.python_lock:
    root: /opt/ray
    requirements: ["ray[default]==2.60.0"]
    python_version: "3.11"
    kinds: [x86_64-cpu]
    uv_version: "0.13.9"
    uv_sha256: "{{ uv_sha256 }}"
"""

RETURN = r"""
locks:
  description: The exact requirements by kind of host.
  type: dict
  returned: success
python_version:
  description: >-
    The exact version of the build, such as V(3.12.16), or O(python_version) if it is not installed in check mode; empty
    without O(managed).
  type: str
  returned: success
machine:
  description: The machine, such as V(x86_64).
  type: str
  returned: success
"""

import platform

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import locks, package_index, pip_config
from ansible_collections.flambe.cluster.plugins.module_utils.runtime import Installer
from ansible_collections.flambe.cluster.plugins.module_utils.uv import ARGUMENTS, COPIES

REMEDY = "without access to GitHub, set UV_PYTHON_INSTALL_MIRROR in /etc/environment, or use one python3 on all hosts"
TORCH_INDEX = "download.pytorch.org"
TORCH_REMEDY = "torch_backend: none takes the builds of the package index"


def install_python(module, installer, uv, version):
    """Install the build of uv and return its version, or fail the module with the reason for it and a remedy."""
    try:
        return installer.install_managed(uv, version).version
    except accounts.CommandError as error:
        reason = f"{module.params['reason']}, and " if module.params["reason"] else ""
        problem = f"Python {version} could not be installed: {error}; {REMEDY}"
        if "No download found" in error.output:
            problem = f"uv has no build of Python {version}"
        return module.fail_json(msg=f"{reason}{problem}\n{error.output}", output=error.output)


def main():
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "default": ""},
            "requirements": {"type": "list", "elements": "str", "required": True},
            "constraints": {"type": "list", "elements": "str", "default": []},
            "python_version": {"type": "str", "required": True},
            "managed": {"type": "bool", "default": False},
            "reason": {"type": "str", "default": ""},
            "kinds": {"type": "list", "elements": "str", "required": True},
            "torch_backend": {"type": "str", "default": "auto"},
            "index_url": {"type": "str", "default": "", "no_log": True},
            "copies": COPIES,
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    account = accounts.of_module(module)
    module.no_log_values.update(pip_config.passwords(pip_config.read(account.pw_dir, accounts.environment(account))))
    lock = locks.Lock(module.params)
    installer = Installer(module.params, account)
    version, reason = module.params["python_version"], module.params["reason"]
    build = installer.find_managed(version) if module.params["managed"] else None
    lacks_python = module.params["managed"] and not build
    todo = [f"install Python {version}" + (f" ({reason})" if reason else "")] if lacks_python else []
    todo += [f"resolve the packages for {', '.join(lock.todo)}"] if lock.todo else []
    message = "; ".join(todo) or "nothing to do"
    wanted = version if module.params["managed"] else ""
    found = {"locks": lock.found, "python_version": build.version if build else wanted, "machine": platform.machine()}
    if not todo or module.check_mode:
        module.exit_json(changed=bool(todo), msg=f"would {message}" if todo else message, **found)
    try:
        installer.make_folders()
        uv = installer.prepare_uv()
        if lacks_python:
            found["python_version"] = install_python(module, installer, uv, version)
        lock.resolve(uv)
    except accounts.CommandError as error:
        remedy = f"; {TORCH_REMEDY}" if TORCH_INDEX in error.output else ""
        module.fail_json(
            msg=f"the packages could not be resolved: {error}{remedy}\n{error.output}", output=error.output
        )
    except package_index.PackageNotFoundError as error:
        module.fail_json(msg=f"this host has no uv, and fetching it failed: {error}")
    except (LookupError, OSError) as error:
        module.fail_json(msg=f"the packages could not be resolved: {error}")
    module.exit_json(changed=True, msg=message, **found)


if __name__ == "__main__":
    main()
