#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Extract single files from wheels into a folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wheel_files
short_description: Extract single files from wheels of the host's package index into a folder
description:
  - Fetches each wheel from the package index that the host's pip is configured for, verifies its SHA-256, and extracts
    the files. Nothing is installed or executed.
  - Changes nothing if the files exist and came from the same wheels.
options:
  dest:
    description: The folder; created if missing.
    type: path
    required: true
  wheels:
    description: The wheels to extract files from.
    type: list
    elements: dict
    required: true
    suboptions:
      project:
        description: The project's name on the index.
        type: str
        required: true
      filename:
        description: The file name of the wheel.
        type: str
        required: true
      sha256:
        description: The SHA-256 of the wheel.
        type: str
        required: true
      files:
        description: Path in the wheel to name in the folder.
        type: dict
        required: true
  user:
    description: The user whose pip configuration is used; empty for the connecting user.
    type: str
    default: ""
  index_url:
    description: The package index; empty for the one that the host is configured for. It may contain a password.
    type: str
    default: ""
  required:
    description: Whether a wheel that cannot be fetched is an error; otherwise it is a warning.
    type: bool
    default: true
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
"""

EXAMPLES = r"""
- name: Extract the style sheet
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
  description: The files that were written, or would be.
  type: list
  elements: str
  returned: success
"""

import io
import os
import zipfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, package_index, pip_config

MARKER = ".wheels.json"
_WHEEL = {
    "project": {"type": "str", "required": True},
    "filename": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
    "files": {"type": "dict", "required": True},
}


def main():
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
    account = accounts.of_module(module)
    options = pip_config.read(account.pw_dir, accounts.environment(account))
    module.no_log_values.update(pip_config.passwords(options))
    indexes = [module.params["index_url"]] if module.params["index_url"] else pip_config.indexes(options)
    stale = find_stale(dest, wheels)
    try:
        if stale and not module.check_mode:
            extract(dest, wheels, indexes, options)
    except package_index.PackageNotFoundError as error:
        if module.params["required"]:
            module.fail_json(msg=f"the files for {dest} could not be fetched: {error}")
        module.warn(f"the files for {dest} could not be fetched: {error}")
        module.exit_json(changed=False, brought=[], msg="nothing was written")
    except OSError as error:
        module.fail_json(msg=f"{dest} cannot be written: {error.strerror}")
    done = "write " + accounts.count(len(stale), "file") if stale else "nothing to do"
    module.exit_json(changed=bool(stale), brought=stale, msg=done)


def find_stale(dest, wheels):
    """List the files that are missing, or all files if they came from other wheels."""
    names = sorted(name for wheel in wheels for name in wheel["files"].values())
    if files.read(os.path.join(dest, MARKER)) != files.digest(wheels) + "\n":
        return names
    return [name for name in names if not os.path.isfile(os.path.join(dest, name))]


def extract(dest, wheels, indexes, options):
    """Fetch the wheels and write their files; raises PackageNotFoundError if one lacks a file, too."""
    found = {}
    for wheel in wheels:
        content = package_index.fetch(indexes, wheel["project"], wheel["filename"], wheel["sha256"], options)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member, name in wheel["files"].items():
                try:
                    found[name] = archive.read(member)
                except KeyError:
                    missing = "{} does not contain {}".format(wheel["filename"], member)
                    raise package_index.PackageNotFoundError(missing) from None
    files.ensure_folder(dest, 0o755)
    for name, content in found.items():
        files.write(os.path.join(dest, name), content, 0o644)
    files.write(os.path.join(dest, MARKER), files.digest(wheels) + "\n", 0o644)


if __name__ == "__main__":
    main()
