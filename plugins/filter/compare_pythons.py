# Copyright: the flambe-ansible contributors. MIT license.
"""Write why the hosts' own Python cannot be used."""

from __future__ import annotations

DOCUMENTATION = r"""
name: compare_pythons
short_description: Write why the hosts' own Python cannot be used on all of them
description:
  - Returns one line that names the versions and the hosts that have them.
  - It is empty if all hosts have the same version, and it is the wanted or an accepted one.
positional: wanted, accepted
options:
  _input:
    description: The versions of the hosts' own Python by host, empty for a host without one.
    type: dict
    required: true
  wanted:
    description: The version that is configured, such as V(3.12); empty for none.
    type: str
    required: true
  accepted:
    description: The versions that are used if none is configured.
    type: list
    elements: str
    required: true
author: [The flambe-ansible contributors (@flambe-ansible)]
"""

EXAMPLES = r"""
reason: "{{ {'a': '3.11.2', 'b': '3.11.7'} | flambe.cluster.compare_pythons('', ['3.11']) }}"
"""

RETURN = r"""
_value:
  description: The reason, such as V(python3 is 3.11.2 on a, 3.11.7 on b).
  type: str
"""

_NAMED = 3  # hosts with the same version that are named


def compare_pythons(found, wanted, accepted):
    """Write why the hosts' own Python cannot be used, "" if it can."""
    hosts = {}
    for host, version in found.items():
        hosts.setdefault(version, []).append(host)
    if len(hosts) > 1:
        ordered = sorted(hosts.items(), key=lambda one: (-len(one[1]), one[0]))
        versions = ", ".join(f"{version or 'missing'} on {_name(names)}" for version, names in ordered)
        return f"{f'Python {wanted}' if wanted else 'python3'} is {versions}"
    version = next(iter(hosts))
    if wanted:
        return "" if version else f"the hosts have no Python {wanted}"
    if not version:
        return "the hosts have no python3"
    minor = ".".join(version.split(".")[:2])
    return "" if minor in accepted else f"python3 is {version}, accepted are {accepted[0]} to {accepted[-1]}"


def _name(hosts):
    """Name some hosts, count many."""
    return ", ".join(sorted(hosts)) if len(hosts) <= _NAMED else f"{len(hosts)} hosts"


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return the filter by name."""
        return {"compare_pythons": compare_pythons}
