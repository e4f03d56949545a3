# Copyright: the flambe-ansible contributors. MIT license.
"""Read the private package index of a secrets file, as flambé has it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pip_section
short_description: Read the section C([PIP]) of a secrets file
description:
  - Returns where the private package index is that C(HOST_URL) names, and the host of C(HOST), which is trusted
    without a certificate. What is not there is empty. Values are taken as they stand; C(%) means nothing.
options:
  _input:
    description: The INI text.
    type: str
    required: true
author: [the flambe-ansible contributors]
"""

EXAMPLES = r"""
index: "{{ (lookup('ansible.builtin.file', '~/.flambe/secrets.ini') | flambe.cluster.pip_section).url }}"
"""

RETURN = r"""
_value:
  description: C(url) and C(host), each empty where there is none.
  type: dict
"""

import configparser

from ansible.errors import AnsibleFilterError


def pip_section(text):
    """Read the section [PIP] of an INI text."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        raise AnsibleFilterError("the secrets file is no INI file") from None
    options = parser["PIP"] if parser.has_section("PIP") else {}
    return {"url": options.get("host_url", "").strip(), "host": options.get("host", "").strip()}


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self):
        """Name the filter."""
        return {"pip_section": pip_section}
