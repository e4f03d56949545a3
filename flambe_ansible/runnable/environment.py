"""The description of a cluster that a runnable gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from flambe_ansible.runnable.edit import Tagged


@dataclass(frozen=True)
class RemoteEnvironment:
    """The cluster that a runnable runs on. flambé's class of this name has the same fields.

    Attributes:
        key: The path of the SSH key for connections between the hosts; the same on all hosts.
        orchestrator_ip: The orchestrator's private address.
        factories_ips: The factories' private addresses.
        user: The login user on all hosts.
        local_user: The user who submitted the job.
        public_orchestrator_ip: The orchestrator's public address, if it has one.
        public_factories_ips: The factories' public addresses, if they have any.
    """

    key: str
    orchestrator_ip: str
    factories_ips: list[str]
    user: str
    local_user: str
    public_orchestrator_ip: str | None = None
    public_factories_ips: list[str] | None = None

    TAG: ClassVar[str] = "!RemoteEnvironment"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RemoteEnvironment:
        """Create an environment from a YAML mapping; unknown keys are ignored.

        Raises:
            TypeError: A field without a default is missing.
        """
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def as_tagged(self) -> Tagged:
        """Return the environment as a tagged YAML mapping."""
        return Tagged(self.TAG, asdict(self))
