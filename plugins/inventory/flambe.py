# Copyright: the authors of flambe-ansible
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Ansible's view of a cluster.yaml: the hosts that exist now, with all that the playbooks need."""

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
  - Reads a C(cluster.yaml), asks its provider which hosts exist now, and gives them in the groups C(orchestrator) and
    C(factories), with the variables of the collection's roles.
  - Creates, starts and changes nothing.
  - The inventory file's name must end in C(.flambe.yml) or C(.flambe.yaml).
requirements:
  - The Python package flambe-ansible, in the Python that runs Ansible.
options:
  plugin:
    description: Names this plugin. The short name is for a checkout, whose ansible.cfg names the plugin's folder.
    type: str
    required: true
    choices: [flambe.cluster.flambe, flambe]
  cluster:
    description: Path of the cluster.yaml; a relative one starts at the inventory file's own folder.
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
        """Take the files that are meant for this plugin."""
        return super().verify_file(path) and str(path).endswith(SUFFIXES)

    def parse(self, inventory, loader, path, cache=True):
        """Fill the inventory with the cluster's hosts."""
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
            raise AnsibleParserError(f"{error.message}{hint}") from None  # Ansible would tell the cause once more
        self._fill(data["all"])

    def _fill(self, everything):
        """Copy the data; a plugin's strings are not trusted, so that Ansible takes none of them for a template."""
        for name, value in everything["vars"].items():
            self.inventory.set_variable("all", name, value)
        for group, content in everything["children"].items():
            self.inventory.add_group(group)
            for host, variables in content["hosts"].items():
                self.inventory.add_host(host, group=group)
                for name, value in variables.items():
                    self.inventory.set_variable(host, name, value)
