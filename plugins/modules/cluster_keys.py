#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Set up SSH between the hosts of a cluster with the cluster's key."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_keys
short_description: Authorise the cluster's public key on a host, and add the cluster's host keys to known_hosts
description:
  - Writes C(~/ray_bootstrap_key.pub), one line of C(~/.ssh/authorized_keys), and a managed block each in
    C(~/.ssh/known_hosts) and C(~/.ssh/config). All other lines of these files are unchanged.
  - Writes C(~/ray_bootstrap_key.pem), too, if O(private_key) is set; it is never shown.
options:
  public_key:
    description: The cluster's public key. Empty only in check mode, if no key exists yet.
    type: str
    required: true
  private_key:
    description: The cluster's private key, for a host that lacks it; empty leaves that of the host.
    type: str
    default: ""
  hosts:
    description: What M(flambe.cluster.cluster_key_info) returned for each host.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name in the inventory.
        type: str
        required: true
      names:
        description: Its names and addresses.
        type: list
        elements: str
        required: true
      host_keys:
        description: Its host keys.
        type: list
        elements: str
        required: true
      port:
        description: The port of its sshd for the other hosts.
        type: int
        default: 22
  members:
    description: The names of all hosts of the cluster. Members that are not in O(hosts) keep their lines.
    type: list
    elements: str
    required: true
  source:
    description: >-
      The host of O(hosts) that has the lines of all members of the cluster. If it is set, O(members) are only some of
      them, and ssh reads the others from it when it first connects to one.
    type: str
    default: ""
  connect_timeout:
    description: ConnectTimeout of ssh between the hosts, in seconds.
    type: int
    default: 10
  alive_interval:
    description: ServerAliveInterval of ssh between the hosts, in seconds.
    type: int
    default: 15
  alive_count:
    description: ServerAliveCountMax of ssh between the hosts.
    type: int
    default: 4
author: [The flambe-ansible contributors (@flambe-ansible)]
extends_documentation_fragment: [flambe.cluster.common]
attributes:
  diff_mode:
    description: Shows the changed lines, which are public.
    support: full
"""

EXAMPLES = r"""
- name: Set up SSH between the hosts
  flambe.cluster.cluster_keys:
    public_key: "{{ key.public_key }}"
    hosts:
      - name: node-a
        names: [node-a, 10.0.0.4]
        host_keys: ["ssh-ed25519 AAAA..."]
    members: [node-a]
"""

RETURN = r"""
files:
  description: The files that changed.
  type: list
  elements: str
  returned: success
public_key:
  description: The cluster's public key; empty in check mode if no key exists yet.
  type: str
  returned: success
private_key_file:
  description: The path of its private key on the host.
  type: str
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_peers, cluster_ssh, files


def plan(account, params):
    """Yield the wanted files: (path, text, mode)."""
    public = params["public_key"]
    names = ("authorized_keys", "known_hosts", "config")
    authorized_path, known_path, config_path = (os.path.join(account.pw_dir, ".ssh", name) for name in names)
    known_text = files.read(known_path)
    _outside, previous = files.split_block(known_text, cluster_ssh.BLOCK)
    known = cluster_ssh.known_lines(params["hosts"], params["members"], previous)
    options = [
        ("IdentityFile", "~/" + cluster_ssh.PRIVATE_KEY),
        ("ConnectTimeout", params["connect_timeout"]),
        ("ServerAliveInterval", params["alive_interval"]),
        ("ServerAliveCountMax", params["alive_count"]),
    ]
    config = cluster_ssh.config_lines(known, account.pw_name, options)
    script = cluster_peers.write_script(params["source"], known, account.pw_name) if params["source"] else ""
    if script:
        config = cluster_peers.config_lines(config)
        yield os.path.join(account.pw_dir, ".ssh", cluster_peers.SCRIPT), script, 0o600
    if public:
        yield os.path.join(account.pw_dir, cluster_ssh.PUBLIC_KEY), public + "\n", 0o644
        yield authorized_path, cluster_ssh.authorise(files.read(authorized_path), public), 0o600
    yield known_path, files.with_block(known_text, cluster_ssh.BLOCK, known), 0o600
    yield config_path, files.with_block(files.read(config_path), cluster_ssh.BLOCK, config), 0o600


