#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Put single files of wheels into a folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wheel_files
short_description: Put single files out of wheels of the host's package index into a folder
description:
  - Fetches each wheel from the package index that the host's pip is configured for, checks its SHA-256, and takes the
    files out of it. Nothing is installed and none of it is run.
  - Does nothing when the files are there and came from the same wheels.
options:
  dest:
    description: The folder; it is made where it is not there.
    type: path
    required: true
  wheels:
    description: Where the files come from.
    type: list
    elements: dict
    required: true
    suboptions:
      project:
        description: The project's name on the index.
        type: str
        required: true
      filename:
        description: The wheel.
        type: str
        required: true
      sha256:
        description: The SHA-256 of the wheel.
        type: str
        required: true
      files:
        description: The names in the folder by the paths in the wheel.
        type: dict
        required: true
  user:
    description: Whose pip configuration counts; empty for the user who connects.
    type: str
    default: ""
  index_url:
    description: The package index; empty for the one that the host is configured for. May carry a password.
    type: str
    default: ""
  required:
    description: Whether it is an error that a wheel cannot be had; otherwise that is a warning.
    type: bool
    default: true
author: [the flambe-ansible contributors]
attributes:
  check_mode:
    description: Says whether files would be brought.
    support: full
"""

EXAMPLES = r"""
- name: Bring the style sheet
  flambe.cluster.wheel_files:
    dest: /opt/site/assets
    wheels:
      - project: bootstrap-flask
        filename: bootstrap_flask-2.6.0-py3-none-any.whl
        sha256: "{{ wheel_sha256 }}"
        files:
          flask_bootstrap/static/bootstrap4/css/bootstrap.min.css: bootstrap.min.css
"""

RETURN = r"""
brought:
  description: The files that were brought, or would be.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import package_index, pip_config, wheel_files

_WHEEL = {
    "project": {"type": "str", "required": True},
    "filename": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
    "files": {"type": "dict", "required": True},
}


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "wheels": {"type": "list", "elements": "dict", "required": True, "options": _WHEEL},
            "user": {"type": "str", "default": ""},
            "index_url": {"type": "str", "default": "", "no_log": True},
            "required": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    dest, wheels = module.params["dest"], module.params["wheels"]
    try:
        account = accounts.find(module.params["user"])
    except KeyError:
        module.fail_json(msg="there is no user {} on this host".format(module.params["user"]))
    options = pip_config.read(account.pw_dir, accounts.environment(account))
    module.no_log_values.update(pip_config.passwords(options))
    indexes = [module.params["index_url"]] if module.params["index_url"] else pip_config.indexes(options)
    stale = wheel_files.find_stale(dest, wheels)
    try:
        if stale and not module.check_mode:
            wheel_files.bring(dest, wheels, indexes, options)
    except package_index.PackageNotFoundError as error:
        if module.params["required"]:
            module.fail_json(msg=f"the files for {dest} cannot be had: {error}")
        module.warn(f"the files for {dest} cannot be had: {error}")
        module.exit_json(changed=False, brought=[], msg="nothing could be brought")
    except OSError as error:
        module.fail_json(msg=f"{dest} cannot be written: {error.strerror}")
    module.exit_json(
        changed=bool(stale), brought=stale, msg="brought " + ", ".join(stale) if stale else "nothing to do"
    )


if __name__ == "__main__":
    main()
