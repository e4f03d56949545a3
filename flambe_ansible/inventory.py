"""From a cluster's hosts to its Ansible inventory: pure functions, no input or output.

An inventory here is a plain dict in the shape of Ansible's YAML inventory files: ``all`` with ``vars`` and the groups
``orchestrator`` and ``factories`` below ``children``. Its strings are meant as they stand; :func:`protect`,
:func:`as_json` and :func:`as_yaml` mark those that Ansible would otherwise take for templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from flambe_ansible.hosts import Host, Role

GROUPS = {Role.ORCHESTRATOR: "orchestrator", Role.FACTORY: "factories"}
_UNSAFE = "__ansible_unsafe"


def build(
    hosts: Sequence[Host], *, connection: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the inventory of a cluster.

    Args:
        hosts: The orchestrator and the factories.
        connection: The variables with which Ansible connects, by host name.
        variables: The variables of all hosts, such as those of the roles; strings from users are welcome.

    Returns:
        The inventory. Every host has ``private_ip``, ``public_ip`` ("" where it has none), ``instance_id``,
        ``instance_type`` and its connection's variables; ``private_port`` where a port of sshd is not 22.
    """
    groups: dict[str, dict[str, Any]] = {group: {"hosts": {}} for group in GROUPS.values()}
    for host in sorted(hosts, key=lambda host: (host.role != Role.ORCHESTRATOR, host.index)):
        groups[GROUPS[host.role]]["hosts"][host.name] = {
            **connection.get(host.name, {}),
            "private_ip": host.private_ip,
            "public_ip": host.public_ip or "",
            "instance_id": host.instance_id or "",
            "instance_type": host.instance_type,
            **({"private_port": host.private_port} if host.private_port != 22 or host.port != 22 else {}),
        }
    return {"all": {"vars": dict(variables), "children": groups}}


def protect(data: Any) -> Any:
    """Mark every string that could be a template for Ansible's JSON reader: ``{"__ansible_unsafe": ...}``.

    What is marked already stays so.
    """
    if isinstance(data, str):
        return {_UNSAFE: data} if _may_be_template(data) else data
    if isinstance(data, Mapping):
        if set(data) == {_UNSAFE}:
            return dict(data)
        return {key: protect(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [protect(value) for value in data]
    return data


def as_json(inventory: Mapping[str, Any]) -> str:
    """Write an inventory as a file that ``ansible-playbook -i`` takes; save it as ``*.json``."""
    return json.dumps(protect(inventory), indent=2, ensure_ascii=False) + "\n"


def as_yaml(inventory: Mapping[str, Any]) -> str:
    """Write an inventory as a file that ``ansible-playbook -i`` takes; save it as ``*.yml``."""
    return yaml.dump(
        _tag(inventory), Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120
    )


class _Unsafe(str):
    """A string that the YAML writer tags with ``!unsafe``."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes ``!unsafe``; writes no anchors, which make hand-edited inventories surprising."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_representer(_Unsafe, lambda dumper, data: dumper.represent_scalar("!unsafe", str(data), style='"'))


def _tag(data: Any) -> Any:
    if isinstance(data, str):
        return _Unsafe(data) if _may_be_template(data) else data
    if isinstance(data, Mapping):
        return {key: _tag(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_tag(value) for value in data]
    return data


def _may_be_template(text: str) -> bool:
    """Every template of Ansible's has a brace in it; one more mark does no harm."""
    return "{" in text
