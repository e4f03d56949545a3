#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Copy a file from another host of the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_file
short_description: Copy a file from another host of the cluster
description:
  - Reads the file over SSH as O(user) with the cluster's key, which role P(flambe.cluster.cluster_keys#role)
    distributed, and writes it as root. The other host's key must be known.
  - If there is no file with this SHA-256 within O(timeout), nothing is changed and RV(copied) is false.
options:
  source:
    description: The other host, by its name in the inventory.
    type: str
    required: true
  path:
    description: The absolute path of the file, the same on both hosts.
    type: path
    required: true
  sha256:
    description: The SHA-256 of the file.
    type: str
    required: true
  mode:
    description: The mode of the file, such as V(0755).
    type: str
    required: true
  timeout:
    description: How long the file is waited for, in seconds.
    type: float
    default: 10
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
"""

EXAMPLES = r"""
- name: Copy uv from the first host
  flambe.cluster.cluster_file:
    source: "{{ ansible_play_hosts | first }}"
    path: /usr/local/lib/flambe-uv
    sha256: "{{ uv_sha256 }}"
    mode: "0755"
"""

RETURN = r"""
copied:
  description: Whether the host has the file.
  type: bool
  returned: success
has_key:
  description: Whether the host has the cluster's key.
  type: bool
  returned: success
reason:
  description: Why the file was not copied, or an empty string.
  type: str
  returned: success
"""

import hashlib
import os
import random
import shlex
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, files

COPY_SECONDS = 900
OPTIONS = {
    "BatchMode": "yes",
    "IdentitiesOnly": "yes",
    "StrictHostKeyChecking": "yes",
    "ForwardAgent": "no",
    "ClearAllForwardings": "yes",
}


def main():
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "source": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "sha256": {"type": "str", "required": True},
            "mode": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    account = accounts.of_module(module)
    path, mode = module.params["path"], int(module.params["mode"], 8)
    has_key = os.access(os.path.join(account.pw_dir, cluster_ssh.PRIVATE_KEY), os.R_OK)
    if is_right(path, module.params["sha256"], mode):
        module.exit_json(changed=False, copied=True, has_key=has_key, reason="", msg="nothing to do")
    if not has_key or module.check_mode:
        reason = "" if has_key else f"{account.pw_name} has no {cluster_ssh.PRIVATE_KEY}"
        message = f"would copy {path}" if has_key else "nothing to do"
        module.exit_json(changed=has_key, copied=has_key, has_key=has_key, reason=reason, msg=message)
    try:
        files.ensure_folder(os.path.dirname(path), 0o755)
        content, reason = wait_for(account, module.params)
        if content is not None:
            files.write(path, content, mode)
    except (OSError, accounts.CommandError) as error:
        content, reason = None, str(error)
    copied = content is not None
    message = f"copy {path} from {module.params['source']}" if copied else f"nothing was copied: {reason}"
    module.exit_json(changed=copied, copied=copied, has_key=True, reason=reason, msg=message)


def is_right(path, sha256, mode):
    """Return whether a file has this content and mode, and belongs to root."""
    try:
        with open(path, "rb") as file:
            same = hashlib.sha256(file.read()).hexdigest() == sha256
            return same and files.mode_of(path) == mode and os.fstat(file.fileno()).st_uid == os.geteuid()
    except OSError:
        return False


def wait_for(account, params):
    """Read the file of the other host; return (content, ""), or (None, reason) if it is not there in time.

    An sshd with many connections at once refuses some: they are repeated after pauses of different lengths.
    """
    deadline = time.monotonic() + params["timeout"]
    while True:
        content, reason = read(account, params["source"], params["path"])
        if content is not None and hashlib.sha256(content).hexdigest() == params["sha256"]:
            return content, ""
        if time.monotonic() >= deadline:
            return None, reason or f"{params['source']} has another {params['path']}"
        time.sleep(random.uniform(0.5, 1.5))  # noqa: S311 (not a secret)


def read(account, source, path):
    """Read a file of another host; return (content, ""), or (None, reason)."""
    key = os.path.join(account.pw_dir, cluster_ssh.PRIVATE_KEY)
    options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    argv = ["ssh", "-T", "-i", key, *options, "--", source, "cat -- " + shlex.quote(path)]
    with tempfile.TemporaryFile(dir=os.path.dirname(path)) as file:
        code, output = accounts.run(account, argv, COPY_SECONDS, stdout=file, shown=f"ssh {source}")
        if code:
            return None, accounts.tail(output, 1) or f"ssh {source} failed with exit code {code}"
        file.seek(0)
        return file.read(), ""


if __name__ == "__main__":
    main()
