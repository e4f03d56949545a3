"""The variables and templates of a role, evaluated without a playbook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from flambe_ansible.paths import collection


class HostVars(Mapping[str, Any]):
    """The variables of all hosts; counts how often those of a host were read."""

    def __init__(self, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        self.hosts = hosts
        self.reads = 0

    def __getitem__(self, name: str) -> Any:
        self.reads += 1
        return self.hosts[name]

    def __contains__(self, name: object) -> bool:
        return name in self.hosts

    def __iter__(self) -> Iterator[str]:
        return iter(self.hosts)

    def __len__(self) -> int:
        return len(self.hosts)


def trust(value: Any) -> Any:
    """Mark all strings as templates, as those of a role's files are."""
    if isinstance(value, dict):
        return {key: trust(one) for key, one in value.items()}
    if isinstance(value, list):
        return [trust(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) else value


def read(role: str, path: str) -> Any:
    """Read a YAML file of a role."""
    return yaml.safe_load((collection() / "roles" / role / path).read_text())


def make_templar(role: str, **variables: Any) -> Templar:
    """Make the variables of a role on one host; ``variables`` come from the play."""
    own = {**read(role, "defaults/main.yml"), **read(role, "vars/main.yml")}
    return Templar(DataLoader(), variables={**trust(own), **variables})
