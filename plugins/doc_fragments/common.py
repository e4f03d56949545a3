# Copyright: the flambe-ansible contributors. MIT license.
"""Options that several modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments for ``extends_documentation_fragment``."""

    DOCUMENTATION = r"""
options:
  user:
    description: The user who owns what the module writes, and runs what it starts; empty for the connecting user.
    type: str
    default: ""
attributes:
  check_mode:
    description: Reports what would be done.
    support: full
"""

    UV = r"""
options:
  uv:
    description: The path of uv on the host; empty for the uv on the user's PATH, else one from the package index.
    type: str
    default: ""
  uv_version:
    description: The version of uv to fetch if the host has none.
    type: str
    required: true
  uv_sha256:
    description: The SHA-256 of the wheel of this uv for Linux on x86_64.
    type: str
    required: true
  timeout:
    description: Time limit in seconds of each command of uv, and of the imports.
    type: float
    default: 1800
  timeout_setting:
    description: The name of the variable that sets O(timeout), for messages.
    type: str
    default: timeout
"""
