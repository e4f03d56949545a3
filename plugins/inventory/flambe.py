# Copyright: the authors of flambe-ansible
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Inventory of a cluster.yaml: the hosts that exist now, with the variables of the playbooks."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

try:
    from flambe_ansible.cluster.loading import load_cluster
    from flambe_ansible.errors import FlambeAnsibleError
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None

DOCUMENTATION = r"""
name: flambe
short_description: The hosts of a flambe-ansible cluster
version_added: "0.1.0"
author: The authors of flambe-ansible
description:
  - Reads a C(cluster.yaml), lists the hosts that exist now, and puts them into the groups C(orchestrator) and
    C(factories), with the variables of the collection's roles.
  - Creates, starts and changes nothing.
  - The name of the inventory file must end in C(.flambe.yml) or C(.flambe.yaml).
requirements:
  - The Python package flambe-ansible in the Python that runs Ansible.
options:
  plugin:
    description: The name of this plugin. The short name works in a checkout, where ansible.cfg sets its folder.
    type: str
    required: true
    choices: [flambe.cluster.flambe, flambe]
  cluster:
    description: The path of the cluster.yaml, absolute or relative to the folder of the inventory file.
    type: path
    required: true
"""

EXAMPLES = r"""
# cluster.flambe.yml
plugin: flambe.cluster.flambe
cluster: cluster.yaml
"""

SUFFIXES = (".flambe.yml", ".flambe.yaml")


class InventoryModule(BaseInventoryPlugin):
    """The inventory plugin ``flambe.cluster.flambe``."""

    NAME = "flambe.cluster.flambe"

    def verify_file(self, path):
        """Accept the files with the suffixes of this plugin."""
        return super().verify_file(path) and str(path).endswith(SUFFIXES)

    def parse(self, inventory, loader, path, cache=True):
        """Add the cluster's hosts to the inventory."""
        super().parse(inventory, loader, path, cache)
        if IMPORT_ERROR is not None:
            raise AnsibleParserError(
                f"the inventory plugin {self.NAME} needs the Python package flambe-ansible in the Python that runs"
                f" Ansible: {sys.executable} -m pip install flambe-ansible ({IMPORT_ERROR})"
            )
        self._read_config_data(path)
        cluster_file = Path(path).absolute().parent / Path(self.get_option("cluster")).expanduser()
        try:
            data = load_cluster(cluster_file).inventory()
        except FlambeAnsibleError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise AnsibleParserError(f"{error.message}{hint}") from None  # Ansible would print the cause again
        self._fill(data["all"])

    def _fill(self, everything):
        """Copy the data; Ansible does not evaluate templates in an inventory plugin's strings."""
        for name, value in everything["vars"].items():
            self.inventory.set_variable("all", name, value)
        for group, content in everything["children"].items():
            self.inventory.add_group(group)
            for host, variables in content["hosts"].items():
                self.inventory.add_host(host, group=group)
                for name, value in variables.items():
                    self.inventory.set_variable(host, name, value)
