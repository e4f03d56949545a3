"""The variables and templates of a role, evaluated without a playbook."""

from __future__ import annotations

from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from flambe_ansible.paths import collection


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
