# Copyright: the flambe-ansible contributors. MIT license.
"""Select sections of an INI file as text, so that the rest does not leave the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ini_sections
short_description: Select sections of an INI text
description:
  - Returns the wanted sections of an INI text unchanged, including comments.
  - Fails if a section is missing; the message names sections, never values.
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
author: [The flambe-ansible contributors (@flambe-ansible)]
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

BOM = "\ufeff"  # editors on Windows write it; the readers on the hosts do not expect it
_HEADER = re.compile(r"\s?\[(?P<name>.+)\]")


def split(text):
    """Split an INI text into (section, lines including the header); the section before the first header is None."""
    parts = [(None, [])]
    for line in text.lstrip(BOM).splitlines():
        match = _HEADER.match(line)
        if match:
            parts.append((match.group("name").strip(), []))
        parts[-1][1].append(line)
    return parts


def missing_ini_sections(text, sections):
    """List the wanted sections that are missing."""
    present = {name for name, _lines in split(text)}
    return [section for section in sections if section not in present]


def ini_sections(text, sections):
    """Select the wanted sections of an INI text."""
    missing = missing_ini_sections(text, sections)
    if missing:
        raise AnsibleFilterError("the secrets have no section {}".format(", ".join(f"[{name}]" for name in missing)))
    if not sections:
        return text.lstrip(BOM)
    # [DEFAULT] applies to all sections, so it is included only if it is listed.
    lines = [line for name, part in split(text) if name in sections for line in part]
    return "\n".join(lines).rstrip("\n") + "\n"


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return the filters by name."""
        return {"ini_sections": ini_sections, "missing_ini_sections": missing_ini_sections}
