"""Receipts: what a launch left on the hosts, so that the next one plays Ansible only if something differs.

A launch that completed writes a receipt on every host (``fleet/observing.py``). For each role, it has a digest of what
the role reads (``fleet/inputs.py``), and the facts that its ``meta/receipt.yml`` names. The next launch compares both,
with one command per host.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import string
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from flambe_ansible import paths
from flambe_ansible.errors import HostError
from flambe_ansible.fleet import observing
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.inputs import list_roles, read_inputs, read_yaml
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import quote

_PARTS = ("playbooks", "plugins", "roles")
APART = "not set up on all hosts at once"
_PROOFS = ("files", "folders", "units", "checks", "boot")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found on one host.

    Attributes:
        reason: Why it has no receipt that can be used, or ""; then all roles differ.
        differs: The first difference of each role that differs.
        roles: The roles of its receipt that a launch still plays on it, each with the id of the launch that did.
        boot: The id of the boot of the host, or "" if it is unknown.
    """

    reason: str = ""
    differs: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    boot: str = ""

    @property
    def holds(self) -> bool:
        """Whether the host is as the last launch left it."""
        return not self.reason and not self.differs

    @property
    def is_new(self) -> bool:
        """Whether no launch has completed on the host; it may have the roles that its image has."""
        if self.reason:
            return self.reason == observing.NO_RECEIPT
        return all(read_relations(role).baked for role in self.roles)

    def may_prove(self, roles: Collection[str]) -> bool:
        """Whether the receipt may have a part for one of these roles."""
        return self.reason not in ("", observing.NO_RECEIPT) or not {*self.roles}.isdisjoint(roles)

    def __str__(self) -> str:
        return self.reason or "; ".join(self._describe())

    def _describe(self) -> list[str]:
        """Describe the differences: the roles of each kind, then the facts."""
        kinds = (observing.CHANGED, observing.MISSING, APART)
        changed, missing, apart = ([role for role, text in self.differs.items() if text == kind] for kind in kinds)
        of = "" if set(changed) == {*self.roles} else f" of {', '.join(changed)}"
        return [
            *([f"the configuration{of} changed"] if changed else []),
            *([f"{observing.MISSING}: {', '.join(missing)}"] if missing else []),
            *([f"{APART}: {', '.join(apart)}"] if apart else []),
            *dict.fromkeys(text for text in self.differs.values() if text not in kinds),
        ]


@dataclass(frozen=True, kw_only=True)
class Receipts:
    """The receipts of a cluster's hosts.

    Attributes:
        fleet: The hosts, connected and probed.
        members: All hosts of the cluster, also those that did not answer.
        variables: The role variables of the launch, without those for one launch only.
        wanted: The roles that a launch plays, on the orchestrator and on a factory.
        restart: The command that restarts the idle time of a host, or nothing.
    """

    fleet: Fleet
    members: Sequence[Host]
    variables: Mapping[str, Any]
    wanted: Mapping[Role, Sequence[str]]
    restart: Sequence[str] = ()

    @functools.cached_property
    def programs(self) -> Mapping[str, str]:
        """The programs that compare hosts with their receipts, by host name."""
        return {host.name: self._write_check(host) for host in self.fleet.hosts}

    def list_wanted(self, host: Host) -> list[str]:
        """Return the roles that a launch plays on every host like this one, in the order of the playbook."""
        return [role for role in self.wanted[host.role] if not read_relations(role).optional]

    def verify(self) -> dict[str, Verification]:
        """Compare every host with its receipt at once; return what was found by host name.

        A host on which its program of :attr:`programs` ran with the probe is not asked again.
        """
        programs = self.programs  # once, not in each thread
        return self.fleet.on_each(lambda instance: self._verify(instance.data, programs[instance.name]))

    def write(
        self, roles: Mapping[str, Sequence[str]], *, boots: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, HostError]]:
        """Write the receipts of hosts; return the names of those that were rebooted since they were verified.

        Also return the errors of those whose receipt could not be written, by name.

        Args:
            roles: The roles of each host, in their order; those that are new in its receipt were played now.
            boots: The boot of each host when it was verified.
        """
        launch = uuid.uuid4().hex[:12]
        proofs = {role: find_proof(role, self.variables) for role in {one for named in roles.values() for one in named}}
        entries = {
            host.name: {role: [self._digest(role, host), proofs[role]] for role in roles[host.name]}
            for host in self.fleet.hosts
            if host.name in roles
        }

        def write_on(host: Host) -> str:
            boot = (boots or {}).get(host.name, "")
            arguments = (entries[host.name], self.fleet.username, launch, list(self.restart), boot)
            return self._call(host, f"write{arguments!r}").strip()

        answers, errors = self._change(roles, write_on)
        return [name for name, answer in answers.items() if answer == observing.REBOOTED], errors

    def keep(self, roles: Mapping[str, Collection[str]]) -> dict[str, HostError]:
        """Remove everything from the receipts of hosts but these roles: what comes next changes the others.

        Return the errors of those whose receipt could not be changed, by name.
        """
        return self._change(roles, lambda host: self._call(host, f"keep({sorted(roles[host.name])!r})"))[1]

    def _change(
        self, names: Collection[str], change: Callable[[Host], str]
    ) -> tuple[dict[str, str], dict[str, HostError]]:
        """Change the receipts of hosts; return the answers, and the errors, by name."""

        def attempt(host: Host) -> str | HostError:
            try:
                return change(host) if host.name in names else ""
            except HostError as error:
                return error

        found = self.fleet.on_each(lambda instance: attempt(instance.data))
        errors = {name: one for name, one in found.items() if isinstance(one, HostError)}
        return {name: one for name, one in found.items() if isinstance(one, str)}, errors

    def _verify(self, host: Host, program: str) -> Verification:
        answer = self.fleet.connections.take_output(host, program)
        if answer is None:
            answer = self._run(host, program, check=False)
        try:
            document = json.loads(answer.strip().rpartition("\n")[2])
        except ValueError:
            document = {"reason": "its receipt could not be read", "differs": {}, "roles": {}}
        if document["reason"]:
            document["differs"] = dict.fromkeys(self.list_wanted(host), document["reason"])
        return Verification(
            reason=document["reason"],
            differs=document["differs"],
            roles=document["roles"],
            boot=document.get("boot", ""),
        )

    def _write_check(self, host: Host) -> str:
        wanted = {role: self._digest(role, host) for role in self.wanted[host.role]}
        optional = sorted({*wanted} - {*self.list_wanted(host)})
        return _write_program(f"verify({wanted!r}, {optional!r}, {list(self.restart)!r})")

    def _call(self, host: Host, call: str) -> str:
        return self._run(host, _write_program(call))

    def _run(self, host: Host, program: str, *, check: bool = True) -> str:
        python = str(self.fleet.connections.ansible_variables(host)["ansible_python_interpreter"])
        argv = ["sudo", "-n", python, "-I", "-"]
        return self.fleet.connections.run(host, quote(argv), input=program, check=check).stdout

    def _digest(self, role: str, host: Host) -> str:
        """Return the digest of everything that a role reads on a host, except the host's Python."""
        own = {} if read_relations(role).baked else read_inputs(role).describe(host)
        return _hash([self._common[role], own])

    @functools.cached_property
    def _common(self) -> Mapping[str, str]:
        """The digest of what each role reads on all hosts."""
        variables = with_content(self.variables)
        members = [_identify(one) for one in self.members]
        head = [_identify(one) for one in self.members if one.role is Role.ORCHESTRATOR]
        start = [_digest_code(), self.fleet.username]

        def digest(role: str) -> str:
            inputs = read_inputs(role)
            hosts = [] if read_relations(role).baked else [inputs.head and head, inputs.members and members]
            return _hash([start, {name: one for name, one in variables.items() if name in inputs.names}, hosts])

        return {role: digest(role) for role in list_roles()}


