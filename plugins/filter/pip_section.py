# Copyright: the flambe-ansible contributors. MIT license.
"""Read the private package index from a secrets file of flambé."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pip_section
short_description: Read the section C([PIP]) of a secrets file
description:
  - Returns the URL of the private package index (C(HOST_URL)) and the host whose certificate is not verified (C(HOST)).
    Missing values are empty. Values are not interpolated; C(%) has no meaning.
options:
  _input:
    description: The INI text.
    type: str
    required: true
author: [The flambe-ansible contributors (@flambe-ansible)]
"""

EXAMPLES = r"""
index: "{{ (lookup('ansible.builtin.file', '~/.flambe/secrets.ini') | flambe.cluster.pip_section).url }}"
"""

RETURN = r"""
_value:
  description: C(url) and C(host), each empty if missing.
  type: dict
"""

import configparser

from ansible.errors import AnsibleFilterError


def pip_section(text):
    """Read the section [PIP] of an INI text."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text.lstrip("\ufeff"))
    except configparser.Error:
        raise AnsibleFilterError("the secrets file is not an INI file") from None
    options = parser["PIP"] if parser.has_section("PIP") else {}
    return {"url": options.get("host_url", "").strip(), "host": options.get("host", "").strip()}


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return the filter by name."""
        return {"pip_section": pip_section}
