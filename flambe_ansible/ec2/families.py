"""The quotas for running On-Demand instances, in vCPUs; pure functions.

Each group of instance families has one quota in each region. Stopped instances do not count, and Spot Instances have
quotas of their own. A new account has a quota of 5 vCPUs for the standard families, and of 0 for most others.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html (On-Demand Instance quotas, with the
codes in the links to the console)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

COUNTED_STATES = ("pending", "running")  # pending instances count as soon as they run


@dataclass(frozen=True)
class Quota:
    """One quota.

    Attributes:
        code: Its code.
        name: Its name.
        families: The letters with which the names of its instance types start, before the first digit.
    """

    code: str
    name: str
    families: frozenset[str]


def _quota(code: str, group: str, families: str) -> Quota:
    return Quota(code, f"Running On-Demand {group} instances", frozenset(families.split()))


STANDARD = _quota("L-1216C47A", "Standard (A, C, D, H, I, M, R, T, Z)", "a c d h i im is m r t z")
QUOTAS = (
    STANDARD,
    _quota("L-6E869C2A", "DL", "dl"),
    _quota("L-74FC7D96", "F", "f"),
    _quota("L-DB2E81BA", "G and VT", "g gr vt"),
    _quota("L-F7808C92", "HPC", "hpc"),
    _quota("L-43DA4232", "High Memory", "u"),
    _quota("L-1945791B", "Inf", "inf"),
    _quota("L-417A185B", "P", "p"),
    _quota("L-2C3B7624", "Trn", "trn"),
    _quota("L-7295265B", "X", "x"),
)


def find_quota(instance_type: str) -> Quota | None:
    """Return the quota that a type counts towards; None if it has no such quota, or is unknown here."""
    match = re.match(r"([a-z]+)-?\d", instance_type)
    return next((one for one in QUOTAS if match and match[1] in one.families), None)
