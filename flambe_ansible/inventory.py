"""The Ansible inventory of a cluster's hosts; pure functions.

An inventory here is a dict in the form of Ansible's YAML inventory files: the groups ``orchestrator`` and
``factories``, which all clusters share, and the cluster's group with its variables (:func:`name_group`). Nothing is set
for the group ``all``, so that an inventory can contain several clusters and other hosts. Its strings are literal:
:func:`protect`, :func:`as_json` and :func:`as_yaml` mark those that Ansible would otherwise read as templates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from flambe_ansible.hosts import Host, Role, sort_hosts

GROUPS = {Role.ORCHESTRATOR: "orchestrator", Role.FACTORY: "factories"}
_RESERVED = {"all", "ungrouped", *GROUPS.values()}
_UNSAFE = "__ansible_unsafe"


def build(
    hosts: Sequence[Host], *, connection: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Build the inventory of a cluster.

    Args:
        hosts: Its hosts; each has its connection's variables and those of :func:`describe`.
        connection: The variables with which Ansible connects, by host name.
        variables: The role variables, ``cluster_name`` among them. They and ``flambe_cluster_group`` are set for the
            cluster's group.
    """
    groups: dict[str, dict[str, Any]] = {group: {"hosts": {}} for group in GROUPS.values()}
    for host in sort_hosts(hosts):
        groups[GROUPS[host.role]]["hosts"][host.name] = {**connection.get(host.name, {}), **describe(host)}
    name = name_group(variables["cluster_name"])
    own = {
        "vars": {**variables, "flambe_cluster_group": name},
        # No group of its own for the orchestrator: it would have the name of the host.
        "hosts": {host: {} for host in groups["orchestrator"]["hosts"]},
        "children": {f"{name}_factories": {"hosts": {host: {} for host in groups["factories"]["hosts"]}}},
    }
    return {"all": {"children": {**groups, name: own}}}


def describe(host: Host) -> dict[str, Any]:
    """Return the variables that describe a host.

    ``cluster_role`` (orchestrator or factory), ``private_ip``, ``public_ip`` ("" if it has none), ``instance_id`` and
    ``instance_type``; ``zone`` and ``spot`` if its provider has zones, ``ec2_tags`` if it has tags, and
    ``private_port`` if a port of its sshd is not 22.
    """
    return {
        "cluster_role": str(host.role).lower(),
        "private_ip": host.private_ip,
        "public_ip": host.public_ip or "",
        "instance_id": host.instance_id or "",
        "instance_type": host.instance_type,
        **({"zone": host.zone, "spot": host.spot} if host.zone else {}),
        **({"ec2_tags": dict(host.tags)} if host.tags else {}),  # `tags` is a reserved name in Ansible
        **({"private_port": host.private_port} if host.private_port != 22 or host.port != 22 else {}),
    }


def name_group(cluster: str) -> str:
    """Return the name of a cluster's group: the cluster's name, with changes only if Ansible would misread it."""
    name = re.sub(r"\W", "_", cluster, flags=re.ASCII)
    return f"cluster_{name}" if name in _RESERVED or not re.match("[A-Za-z_]", name) else name


def protect(data: Any, mark: Callable[[str], object] = lambda text: {_UNSAFE: text}) -> Any:
    """Mark every string that could be a template as ``{"__ansible_unsafe": ...}``; marked ones are unchanged."""
    if isinstance(data, str):
        return mark(data) if "{" in data else data  # every template has a brace
    if isinstance(data, Mapping):
        return dict(data) if set(data) == {_UNSAFE} else {key: protect(value, mark) for key, value in data.items()}
    return [protect(value, mark) for value in data] if isinstance(data, list | tuple) else data


def as_json(inventory: Mapping[str, Any]) -> str:
    """Write an inventory as a ``.json`` file for ``ansible-playbook -i``."""
    return json.dumps(protect(inventory), indent=2, ensure_ascii=False) + "\n"


def as_yaml(inventory: Mapping[str, Any]) -> str:
    """Write an inventory as a ``.yml`` file for ``ansible-playbook -i``."""
    marked = protect(inventory, _Unsafe)
    return yaml.dump(marked, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)


class _Unsafe(str):
    """A string that the YAML writer tags with ``!unsafe``."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes ``!unsafe``, and no anchors: an edit of an anchored value would change several hosts."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_representer(_Unsafe, lambda dumper, data: dumper.represent_scalar("!unsafe", str(data), style='"'))