def main():
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "default": ""},
            "public_key": {"type": "str", "required": True, "no_log": False},
            "private_key": {"type": "str", "default": "", "no_log": True},
            "hosts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "names": {"type": "list", "elements": "str", "required": True},
                    "host_keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
                    "port": {"type": "int", "default": 22},
                },
            },
            "members": {"type": "list", "elements": "str", "required": True},
            "source": {"type": "str", "default": ""},
            "connect_timeout": {"type": "int", "default": 10},
            "alive_interval": {"type": "int", "default": 15},
            "alive_count": {"type": "int", "default": 4},
        },
        supports_check_mode=True,
    )
    if not module.params["public_key"] and not module.check_mode:
        module.fail_json(msg="public_key is empty: no host of the cluster has a key pair, and none was generated")
    account = accounts.of_module(module)
    try:
        changed, diffs = converge(module, account)
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be written: {error.strerror}")
    changed += [] if module.params["public_key"] else [cluster_ssh.PUBLIC_KEY]
    changed = list(dict.fromkeys(changed))
    module.exit_json(
        changed=bool(changed),
        files=changed,
        public_key=module.params["public_key"],
        private_key_file=os.path.join(account.pw_dir, cluster_ssh.PRIVATE_KEY),
        diff=diffs,
        msg=summarize(changed, key_written=bool(module.params["private_key"])),
    )


def summarize(paths, *, key_written):
    """Return the changes in one short sentence."""
    words = {cluster_ssh.PUBLIC_KEY: "the public key", cluster_ssh.PRIVATE_KEY: "the private key"}
    names = [os.path.basename(path) for path in paths]
    written = [words.get(name, name) for name in names if key_written or name != cluster_ssh.PRIVATE_KEY]
    steps = ["write " + accounts.enumerate_words(written)] if written else []
    steps += ["make the private key private"] if len(written) != len(names) else []
    return "; ".join(steps) or "nothing to do"


def give_back(account, *, dry):
    """Give the files of this role back to the user, if root or another user has written them; return their paths."""
    names = (".ssh/authorized_keys", ".ssh/known_hosts", ".ssh/config", cluster_ssh.PUBLIC_KEY, cluster_ssh.PRIVATE_KEY)
    paths = [os.path.join(account.pw_dir, name) for name in names]
    return [path for path in paths if not dry and files.give_back(path, account.pw_uid, account.pw_gid)]


def converge(module, account):
    """Write the files that differ; return their paths and diffs."""
    changed, diffs, params = give_back(account, dry=module.check_mode), [], module.params
    with accounts.acting_as(account):
        files.ensure_folder(os.path.join(account.pw_dir, ".ssh"), 0o700, dry=module.check_mode)
        for path, text, mode in plan(account, params):
            before = files.read(path) or ""
            # Keep a stricter mode that the user has set.
            present = files.mode_of(path)
            wanted = mode if present is None or present & 0o022 else present
            if files.ensure(path, text, wanted, dry=module.check_mode):
                changed.append(path)
                texts = {"before": files.printable(before), "after": files.printable(text)}
                diffs.append({"before_header": path, "after_header": path, **texts})
        private = os.path.join(account.pw_dir, cluster_ssh.PRIVATE_KEY)
        if params["private_key"] and files.ensure(private, params["private_key"], 0o600, dry=module.check_mode):
            changed.append(private)
        elif files.mode_of(private) not in (None, 0o600):
            changed.append(private)
            if not module.check_mode:
                os.chmod(private, 0o600)
        if not module.check_mode:
            cluster_peers.forget(os.path.join(account.pw_dir, ".ssh"), script=not params["source"])
    return changed, diffs


if __name__ == "__main__":
    main()
