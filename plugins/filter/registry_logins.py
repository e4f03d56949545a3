# Copyright: the flambe-ansible contributors. MIT license.
"""Read the logins to container registries from an INI text."""

from __future__ import annotations

DOCUMENTATION = r"""
name: registry_logins
short_description: Read the logins to container registries from an INI text
description:
  - Returns the logins in the sections V([DOCKER]) and V([DOCKER name]), with their keys V(registry), V(username) and
    V(password). Without V(registry), a login is for Docker Hub.
  - Fails if a key is missing; the message names sections and keys, never values.
positional: sections
options:
  _input:
    description: The INI text.
    type: str
    required: true
  sections:
    description: Names of the sections that may be used; empty for all.
    type: list
    elements: str
    default: []
author: [The flambe-ansible contributors (@flambe-ansible)]
"""

EXAMPLES = r"""
logins: "{{ lookup('ansible.builtin.file', '~/.flambe/secrets.ini') | flambe.cluster.registry_logins }}"
"""

RETURN = r"""
_value:
  description: The logins, each with registry, username and password.
  type: list
  elements: dict
"""

import configparser

from ansible.errors import AnsibleFilterError

BOM = "\ufeff"
_PREFIX = "DOCKER"
_REQUIRED = ("username", "password")


def registry_logins(text, sections=()):
    """Read the logins of an INI text."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text.lstrip(BOM))
    except configparser.Error:  # its message repeats lines of the text
        raise AnsibleFilterError("the file with the registry logins is not an INI file") from None
    names = [name for name in parser.sections() if name.split()[:1] == [_PREFIX] and (not sections or name in sections)]
    return [_read(name, parser[name]) for name in names]


def _read(name, section):
    """Read one login."""
    missing = [key for key in _REQUIRED if not section.get(key)]
    if missing:
        raise AnsibleFilterError("section [{}] of the secrets has no {}".format(name, " and no ".join(missing)))
    registry = section.get("registry", "").removeprefix("https://").rstrip("/")
    return {"registry": registry, **{key: section[key] for key in _REQUIRED}}


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return the filter by name."""
        return {"registry_logins": registry_logins}
