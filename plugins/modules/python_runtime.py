#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Install Python packages into a virtual environment with a dedicated Python."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_runtime
short_description: Install Python packages into a virtual environment with a Python of a given version
description:
  - Creates O(root)C(/venv) with a Python of O(python_version), and installs O(requirements) under O(constraints)
    with uv.
  - Changes nothing if the last installation completed with the same inputs, its Python starts and finds O(imports), and
    none of the packages and their files is missing or empty. An installation that was interrupted, or whose Python does
    not start, is repeated from an empty environment.
  - An installation ends with the session that runs the module. A later one waits until it has ended.
  - After an installation, wheels in O(root)C(/wheels) that are not among O(requirements) are removed.
  - The interpreter is one that the host has (on the PATH, in pyenv, below /opt), else the build at O(python_url).
  - The package index is the one that uv is configured for on the host, else the one of the host's pip
    (pip.conf, C(PIP_*) in /etc/environment).
  - C(PYTHONPATH) and C(PYTHONHOME) of /etc/environment are ignored.
options:
  root:
    description: The folder of the runtime; C(venv), C(bin), C(python) and C(tmp) are created below it.
    type: path
    required: true
  python_version:
    description: Such as V(3.7) or V(3.12.4).
    type: str
    required: true
  python:
    description: >-
      The path of the interpreter for a new environment, or V(managed) for a build that uv installs below O(root). Empty
      to search for one.
    type: str
    default: ""
  python_url:
    description: >-
      An archive of python-build-standalone for hosts without such a Python; empty for the builds that uv offers.
    type: str
    default: ""
  python_sha256:
    description: The SHA-256 of that archive.
    type: str
    default: ""
  requirements:
    description: >-
      The packages, as PEP 508 requirements. Exact versions are verified afterwards, including those of wheels on the
      host (C(name @ file:///path/name-1.0-py3-none-any.whl#sha256=...)).
    type: list
    elements: str
    required: true
  constraints:
    description: Version limits for dependencies.
    type: list
    elements: str
    default: []
  imports:
    description: Modules that must be importable after the installation.
    type: list
    elements: str
    default: []
  exact:
    description: >-
      Whether O(requirements) are all packages with exact versions, as C(python_lock) returns them; other packages are
      then removed from the environment.
    type: bool
    default: false
  resolved:
    description: With O(exact), V(false) is for check mode before O(requirements) are resolved.
    type: bool
    default: true
  torch_backend:
    description: The builds of PyTorch with O(exact), as for M(flambe.cluster.python_lock).
    type: str
    default: none
  links:
    description: >-
      Commands of the environment that are linked into O(links_dir). Names that the environment does not have are not
      linked.
    type: list
    elements: str
    default: []
  replace_links:
    description: >-
      Whether links to commands of another environment are replaced. By default the environment that was linked first
      keeps them, until it no longer has the command.
    type: bool
    default: false
  links_dir:
    description: A folder on the PATH of all users.
    type: path
    default: /usr/local/bin
  copies:
    description: >-
      Files of the controller that are copied to the host before: C(src), C(dest) and C(mode), as for
      M(ansible.builtin.copy).
    type: list
    elements: dict
    default: []
  copies_source:
    description: >-
      The host of the play from which this host copies files of the controller, with the cluster's key. Empty for the
      controller itself.
    type: str
    default: ""
  index_url:
    description: The package index; empty for the one that the host is configured for. It may contain a password.
    type: str
    default: ""
  uv:
    description: >-
      The path of uv on the host. If it is needed and missing, and there is no O(uv_src), nothing is changed and
      RV(uv_missing) is true.
      Empty for the uv on the user's PATH, else one fetched from the package index.
    type: str
    default: ""
  wheel:
    description: >-
      The path of a wheel among O(requirements). If it is needed and missing, or has another SHA-256, and there is no
      O(wheel_src), nothing is changed and RV(wheel_missing) is true.
    type: str
    default: ""
  uv_src:
    description: The path of uv on the controller, from where it is copied to O(uv) if it is needed there and missing.
    type: str
    default: ""
  wheel_src:
    description: The path of the wheel on the controller, from where it is copied to O(wheel) in the same way.
    type: str
    default: ""
  unless_active:
    description: A systemd unit that uses the environment. While it runs, the module fails instead of changing anything.
    type: str
    default: ""
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common, flambe.cluster.common.uv]
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
venv:
  description: The path of the environment.
  type: str
  returned: success
todo:
  description: What was done, or has to be done; empty if the runtime is up to date.
  type: list
  elements: str
  returned: success
uv_missing:
  description: Whether nothing was changed because O(uv) is missing.
  type: bool
  returned: success
wheel_missing:
  description: Whether nothing was changed because O(wheel) is missing.
  type: bool
  returned: success
kept_links:
  description: The links of O(links) that lead to another environment and were kept, with their targets.
  type: dict
  returned: success
failed_step:
  description: >-
    What failed, C(python) (getting an interpreter), C(packages), or C(protected) (the unit of O(unless_active) runs).
  type: str
  returned: when the installation failed
python:
  description: The interpreter that the environment is based on.
  type: str
  returned: when something was installed
python_version:
  description: The version of the environment's Python, such as V(3.11.2); empty if nothing is installed.
  type: str
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, host_lock, package_index, pip_config, systemd
from ansible_collections.flambe.cluster.plugins.module_utils.runtime import Runtime
from ansible_collections.flambe.cluster.plugins.module_utils.uv import ARGUMENTS, COPIES

OPTIONS = {
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "default": ""},
    "python_version": {"type": "str", "required": True},
    "python": {"type": "str", "default": ""},
    "python_url": {"type": "str", "default": ""},
    "python_sha256": {"type": "str", "default": ""},
    "requirements": {"type": "list", "elements": "str", "required": True},
    "constraints": {"type": "list", "elements": "str", "default": []},
    "imports": {"type": "list", "elements": "str", "default": []},
    "exact": {"type": "bool", "default": False},
    "resolved": {"type": "bool", "default": True},
    "torch_backend": {"type": "str", "default": "none"},
    "links": {"type": "list", "elements": "str", "default": []},
    "replace_links": {"type": "bool", "default": False},
    "links_dir": {"type": "path", "default": "/usr/local/bin"},
    "index_url": {"type": "str", "default": "", "no_log": True},
    "wheel": {"type": "str", "default": ""},
    "uv_src": {"type": "str", "default": ""},  # for the action
    "wheel_src": {"type": "str", "default": ""},
    "unless_active": {"type": "str", "default": ""},
    "copies": COPIES,
    "copies_source": {"type": "str", "default": ""},  # for the action
    **ARGUMENTS,
}


