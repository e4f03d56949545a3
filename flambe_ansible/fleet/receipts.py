"""Receipts: what a launch left on the hosts, so that the next one plays Ansible only if something differs.

A launch that completed writes a receipt on every host (``fleet/observing.py``). It has a digest of all inputs of the
roles, and the facts that each role's ``meta/receipt.yml`` names. The next launch compares both, with one command per
host.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flambe_ansible import paths
from flambe_ansible.fleet import observing
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.player import SITE
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import quote

_PARTS = ("playbooks", "plugins", "roles")
_PROOFS = ("files", "folders", "units", "checks", "boot")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found on one host.

    Attributes:
        reason: Why its receipt proves nothing, or "".
        differs: The first difference of each role that differs.
        roles: The roles of its receipt, in the order of the playbook.
    """

    reason: str = ""
    differs: Mapping[str, str] = field(default_factory=dict)
    roles: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        """Whether the host is as the last launch left it."""
        return not self.reason and not self.differs

    def __str__(self) -> str:
        return self.reason or "; ".join(self.differs.values())


@dataclass(frozen=True, kw_only=True)
class Receipts:
    """The receipts of a cluster's hosts.

    Attributes:
        fleet: The hosts, connected and probed.
        members: All hosts of the cluster, also those that did not answer.
        variables: The role variables of the launch, without those for one launch only.
        restart: The command that restarts the idle time of a host, or nothing.
    """

    fleet: Fleet
    members: Sequence[Host]
    variables: Mapping[str, Any]
    restart: Sequence[str] = ()

    @functools.cached_property
    def program(self) -> str:
        """The program that compares a host with its receipt; the same for all hosts."""
        return _write_program(f"verify({self._digest!r}, {list(self.restart)!r})")

    def verify(self) -> dict[str, Verification]:
        """Compare every host with its receipt at once; return what was found by host name.

        Hosts on which :attr:`program` ran with the probe are not asked again.
        """
        return self.fleet.on_each(lambda instance: self._verify(instance.data))

    def write(self, roles: Mapping[str, Sequence[str]]) -> None:
        """Write the receipts of hosts: name -> the roles that were played on it, in their order."""
        found = {
            role: find_proof(role, self.variables) for role in {one for played in roles.values() for one in played}
        }

        def write_on(host: Host) -> None:
            if host.name in roles:
                proofs = {role: found[role] for role in roles[host.name]}
                self._call(
                    host, f"write({self._digest!r}, {self.fleet.username!r}, {proofs!r}, {list(self.restart)!r})"
                )

        self.fleet.on_each(lambda instance: write_on(instance.data))

    def remove(self, names: Sequence[str] = ()) -> None:
        """Remove the receipts of these hosts (empty: of all): what comes next changes them."""

        def remove_from(host: Host) -> None:
            if not names or host.name in names:
                self._call(host, "remove()")

        self.fleet.on_each(lambda instance: remove_from(instance.data))

    def _verify(self, host: Host) -> Verification:
        answer = self.fleet.connections.take_output(host, self.program)
        if answer is None:
            answer = self._run(host, self.program, check=False)
        try:
            document = json.loads(answer.strip().rpartition("\n")[2])
        except ValueError:
            return Verification(reason="its receipt could not be read")
        return Verification(reason=document["reason"], differs=document["differs"], roles=tuple(document["roles"]))

    def _call(self, host: Host, call: str) -> None:
        self._run(host, _write_program(call))

    def _run(self, host: Host, program: str, *, check: bool = True) -> str:
        python = str(self.fleet.connections.ansible_variables(host)["ansible_python_interpreter"])
        argv = ["sudo", "-n", python, "-I", "-"]
        return self.fleet.connections.run(host, quote(argv), input=program, check=check).stdout

    @functools.cached_property
    def _digest(self) -> str:
        """The digest of everything that the roles depend on, except the Python of each host."""
        members = [
            [one.name, one.role, one.private_ip, one.private_port, one.instance_id, one.key_alias]
            for one in self.members
        ]
        document = {
            "code": _digest_code(),
            "username": self.fleet.username,
            "members": members,
            "variables": with_content(self.variables),
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def find_proof(role: str, variables: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what proves the state of a role: the lists of its ``meta/receipt.yml`` with the variables filled in.

    A text with a variable that is empty is left out.
    """
    folder = paths.collection() / "roles" / role
    values = {**read_defaults(role), **variables}

    def fill(text: str) -> list[str]:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name]
        return [text.format_map(values)] if all(values[name] for name in names) else []

    def fill_each(one: str | list[str]) -> list[Any]:
        return fill(one) if isinstance(one, str) else [[word for text in one for word in fill(text)]]

    return {
        kind: [filled for one in wanted for filled in fill_each(one)]
        for kind, wanted in _read(folder / "meta" / "receipt.yml").items()
        if kind in _PROOFS
    }


def read_defaults(role: str) -> dict[str, Any]:
    """Return the defaults of a role, as if no variable to which they fall back were set."""
    defaults = _read(paths.collection() / "roles" / role / "defaults" / "main.yml")
    return {name: _read_fallback(value) for name, value in defaults.items()}


def _read_fallback(value: Any) -> Any:
    """Return ``x`` for ``{{ old | default(common | default(x)) }}``, with the text after it; other values unchanged."""
    found = re.fullmatch(r"\{\{ (?:\w+ \| default\()+('[^']*'|\d+|\[\]|\{\})\)+ \}\}(.*)", str(value))
    if not found:
        return value
    literal = yaml.safe_load(found[1])
    return f"{literal}{found[2]}" if found[2] else literal


@dataclass(frozen=True, kw_only=True)
class Relations:
    """What has to be played together with a role.

    Attributes:
        affects: The later roles that it affects.
        together: When it needs all hosts.
        needs: A variable without which it has nothing to do, or "".
    """

    affects: Sequence[str] = ()
    together: str = ""
    needs: str = ""


def read_relations(role: str) -> Relations:
    """Read the relations of a role from its ``meta/receipt.yml``."""
    document = _read(paths.collection() / "roles" / role / "meta" / "receipt.yml")
    return Relations(
        affects=document.get("affects", ()), together=document.get("together", ""), needs=document.get("needs", "")
    )


@functools.cache
def list_roles() -> list[str]:
    """Return the roles of the playbook that a launch plays, in its order."""
    [play] = _read(paths.collection() / "playbooks" / SITE)
    names = [task.get("ansible.builtin.import_role", {}).get("name", "") for task in play["tasks"]]
    return [name.rpartition(".")[2] for name in names if name]


def _write_program(call: str) -> str:
    return f"{_read_text(Path(observing.__file__))}\n{call}\n"


@functools.cache
def _read_text(path: Path) -> str:
    return path.read_text()


@functools.cache
def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@functools.cache
def _digest_code() -> str:
    """Return the digest of the collection's playbooks, plugins and roles."""
    digest = hashlib.sha256()
    root = paths.collection()
    for part in _PARTS:
        for path in sorted((root / part).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def with_content(value: Any) -> Any:
    """Replace the absolute paths of files on this machine by digests of their content."""
    if isinstance(value, Mapping):
        return {key: with_content(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [with_content(one) for one in value]
    if isinstance(value, Path) or (isinstance(value, str) and value.startswith("/") and "\n" not in value):
        return _digest_file(Path(value)) if len(str(value)) < 4096 and Path(value).is_file() else str(value)
    return value


@functools.cache
def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
