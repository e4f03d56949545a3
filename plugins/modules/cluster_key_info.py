#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Read a host's copy of the cluster's key, and its SSH host keys."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_key_info
short_description: Read a host's copy of the cluster's key pair, its names and its SSH host keys
description:
  - Changes nothing. The private key is returned only with O(private).
options:
  names:
    description: Names and addresses at which the other hosts reach this one, in addition to the detected ones.
    type: list
    elements: str
    default: []
  port:
    description: The port of its sshd for the other hosts; returned unchanged.
    type: int
    default: 22
  private:
    description: >-
      Also return the private key; if the host has none, generate a pair in memory, except in check mode. Use it with
      C(no_log).
    type: bool
    default: false
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
"""

EXAMPLES = r"""
- name: Read the key
  flambe.cluster.cluster_key_info:
    names: [10.0.0.4]
  register: key
"""

RETURN = r"""
public_key:
  description: The public key of the host's pair; empty if it has no valid private key.
  type: str
  returned: success
private_key:
  description: The private key.
  type: str
  returned: with O(private)
names:
  description: The host's names and addresses.
  type: list
  elements: str
  returned: success
host_keys:
  description: The public keys of its sshd, as "type base64".
  type: list
  elements: str
  returned: success
port:
  description: The port of its sshd for the other hosts.
  type: int
  returned: success
known:
  description: The names in the inventory of the hosts whose host keys M(flambe.cluster.cluster_keys) wrote here.
  type: list
  elements: str
  returned: success
"""

import glob
import os
import socket
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, files


def read_own(account, name):
    """Read a file in the user's home folder; "" if it is missing, or if the user must not read it.

    M(flambe.cluster.cluster_keys) gives such a file back to the user.
    """
    try:
        with accounts.acting_as(account):
            return files.read(os.path.join(account.pw_dir, name)) or ""
    except PermissionError:
        return ""


def read_pair(account):
    """Read the key pair of this host; two empty strings if its private key is invalid."""
    private = read_own(account, cluster_ssh.PRIVATE_KEY)
    public = cluster_ssh.derive_public(private) if private else ""
    return (private, public) if public else ("", "")


def read_host_keys():
    """Read the public keys of this host's sshd."""
    lines = [(files.read(path) or "").split() for path in sorted(glob.glob("/etc/ssh/ssh_host_*_key.pub"))]
    return [" ".join(fields[:2]) for fields in lines if len(fields) >= 2]


def read_known(account):
    """List the hosts whose host keys the managed block of known_hosts has, by their names in the inventory."""
    text = read_own(account, ".ssh/known_hosts")
    _outside, lines = files.split_block(files.printable(text), cluster_ssh.BLOCK)
    return list(dict.fromkeys(line.split()[-1] for line in lines))


def main():
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "names": {"type": "list", "elements": "str", "default": []},
            "port": {"type": "int", "default": 22},
            "private": {"type": "bool", "default": False, "no_log": False},
        },
        supports_check_mode=True,
    )
    account = accounts.of_module(module)
    try:
        private, public = read_pair(account)
        known = read_known(account)
        if module.params["private"] and not private and not module.check_mode:
            private, public = cluster_ssh.make_pair()
    except (OSError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=f"the cluster's key could not be read or generated: {error}")
    names = [*module.params["names"], cluster_ssh.own_address(), socket.gethostname()]
    facts = {
        "public_key": public,
        "names": cluster_ssh.usable_names([name for name in names if name]),
        "host_keys": read_host_keys(),
        "port": module.params["port"],
        "known": known,
    }
    if module.params["private"]:
        facts["private_key"] = private
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