def find_proof(role: str, variables: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what proves the state of a role: the lists of its ``meta/receipt.yml`` with the variables filled in.

    A text with a variable that is empty is left out.
    """
    folder = paths.collection() / "roles" / role
    values = {**read_defaults(role), **variables}

    def fill(text: str) -> list[str]:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name]
        return [text.format_map(values)] if all(values[name] for name in names) else []

    def fill_each(one: str | list[str] | dict[str, str]) -> list[Any]:
        if isinstance(one, dict):
            return [[path, one["except_lines"]] for path in fill(one["path"])]
        return fill(one) if isinstance(one, str) else [[word for text in one for word in fill(text)]]

    return {
        kind: [filled for one in wanted for filled in fill_each(one)]
        for kind, wanted in read_yaml(folder / "meta" / "receipt.yml").items()
        if kind in _PROOFS
    }


def read_defaults(role: str) -> dict[str, Any]:
    """Return the defaults of a role, as if no variable to which they fall back were set."""
    defaults = read_yaml(paths.collection() / "roles" / role / "defaults" / "main.yml")
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
    """How a role relates to other roles, hosts and images.

    Attributes:
        affects: The later roles that it affects.
        together: When it needs all hosts.
        needs: A variable without which it has nothing to do, or "".
        optional: Whether some hosts have nothing to do for it.
        baked: Whether its result is part of a baked image: it depends on no address and no name of a host.
    """

    affects: Sequence[str] = ()
    together: str = ""
    needs: str = ""
    optional: bool = False
    baked: bool = False


@functools.cache
def read_relations(role: str) -> Relations:
    """Read the relations of a role from its ``meta/receipt.yml``."""
    document = read_yaml(paths.collection() / "roles" / role / "meta" / "receipt.yml")
    return Relations(**{one.name: document[one.name] for one in fields(Relations) if one.name in document})


def _write_program(call: str) -> str:
    return f"{_read_text(Path(observing.__file__))}\n{call}\n"


@functools.cache
def _read_text(path: Path) -> str:
    return path.read_text()


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


def _identify(host: Host) -> list[Any]:
    return [host.name, host.role, host.private_ip, host.private_port, host.instance_id, host.key_alias]


def _hash(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()[:32]


def with_content(value: Any) -> Any:
    """Replace the absolute paths of files on this machine by digests of their content."""
    if isinstance(value, Mapping):
        return {key: with_content(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [with_content(one) for one in value]
    if isinstance(value, Path) or (isinstance(value, str) and value.startswith("/") and "\n" not in value):
        return _digest_file(Path(value)) if len(str(value)) < 4096 and Path(value).is_file() else str(value)
    return value


def _digest_file(path: Path) -> str:
    """Return the digest of a file; it is read again only if it has changed."""
    info = path.stat()
    return _digest_content(path, info.st_ino, info.st_size, info.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest_content(path: Path, *_version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
