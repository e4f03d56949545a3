"""The Ansible inventory of a cluster's hosts; pure functions.

An inventory here is a dict in the form of Ansible's YAML inventory files: ``all`` with ``vars``, and the groups
``orchestrator`` and ``factories`` below ``children``. Its strings are literal: :func:`protect`, :func:`as_json` and
:func:`as_yaml` mark those that Ansible would otherwise read as templates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from flambe_ansible.hosts import Host, Role

GROUPS = {Role.ORCHESTRATOR: "orchestrator", Role.FACTORY: "factories"}
_UNSAFE = "__ansible_unsafe"


def build(
    hosts: Sequence[Host], *, connection: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Build the inventory of a cluster; ``connection`` has the variables with which Ansible connects, by host name.

    Every host has its connection's variables, ``private_ip``, ``public_ip`` ("" if it has none), ``instance_id`` and
    ``instance_type``, ``zone`` and ``spot`` if its provider has zones, and ``private_port`` if a port of its sshd is
    not 22.
    """
    groups: dict[str, dict[str, Any]] = {group: {"hosts": {}} for group in GROUPS.values()}
    for host in sorted(hosts, key=lambda host: (host.role != Role.ORCHESTRATOR, host.index)):
        groups[GROUPS[host.role]]["hosts"][host.name] = {
            **connection.get(host.name, {}),
            "private_ip": host.private_ip,
            "public_ip": host.public_ip or "",
            "instance_id": host.instance_id or "",
            "instance_type": host.instance_type,
            **({"zone": host.zone, "spot": host.spot} if host.zone else {}),
            **({"private_port": host.private_port} if host.private_port != 22 or host.port != 22 else {}),
        }
    return {"all": {"vars": dict(variables), "children": groups}}


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
