# Copyright: the authors of flambe-ansible
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Inventory of clusters: the hosts that exist now, with the variables of the playbooks."""

from __future__ import annotations

DOCUMENTATION = r"""
name: flambe
short_description: The hosts of flambe-ansible clusters
version_added: "0.1.0"
author: The authors of flambe-ansible (@flambe-ansible)
description:
  - Reads one or more C(cluster.yaml) and lists the hosts that run now, in the groups C(orchestrator) and C(factories)
    and in the group of their cluster, which has the cluster's name and the variables of the collection's roles.
  - Creates, starts and changes nothing.
  - A cluster without running hosts is listed without hosts, with a warning.
  - The name of the inventory file must end in C(.flambe.yml) or C(.flambe.yaml).
  - Unknown options are refused.
requirements:
  - The Python package flambe-ansible, with ansible-core 2.19 or later, in the Python that runs Ansible.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin. The short name works in a checkout, where ansible.cfg sets its folder.
    type: str
    required: true
    choices: [flambe.cluster.flambe, flambe]
  cluster:
    description: >-
      The path of a C(cluster.yaml), or a list of paths, absolute or relative to the folder of the inventory file.
    type: raw
    required: true
  hostvars_prefix:
    description:
      - A prefix for the names of the variables that describe a host, such as C(instance_type).
      - C(private_ip) and C(private_port) exist without it as well, because the roles read them. Variables of the
        connection and of the roles have no prefix.
    type: str
    default: ""
  hostvars_suffix:
    description: A suffix for the same names.
    type: str
    default: ""
notes:
  - The expressions of O(compose), O(groups) and O(keyed_groups) see a host's variables and those of its cluster.
  - The tags of an EC2 instance are in C(ec2_tags). In expressions, and with O(hostvars_prefix) or O(hostvars_suffix),
    they are in C(tags), too, as in the inventory plugin C(amazon.aws.aws_ec2). Otherwise C(tags) is a reserved name.
  - A cluster without running hosts is not cached.
"""

EXAMPLES = r"""
---
# cluster.flambe.yml
plugin: flambe.cluster.flambe
cluster: cluster.yaml

---
# two.flambe.yml: two clusters, with more groups and variables
plugin: flambe.cluster.flambe
cluster:
  - train.yaml
  - serve.yaml
strict: true
keyed_groups:
  - key: cluster_role # role_orchestrator, role_factory
    prefix: role
  - key: instance_type # type_g5_xlarge
    prefix: type
  - key: zone # zone_eu_central_1a
    prefix: zone
  - key: tags # tag_team_vision
    prefix: tag
groups:
  interruptible: spot | default(false)
compose:
  region: zone[:-1]

