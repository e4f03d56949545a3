# Copyright: the flambe-ansible contributors. MIT license.
"""Return the pattern of a play's hosts, and fail if there are none."""

from __future__ import annotations

DOCUMENTATION = r"""
name: require_hosts
short_description: Return the host pattern of some groups, and fail if no host matches
version_added: "0.1.0"
description:
  - Ansible skips a play without hosts and reports success. With this lookup in C(hosts) the playbook fails instead,
    and the message names the groups.
  - Considers C(--limit). A syntax check never fails.
options:
  _terms:
    description: The names of the groups.
    type: list
    elements: str
    required: true
author: The flambe-ansible contributors (@flambe-ansible)
"""

EXAMPLES = r"""
- name: Configure the cluster
  hosts: "{{ lookup('flambe.cluster.require_hosts', 'orchestrator', 'factories') }}"
  tasks: []
"""

RETURN = r"""
_raw:
  description: The pattern, such as V(orchestrator:factories); groups that do not exist are left out.
  type: list
  elements: str
"""

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """The lookup ``flambe.cluster.require_hosts``."""

    def run(self, terms, variables=None, **_options):
        """Return the pattern of the groups ``terms``."""
        variables = variables or {}
        groups = {name: hosts for name, hosts in variables.get("groups", {}).items() if hosts}
        pattern = ":".join(name for name in terms if name in groups) or ":".join(terms)
        limit = variables.get("ansible_limit")
        if context.CLIARGS.get("syntax") or self._find_hosts(groups, pattern, limit):
            return [pattern]
        within = f" match --limit {limit}" if limit else ""
        others = ", ".join(sorted(set(groups) - {"all", "ungrouped"})) or "none"
        raise AnsibleLookupError(
            f"no hosts of the groups {' and '.join(terms)}{within}; the groups with hosts are: {others}. Set"
            " flambe_cluster_orchestrator_group and flambe_cluster_factories_group for other groups, with --extra-vars"
            " or as vars of import_playbook"
        )

    def _find_hosts(self, groups, pattern, limit):
        """Return the hosts that match the pattern and the limit."""
        inventory = InventoryManager(self._loader, parse=False)
        for group, hosts in groups.items():
            inventory.add_group(group)
            for host in hosts:
                inventory.add_host(host, group=group)
        inventory.subset(limit)
        return inventory.get_hosts(pattern) if set(pattern.split(":")) & set(groups) else []
