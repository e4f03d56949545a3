"""The quotas for running On-Demand and Spot Instances, in vCPUs; pure functions.

Each group of instance families has one quota in each region, and another one for Spot Instances. Stopped instances do
not count. A new account has a quota of 5 vCPUs for the standard families, and of 0 for most others.
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


def _spot(code: str, group: str, families: str) -> Quota:
    return Quota(code, f"All {group} Spot Instance Requests", frozenset(families.split()))


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


# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-limits.html
SPOT_QUOTAS = (
    _spot("L-34B43A08", "Standard (A, C, D, H, I, M, R, T, Z)", "a c d h i im is m r t z"),
    _spot("L-85EED4F7", "DL", "dl"),
    _spot("L-88CF9481", "F", "f"),
    _spot("L-3819A6DF", "G and VT", "g gr vt"),
    _spot("L-B5D1601B", "Inf", "inf"),
    _spot("L-7212CCBC", "P4, P3 and P2", "p"),
    _spot("L-C4BD4855", "P5", "p5"),
    _spot("L-6B0D517C", "Trn", "trn"),
    _spot("L-E3A00192", "X", "x"),
)


def find_quota(instance_type: str, *, spot: bool = False) -> Quota | None:
    """Return the quota that a type counts towards; None if it has no such quota, or is unknown here."""
    match = re.match(r"([a-z]+)-?(\d)", instance_type)
    if not match:
        return None
    family, generation = match.groups()
    if spot and family == "p" and int(generation) >= 5:  # the other generations share a quota
        family = f"p{generation}"
    return next((one for one in (SPOT_QUOTAS if spot else QUOTAS) if family in one.families), None)
