"""What hosts cost in addition to the price of their types; pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances-unlimited-mode.html: by default
# these types may use more CPU than their baseline; T2 may not.
UNLIMITED_TYPE = re.compile(r"t(3a?|4g)\.")

# https://aws.amazon.com/ec2/pricing/dedicated-instances/
DEDICATED = "dedicated hosts cost more than others, and AWS adds a fee for each hour in which the region has any"


def list_costs(instance_types: Iterable[str], *, dedicated: bool) -> list[str]:
    """List what hosts of these types cost in addition, as notes for the user."""
    unlimited = sorted(set(filter(UNLIMITED_TYPE.match, instance_types)))
    notes = [f"{', '.join(unlimited)}: AWS bills CPU use above the type's baseline separately (unlimited mode)"]
    return (notes if unlimited else []) + ([DEDICATED] if dedicated else [])
