# Copyright: the flambe-ansible contributors. MIT license.
"""Choose sections of an INI file as text, so that only what is wanted leaves the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ini_sections
short_description: Choose sections of an INI text
description:
  - Returns the wanted sections of an INI text as they stand there, comments and all.
  - Fails naming the sections that are missing, never what stands in one.
positional: sections
options:
  _input:
    description: The INI text.
    type: str
    required: true
  sections:
    description: Names of the wanted sections; empty for the whole text.
    type: list
    elements: str
    required: true
author: [the flambe-ansible contributors]
"""

EXAMPLES = r"""
only_aws: "{{ lookup('ansible.builtin.file', '~/.flambe/secrets.ini') | flambe.cluster.ini_sections(['AWS']) }}"
"""

RETURN = r"""
_value:
  description: The wanted sections, in the order of the text.
  type: str
"""

import re

from ansible.errors import AnsibleFilterError

_HEADER = re.compile(r"\s?\[(?P<name>.+)\]")


def split(text):
    """Take an INI text apart into (section, its lines with the header); what comes before has the name None."""
    parts = [(None, [])]
    for line in text.splitlines():
        match = _HEADER.match(line)
        if match:
            parts.append((match.group("name").strip(), []))
        parts[-1][1].append(line)
    return parts


def missing_ini_sections(text, sections):
    """List the wanted sections that an INI text does not have."""
    present = {name for name, _ in split(text)}
    return [section for section in sections if section not in present]


def ini_sections(text, sections):
    """Choose the wanted sections of an INI text."""
    missing = missing_ini_sections(text, sections)
    if missing:
        raise AnsibleFilterError("the secrets have no section {}".format(", ".join(f"[{name}]" for name in missing)))
    if not sections:
        return text
    # [DEFAULT] belongs to no section alone: it is sent only when it is asked for.
    lines = [line for name, part in split(text) if name in sections for line in part]
    return "\n".join(lines).rstrip("\n") + "\n"


class FilterModule:
    """Offer the filters to Ansible."""

    def filters(self):
        """Name the filters."""
        return {"ini_sections": ini_sections, "missing_ini_sections": missing_ini_sections}
