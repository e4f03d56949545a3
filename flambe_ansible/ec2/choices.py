"""The combinations of an instance type and a subnet in which new hosts of one role are requested, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flambe_ansible.ec2.errors import NO_CAPACITY
from flambe_ansible.ec2.images import Image
from flambe_ansible.ec2.launching import InstanceSettings
from flambe_ansible.ec2.role_checks import TypeResult
from flambe_ansible.errors import AWSError
from flambe_ansible.hosts import Role

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import SubnetTypeDef

# The account has no room for more vCPUs of the type in any zone of the region.
QUOTA_CODES = frozenset({"InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"})
# No host was created, and another type or zone may have room. The codes for a lack of capacity, and of addresses in a
# subnet, start with NO_CAPACITY. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
OTHER_CODES = QUOTA_CODES | {"SpotMaxPriceTooLow", "Unsupported"}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One combination.

    Attributes:
        type: The instance type.
        subnet_id: The subnet.
        zone: The subnet's zone, or "" if it is unknown.
        image: The image of hosts of this type.
        public_address: Whether the hosts must request public addresses.
        gpus: The NVIDIA GPUs of the type in words, or "".
    """

    type: str
    subnet_id: str
    zone: str
    image: Image
    public_address: bool = False
    gpus: str = ""

    def apply(self, settings: InstanceSettings, role: Role) -> InstanceSettings:
        """Return the settings of hosts of this combination."""
        return replace(
            settings,
            types={**settings.types, role: self.type},
            subnet_id=self.subnet_id,
            public_address=self.public_address,
        )

    def __str__(self) -> str:
        return f"{self.type} in {self.zone} ({self.subnet_id})"


def combine(
    types: Mapping[str, TypeResult], subnets: Sequence[SubnetTypeDef], *, public: Mapping[str, bool]
) -> tuple[Choice, ...]:
    """Combine types and subnets: all subnets for the first type, then those for the next one.

    Args:
        types: The result of the checks of each type.
        subnets: The descriptions of the subnets.
        public: Whether hosts must request public addresses, by subnet id.
    """
    return tuple(
        Choice(
            type=kind,
            subnet_id=subnet["SubnetId"],
            zone=subnet["AvailabilityZone"],
            image=result.image,
            public_address=public.get(subnet["SubnetId"], False),
            gpus=result.gpus,
        )
        for kind, result in types.items()
        for subnet in subnets
        if result.image and subnet["AvailabilityZone"] in result.zones
    )


def is_refusal(error: AWSError) -> bool:
    """Return whether another type or zone may have room: no host was created for a lack of capacity, quota or price."""
    return error.code.startswith(NO_CAPACITY) or error.code in OTHER_CODES