def install(module, runtime):
    """Install what is missing and return the interpreter, or fail the module with the reason."""
    try:
        files.ensure_folder(runtime.root, 0o755)
        with host_lock.hold(os.path.join(runtime.root, host_lock.NAME), f"installation in {runtime.root}"):
            runtime.inspect()  # an earlier installation may have ended meanwhile
            return runtime.converge()
    except accounts.CommandError as error:
        return module.fail_json(
            msg=f"the runtime in {runtime.venv} could not be installed: {error}\n{error.output}",
            command=error.command,
            output=error.output,
            failed_step=runtime.step,
        )
    except package_index.PackageNotFoundError as error:
        return module.fail_json(msg=f"this host has no uv, and fetching it failed: {error}")
    except (LookupError, OSError, host_lock.LockedError) as error:
        return module.fail_json(
            msg=f"the runtime in {runtime.venv} could not be installed: {error}", failed_step=runtime.step
        )


def main():
    module = AnsibleModule(
        argument_spec=OPTIONS,
        supports_check_mode=True,
    )
    account = accounts.of_module(module)
    if module.params["exact"] and not module.params["resolved"] and not module.check_mode:
        module.fail_json(msg="exact is set with requirements that are not resolved")
    module.no_log_values.update(pip_config.passwords(pip_config.read(account.pw_dir, accounts.environment(account))))
    runtime = Runtime(module.params, account)
    try:
        runtime.inspect()
    except accounts.CommandTimeoutError as error:
        module.fail_json(msg=f"the Python of {runtime.venv} does not answer: {error}", output=error.output)
    there = {
        "venv": runtime.venv,
        "todo": runtime.todo,
        "uv_missing": False,
        "wheel_missing": False,
        "python_version": runtime.version,
        "kept_links": runtime.kept_links(),
    }
    todo = "; ".join(runtime.todo)
    if not todo:
        module.exit_json(changed=False, msg="nothing to do", **there)
    unit = module.params["unless_active"]
    if unit and systemd.Systemd(unit).show().get("ActiveState") == "active":
        error = systemd.ProtectedError(unit, runtime.describe_change())
        module.fail_json(msg=str(error), failed_step=systemd.PROTECTED)
    if module.check_mode:
        module.exit_json(changed=True, msg=f"would {todo}", **there)
    missing = {"uv": runtime.missing_uv(), "wheel": runtime.missing_wheel()}
    if any(missing.values()):
        there.update({f"{name}_missing": lacks for name, lacks in missing.items()})
        needed = " and ".join(name for name, lacks in missing.items() if lacks)
        module.exit_json(changed=False, msg=f"needs {needed} to {todo}", **there)
    python = install(module, runtime)
    there["python_version"] = runtime.version
    module.exit_json(changed=True, python=python, msg=todo, **there)


if __name__ == "__main__":
    main()
