"""Client tokens: the same request twice makes the same instances.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

# What may differ between two requests that are the same.
_NOT_COMPARED = ("Action", "ClientToken", "DryRun", "Version")


class TokenMismatchError(Exception):
    """A token came again with other parameters."""


@dataclass
class TokenBook:
    """The tokens that were used, each with its request and what came of it."""

    entries: dict[str, tuple[str, str]] = field(default_factory=dict)

    def find(self, token: str, parameters: Mapping[str, str]) -> str | None:
        """Find what an earlier request with this token made.

        Returns:
            Its reservation id, or None when the token is new.

        Raises:
            TokenMismatchError: The earlier request had other parameters.
        """
        known = self.entries.get(token)
        if known is None:
            return None
        if known[0] != fingerprint(parameters):
            raise TokenMismatchError(token)
        return known[1]

    def remember(self, token: str, parameters: Mapping[str, str], reservation: str) -> None:
        """Write down what a request with this token made."""
        self.entries[token] = (fingerprint(parameters), reservation)


def fingerprint(parameters: Mapping[str, str]) -> str:
    """Make one short text of a request's parameters, whatever their order."""
    kept = {key: value for key, value in parameters.items() if key not in _NOT_COMPARED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
