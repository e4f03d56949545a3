"""What a role reads, found in its text: variables, and facts about hosts.

All words of a role's tasks, templates and variables count as names of variables, and so do those in the definitions of
such variables: in the playbook, and in all roles of it. A word that is no variable costs a needless play; a variable
that is missed would leave a host unchanged.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flambe_ansible import inventory, paths
from flambe_ansible.fleet.player import SITE
from flambe_ansible.hosts import Host

# Ansible's variables about other hosts:
# https://docs.ansible.com/ansible/latest/reference_appendices/special_variables.html
_OTHERS = frozenset(
    {
        "ansible_limit",
        "ansible_play_batch",
        "ansible_play_hosts",
        "ansible_play_hosts_all",
        "group_names",
        "groups",
        "hostvars",
        "play_hosts",
    }
)
_SHARING = frozenset({"run_once", "delegate_to", "delegate_facts"})  # keywords of tasks
# Variables of the playbook: a list of the orchestrator alone; whether a run plays a role on a host, which is no input.
_HEAD, _CHOICE = "site_orchestrators", "site_plays"
_HOST = "inventory_hostname"
_FOLDERS = ("defaults", "vars", "tasks", "handlers", "templates")
_WORD = re.compile(r"hostvars\[\w+\]|[A-Za-z_]\w*")
_HOSTVARS = re.compile(r"hostvars\[(\w+)\]")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a role reads.

    Attributes:
        names: The variables, and other words.
        members: Whether it reads other hosts than the orchestrator.
        head: Whether it reads the orchestrator.
        shares: Whether its hosts read each other's results, so that it has to be played on all of a playbook's hosts.
    """

    names: frozenset[str]
    members: bool = False
    head: bool = False
    shares: bool = False

    def describe(self, host: Host) -> dict[str, Any]:
        """Return what it reads about the host on which it is played.

        The address that Ansible connects to is left out: roles use it for hosts of other inventories.
        """
        known = {_HOST: host.name, **inventory.describe(host)}
        return {name: value for name, value in known.items() if name in self.names}


@functools.cache
def read_inputs(role: str) -> Inputs:
    """Return what a role of the playbook reads."""
    own = _list_words([_read_folder(role, kind) for kind in _FOLDERS])
    names = _follow(own | _list_words(_read_import(role)))
    lookups = [match[1] for match in map(_HOSTVARS.fullmatch, names) if match]
    return Inputs(
        names=names,
        members=bool(names & _OTHERS) or not all(map(_is_head, lookups)),
        head=_HEAD in names,
        shares=bool(own & (_OTHERS | _SHARING)) or any(map(_HOSTVARS.fullmatch, own)),
    )


@functools.cache
def list_roles() -> list[str]:
    """Return the roles of the playbook that a launch plays, in its order."""
    return list(_read_imports())


def plays_once(role: str) -> bool:
    """Return whether the playbook plays a role on its first host alone, which is the orchestrator."""
    return bool(_read_import(role).get("run_once"))


@functools.cache
def read_yaml(path: Path) -> Any:
    """Read a YAML file of the collection."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe one


def _is_head(name: str) -> bool:
    """Return whether a variable is the name of the orchestrator."""
    names = _follow([name])
    return _HEAD in names and not names & _OTHERS and not any(map(_HOSTVARS.fullmatch, names))


def _follow(names: Iterable[str]) -> frozenset[str]:
    """Add the words in the definitions of variables, and in the definitions of those."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _HOSTVARS.findall(name)
            waiting += () if name in (_HEAD, _CHOICE) else _read_definitions().get(name, ())
    return frozenset(found)


@functools.cache
def _read_definitions() -> Mapping[str, frozenset[str]]:
    """Return the words in the definition of each variable: of those that Ansible prefers if there are several."""
    defaults, constants = (
        {name: value for role in list_roles() for one in _read_folder(role, kind) for name, value in one.items()}
        for kind in ("defaults", "vars")
    )
    return {name: _list_words(one) for name, one in {**defaults, **_read_play()["vars"], **constants}.items()}


def _read_folder(role: str, kind: str) -> list[Any]:
    """Read the YAML files, and the templates, in a folder of a role."""
    files = [path for path in (paths.collection() / "roles" / role / kind).rglob("*") if path.is_file()]
    return [read_yaml(path) if path.suffix == ".yml" else path.read_text(encoding="utf-8") for path in files]


def _read_play() -> Any:
    [play] = read_yaml(paths.collection() / "playbooks" / SITE)
    return play


@functools.cache
def _read_imports() -> Mapping[str, Mapping[str, Any]]:
    """Return the task of each role in the playbook: the first one that runs without a tag."""
    found: dict[str, Mapping[str, Any]] = {}
    for task in _read_play()["tasks"]:
        if "ansible.builtin.import_role" in task and "never" not in task["tags"]:
            found.setdefault(task["ansible.builtin.import_role"]["name"].rpartition(".")[2], task)
    return found


def _read_import(role: str) -> Mapping[str, Any]:
    return _read_imports()[role]


def _list_words(value: Any) -> frozenset[str]:
    """Return the words of texts, lists and mappings, keys included."""
    return frozenset(word for text in _walk(value) for word in _WORD.findall(text))


def _walk(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield str(key)
            yield from _walk(one)
    elif isinstance(value, Iterable):
        for one in value:
            yield from _walk(one)
