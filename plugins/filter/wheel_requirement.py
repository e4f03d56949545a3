# Copyright: the flambe-ansible contributors. MIT license.
"""Write the requirement for a wheel that is copied from the controller to a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wheel_requirement
short_description: Write the requirement for a wheel that is copied to a host
description:
  - Returns C(name @ file://FOLDER/WHEEL#sha256=...) for a wheel on the controller that is copied into a folder on the
    host. The requirement changes with the content.
  - The SHA-256 is omitted if the version identifies the content (C(+content.), set by flambe-ans for the wheels that it
    builds), because a second build of the same content can differ in its bytes.
positional: folder
options:
  _input:
    description: The path of the wheel on the controller, absolute or starting with C(~/).
    type: path
    required: true
  folder:
    description: The folder on the host.
    type: path
    required: true
author: [The flambe-ansible contributors (@flambe-ansible)]
"""

EXAMPLES = r"""
requirement: "{{ 'dist/flambe-0.4.18-py3-none-any.whl' | flambe.cluster.wheel_requirement('/opt/flambe/wheels') }}"
"""

RETURN = r"""
_value:
  description: The requirement.
  type: str
"""

import hashlib
import re
from pathlib import Path
from urllib.parse import quote

from ansible.errors import AnsibleFilterError

_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.]*)-(?P<version>[^-]+)-.+\.whl")


def wheel_requirement(wheel, folder):
    """Write the requirement for a wheel in a folder on the host."""
    path = Path(wheel).expanduser()
    if not path.is_absolute():
        raise AnsibleFilterError(f"the path of the wheel {wheel} is not absolute")
    match = _NAME.fullmatch(path.name)
    if not match:
        raise AnsibleFilterError(f"{wheel} is not the file name of a wheel: NAME-VERSION-TAGS.whl")
    requirement = "{} @ file://{}".format(match["name"], quote(f"{folder}/{path.name}"))
    if "+content." in match["version"]:
        return requirement
    try:
        return f"{requirement}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise AnsibleFilterError(f"the wheel {wheel} cannot be read: {error.strerror}") from None


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return the filter by name."""
        return {"wheel_requirement": wheel_requirement}
