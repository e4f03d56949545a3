"""What a runnable knows of the cluster that it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from flambe_ansible.runnable.edit import Tagged


@dataclass(frozen=True)
class RemoteEnvironment:
    """The cluster, as a runnable sees it from the orchestrator; flambé's class of this name has the same fields.

    Attributes:
        key: Path on every host of the key by which the hosts reach each other.
        orchestrator_ip: The orchestrator's address inside the cluster.
        factories_ips: The factories' addresses inside the cluster.
        user: The user name on all hosts.
        local_user: Who submitted the run, on the machine that did.
        public_orchestrator_ip: The orchestrator's address from outside, if it has one.
        public_factories_ips: The factories' addresses from outside, if they have any.
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
        """Make one of a YAML mapping; keys that it does not know are left out.

        Raises:
            TypeError: A field without a default is missing.
        """
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def as_tagged(self) -> Tagged:
        """Return it as it is written in YAML."""
        return Tagged(self.TAG, asdict(self))
