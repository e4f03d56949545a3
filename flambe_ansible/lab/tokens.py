"""Client tokens: a repeated request returns the same instances.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from flambe_ansible.lab.answers import RefusedError

# Parameters that may differ between two equal requests.
_NOT_COMPARED = ("Action", "ClientToken", "DryRun", "Version")


@dataclass
class TokenBook:
    """The used tokens, each with its request and its reservation."""

    entries: dict[str, tuple[str, str]] = field(default_factory=dict)

    def find(self, token: str, parameters: Mapping[str, str]) -> str | None:
        """Find the reservation of an earlier request with this token; None for a new token."""
        request, reservation = self.entries.get(token, ("", None))
        if reservation and request != fingerprint(parameters):
            raise RefusedError(
                "IdempotentParameterMismatch",
                f"Arguments on this idempotent request are inconsistent with arguments used in previous request(s) "
                f"with client token {token}",
            )
        return reservation

    def remember(self, token: str, parameters: Mapping[str, str], reservation: str) -> None:
        """Record the reservation of a request with this token."""
        self.entries[token] = (fingerprint(parameters), reservation)


def fingerprint(parameters: Mapping[str, str]) -> str:
    """Return a hash of a request's parameters that does not depend on their order."""
    kept = {key: value for key, value in parameters.items() if key not in _NOT_COMPARED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
