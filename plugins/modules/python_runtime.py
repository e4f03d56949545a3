#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Bring a virtual environment with a Python of its own to a wanted content."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_runtime
short_description: Install Python packages into a virtual environment with a Python of a given version
description:
  - Makes O(root)C(/venv) with a Python of O(python_version) and installs O(requirements) under O(constraints) with uv.
  - Does nothing when the last installation finished, was of the same inputs, and no file of it is missing.
    An installation that did not finish is made again from an empty environment.
  - Once it is installed, wheels in O(root)C(/wheels) that are not among O(requirements) are removed.
  - The interpreter is one that the host has (on the PATH, pyenv's, below /opt), else the build at O(python_url).
  - The package index is the one that uv is configured for on the host, else the one of the host's pip
    (pip.conf, C(PIP_*) in /etc/environment).
options:
  root:
    description: The folder of the runtime; C(venv), C(bin), C(python) and C(tmp) are made below it.
    type: path
    required: true
  user:
    description: Whose environment it is, and who installs; empty for the user who connects.
    type: str
    default: ""
  python_version:
    description: Such as V(3.7) or V(3.12.4).
    type: str
    required: true
  python_url:
    description: >-
      An archive of python-build-standalone, used where the host has no such Python; empty for the builds that uv knows.
    type: str
    default: ""
  python_sha256:
    description: The SHA-256 of that archive.
    type: str
    default: ""
  requirements:
    description: >-
      What is installed, as PEP 508 requirements. Exact versions are asserted afterwards, also those of wheels on the
      host (C(name @ file:///path/name-1.0-py3-none-any.whl#sha256=...)).
    type: list
    elements: str
    required: true
  constraints:
    description: Limits on the versions of what comes along.
    type: list
    elements: str
    default: []
  imports:
    description: Modules that must be importable once all is installed.
    type: list
    elements: str
    default: []
  links:
    description: Commands of the environment that are linked into O(links_dir).
    type: list
    elements: str
    default: []
  links_dir:
    description: A folder on everybody's PATH.
    type: path
    default: /usr/local/bin
  index_url:
    description: The package index; empty for the one that the host is configured for. May carry a password.
    type: str
    default: ""
  uv:
    description: >-
      A uv on the host; when it is not there yet, nothing is done and RV(uv_missing) says so.
      Empty for the one on the user's PATH, else one fetched from the package index.
    type: str
    default: ""
  wheel:
    description: >-
      The path of a wheel among O(requirements); when it is not on the host yet, or has another SHA-256, nothing is done
      and RV(wheel_missing) says so.
    type: str
    default: ""
  uv_version:
    description: The uv that is fetched.
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
- name: Install Ray
  flambe.cluster.python_runtime:
    root: /opt/ray
    python_version: "3.11"
    requirements: [ray==2.52.0]
    uv_version: "0.13.9"
    uv_sha256: "{{ uv_sha256 }}"
"""

RETURN = r"""
todo:
  description: Why something was done, or has to be; empty when all is as it should be.
  type: list
  elements: str
  returned: success
uv_missing:
  description: Whether nothing was done because O(uv) is not there.
  type: bool
  returned: success
wheel_missing:
  description: Whether nothing was done because O(wheel) is not there.
  type: bool
  returned: success
python:
  description: The interpreter that the environment was made from.
  type: str
  returned: when something was installed
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import package_index, pip_config
from ansible_collections.flambe.cluster.plugins.module_utils import uv as uvs
from ansible_collections.flambe.cluster.plugins.module_utils.runtime import Runtime


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "default": ""},
            "python_version": {"type": "str", "required": True},
            "python_url": {"type": "str", "default": ""},
            "python_sha256": {"type": "str", "default": ""},
            "requirements": {"type": "list", "elements": "str", "required": True},
            "constraints": {"type": "list", "elements": "str", "default": []},
            "imports": {"type": "list", "elements": "str", "default": []},
            "links": {"type": "list", "elements": "str", "default": []},
            "links_dir": {"type": "path", "default": "/usr/local/bin"},
            "index_url": {"type": "str", "default": "", "no_log": True},
            "uv": {"type": "str", "default": ""},
            "wheel": {"type": "str", "default": ""},
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
    module.no_log_values.update(pip_config.passwords(pip_config.read(account.pw_dir, accounts.environment(account))))
    runtime = Runtime(module.params, account)
    runtime.inspect()
    there = {"uv_missing": False, "wheel_missing": False}
    if not runtime.todo:
        module.exit_json(changed=False, todo=[], msg="nothing to do", **there)
    todo = "; ".join(runtime.todo)
    if module.check_mode:
        module.exit_json(changed=True, todo=runtime.todo, msg=f"would {todo}", **there)
    missing = {"uv_missing": runtime.missing_uv(), "wheel_missing": runtime.missing_wheel()}
    if any(missing.values()):
        needed = " and ".join(name[: -len("_missing")] for name, lacks in missing.items() if lacks)
        module.exit_json(changed=False, todo=runtime.todo, msg=f"needs {needed} to {todo}", **missing)
    try:
        python = runtime.converge()
    except uvs.UvError as error:
        module.fail_json(
            msg=f"the runtime in {runtime.venv} could not be installed: {error}\n{error.output}",
            command=error.command,
            output=error.output,
        )
    except package_index.PackageNotFoundError as error:
        module.fail_json(msg=f"this host has no uv, and none could be fetched: {error}")
    except (LookupError, OSError) as error:
        module.fail_json(msg=f"the runtime in {runtime.venv} could not be installed: {error}")
    module.exit_json(changed=True, todo=runtime.todo, python=python, msg=todo, **there)


if __name__ == "__main__":
    main()