# Read the provider's API at most every ten minutes; --flush-cache reads it now.
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/ansible-inventory
cache_timeout: 600
"""

import sys
from pathlib import Path

import yaml
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

try:
    from flambe_ansible.cluster.loading import load_cluster
    from flambe_ansible.errors import ClusterNotFoundError, FlambeAnsibleError
    from flambe_ansible.validation.schema import suggest
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None

SUFFIXES = (".flambe.yml", ".flambe.yaml")
READ_BY_ROLES = ("private_ip", "private_port", "gpu_state")
DESCRIBING = (
    *READ_BY_ROLES, "cluster_role", "public_ip", "instance_id", "instance_type", "zone", "spot", "ec2_tags",
    "gpu_count", "gpu_name", "gpu_driver", "gpus",
)  # fmt: skip


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The inventory plugin ``flambe.cluster.flambe``."""

    NAME = "flambe.cluster.flambe"

    def verify_file(self, path):
        """Accept the files with the suffixes of this plugin."""
        return super().verify_file(path) and str(path).endswith(SUFFIXES)

    def parse(self, inventory, loader, path, cache=True):
        """Add the clusters' hosts to the inventory."""
        super().parse(inventory, loader, path, cache)
        if IMPORT_ERROR is not None:
            raise AnsibleParserError(
                f"the inventory plugin {self.NAME} needs the Python package flambe-ansible in the Python that runs"
                f" Ansible: {sys.executable} -m pip install flambe-ansible ({IMPORT_ERROR})"
            )
        self._check_options(path)
        self._read_config_data(path)
        for data in self._find_clusters(path, self._list_files(path), cache):
            self._fill(data["all"]["children"])

    def _check_options(self, path):
        """Refuse unknown options, with the position of the first one."""
        config = self.loader.load_from_file(path)
        if not isinstance(config, dict):
            return  # refused by Ansible
        keyed = config.get("keyed_groups")
        mappings = [((), config, self.option_definitions)] + [
            (("keyed_groups", index), one, self.option_definitions["keyed_groups"]["suboptions"])
            for index, one in enumerate(keyed if isinstance(keyed, list) else [])
            if isinstance(one, dict)
        ]
        for where, mapping, options in mappings:
            for name in mapping:
                if name not in options:
                    close = suggest(str(name), options)
                    meant = f"did you mean {close}?" if close else f"the options are {', '.join(sorted(options))}"
                    raise AnsibleParserError(f"{_locate(path, *where, name)}: unknown option {name}; {meant}")

    def _list_files(self, path):
        """Return the absolute paths of the option ``cluster``."""
        given = self.get_option("cluster")
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not given or not all(isinstance(one, str) and one for one in given):
            raise AnsibleParserError(
                f"{_locate(path, 'cluster')}: cluster: expected the path of a cluster.yaml, or a list of paths"
            )
        return [Path(path).absolute().parent / Path(one).expanduser() for one in given]

    def _find_clusters(self, path, files, cache):
        """Return the inventory of each cluster, from the cache if there is one that is valid."""
        cached = self.get_option("cache")
        key = self.get_cache_key("\0".join(map(str, [path, *files])))
        if cached and cache:
            try:
                return self._cache[key]
            except KeyError:  # not there, or expired
                pass
        found = [self._read(one) for one in files]
        if cached and None not in found:
            self._cache[key] = found
        return [data for data in found if data is not None]

    def _read(self, file):
        """Return the inventory of one cluster; None if no host of it is running."""
        try:
            return load_cluster(file).inventory()
        except ClusterNotFoundError as error:
            self.display.warning(f"{file}: {error.message}; it has no hosts in the inventory", formatted=True)
            return None
        except FlambeAnsibleError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise AnsibleParserError(f"{error.message}{hint}") from None  # Ansible would print the cause again

    def _fill(self, groups):
        """Copy the data of a cluster; Ansible does not evaluate templates in an inventory plugin's strings."""
        for group, content in groups.items():
            self._add_group(group, content)
        [shared] = [content["vars"] for content in groups.values() if "vars" in content]
        for content in groups.values():
            for host, variables in content.get("hosts", {}).items():
                if variables:
                    self._describe(host, variables, shared)

    def _add_group(self, name, content):
        """Add a group with its variables, its hosts, and the groups below it."""
        self.inventory.add_group(name)
        variables = content.get("vars", {})
        other = self.inventory.groups[name].vars.get("cluster_name")
        if variables and other not in (None, variables["cluster_name"]):
            raise AnsibleParserError(
                f"the clusters {other} and {variables['cluster_name']} have the same group {name}: rename one of them"
            )
        for variable, value in variables.items():
            self.inventory.set_variable(name, variable, value)
        for host in content.get("hosts", {}):
            self.inventory.add_host(host, group=name)
        for child, below in content.get("children", {}).items():
            self._add_group(child, below)
            self.inventory.add_child(name, child)

    def _describe(self, host, variables, shared):
        """Set the variables of a host, then the constructed ones and groups."""
        named = self._rename(variables)
        address = named["private_ip"]
        if self.inventory.get_host(host).vars.get("private_ip", address) != address:
            raise AnsibleParserError(f"two clusters have a host {host}: rename one of the clusters")
        for name, value in named.items():
            if name != "tags":
                self.inventory.set_variable(host, name, value)
        strict, seen = self.get_option("strict"), {**shared, **named}
        self._set_composite_vars(self.get_option("compose"), seen, host, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), seen, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), seen, host, strict=strict)

    def _rename(self, variables):
        """Return a host's variables with the prefix and the suffix; its tags have two names."""
        prefix, suffix = self.get_option("hostvars_prefix"), self.get_option("hostvars_suffix")
        named = {name: value for name, value in variables.items() if name not in DESCRIBING or name in READ_BY_ROLES}
        for name in DESCRIBING:
            if name in variables:
                named[f"{prefix}{name}{suffix}"] = variables[name]
        if "ec2_tags" in variables:
            named[f"{prefix}tags{suffix}"] = variables["ec2_tags"]
        return named


def _locate(path, *where):
    """Return FILE:LINE:COLUMN of a key in a YAML file."""
    node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    mark = node.start_mark
    for part in where:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            mark, node = next(
                ((key.start_mark, value) for key, value in node.value if key.value == str(part)), (mark, node)
            )
    return f"{path}:{mark.line + 1}:{mark.column + 1}"
