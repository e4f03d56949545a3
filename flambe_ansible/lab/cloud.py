"""The lab's AWS account: moto's EC2 and CloudWatch, with the lab's network, image and key.

moto keeps its state in memory. The lab saves it in its folder after each change, and the next daemon loads it.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flambe_ansible.errors import LabError
from flambe_ansible.files import write_atomic
from flambe_ansible.lab import sources
from flambe_ansible.lab.state import Settings
from flambe_ansible.lab.tokens import TokenBook

ACCOUNT = "123456789012"
REGION = "us-east-1"
ZONE = "us-east-1a"
KEY_NAME = "flambe-lab"
CANONICAL = "099720109477"

# The code of each instance state.
STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def prepare_moto() -> None:
    """Set moto's options, which it reads when it is imported."""
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"


class Cloud:
    """moto's backends for one lab, its client tokens, and each host's layers of images by instance id."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.folder / "cloud.pickle"
        self.tokens = TokenBook()
        self.layers: dict[str, tuple[str, ...]] = {}
        self.spot_role = False  # whether EC2's role for Spot Instances exists
        self.linked_role = False  # whether CloudWatch's role for actions on instances exists
        self.subnet_id = self.security_group = self.image_id = ""
        self.ec2: Any = None
        self.cloudwatch: Any = None

    @classmethod
    def open(cls, settings: Settings, public_key: str) -> Cloud:
        """Load a lab's account, or create it."""
        from moto.cloudwatch.models import cloudwatch_backends
        from moto.ec2.models import ec2_backends

        cloud = cls(settings)
        if cloud._path.exists():
            cloud._read()
            _open_group(cloud.ec2, cloud.security_group)
            ec2_backends[ACCOUNT][REGION] = cloud.ec2
            cloudwatch_backends[ACCOUNT][REGION] = cloud.cloudwatch
        else:
            cloud.ec2 = ec2_backends[ACCOUNT][REGION]
            cloud.cloudwatch = cloudwatch_backends[ACCOUNT][REGION]
            cloud._furnish(settings, public_key)
            cloud.save()
        return cloud

    def instances(self) -> Iterator[Any]:
        """Iterate over all instances, including terminated ones."""
        for reservation in list(self.ec2.reservations.values()):
            yield from list(reservation.instances)

    def images(self) -> list[Any]:
        """List the images of hosts; the lab's own image has another owner."""
        return [image for image in list(self.ec2.amis.values()) if image.owner_id == ACCOUNT]

    def public_keys(self, key_name: str | None) -> tuple[str, ...]:
        """Return the public key of a key pair as lines of authorized_keys."""
        pair = self.ec2.key_pairs.get(key_name)
        if pair is None:
            return ()
        words = pair.material_public.decode().strip().split()
        return (" ".join([*words[:2], key_name or ""]),)

    def forget(self, instance: Any) -> None:
        """Remove a terminated instance from the account."""
        for key, reservation in list(self.ec2.reservations.items()):
            reservation.instances = [other for other in reservation.instances if other is not instance]
            if not reservation.instances:
                del self.ec2.reservations[key]

    def release_address(self, instance: Any) -> None:
        """Free the address of an instance whose host has ended."""
        for nic in instance.nics.values():
            if nic.id in self.ec2.enis:
                nic.delete()
        instance._private_ips = set()  # otherwise moto would free it a second time, when another instance has it

    def save(self) -> None:
        """Save the account in a file that only root can read."""
        kept = (
            "tokens",
            "layers",
            "linked_role",
            "spot_role",
            "subnet_id",
            "security_group",
            "image_id",
            "ec2",
            "cloudwatch",
        )
        document = {"moto": version("moto"), **{name: getattr(self, name) for name in kept}}
        write_atomic(self._path, pickle.dumps(document))

    def _read(self) -> None:
        """Load what ``save`` wrote."""
        document = pickle.loads(self._path.read_bytes())  # noqa: S301 # only root can write the file
        written, installed = document.pop("moto"), version("moto")
        if written != installed:
            raise LabError(
                f"the lab was created with moto {written}, but moto {installed} is installed",
                hint=f"sudo flambe-ans lab down, or install moto=={written}",
            )
        for name, value in document.items():
            setattr(self, name, value)
        for subnets in self.ec2.subnets.values():
            for subnet in subnets.values():
                # moto starts again at the first address of the range, which is the gateway's.
                subnet._reserved_ips |= subnet.aws_reserved_ips

    def _furnish(self, settings: Settings, public_key: str) -> None:
        """Create the lab's network, security group, key pair and base image in an empty account."""
        ec2 = self.ec2
        for subnets in ec2.subnets.values():
            subnets.clear()
        ec2.groups.clear()
        ec2.vpcs.clear()
        vpc = ec2.create_vpc(settings.network, is_default=True)
        ec2.default_vpc = vpc
        default = ec2.get_default_security_group(vpc.id)  # in moto it has no rules
        ec2.authorize_security_group_ingress(default.id, "-1", None, None, [], source_groups=[{"GroupId": default.id}])
        subnet = ec2.create_subnet(vpc.id, settings.network, availability_zone=ZONE)
        subnet.map_public_ip_on_launch = False
        subnet.default_for_az = True
        subnet.add_tags({"Name": f"flambe-lab-{settings.name}"})
        group = ec2.create_security_group("flambe-lab", f"The hosts of lab {settings.name}", vpc.id)
        _open_group(ec2, group.id)
        ec2.import_key_pair(KEY_NAME, public_key.encode(), {})
        image = _make_image(ec2)
        ec2.amis[image.id] = image
        self.subnet_id, self.security_group, self.image_id = subnet.id, group.id, image.id


def _open_group(ec2: Any, group_id: str) -> None:
    """Give the lab's security group the rules of a cluster, unless it has rules."""
    if not ec2.get_security_group_from_id(group_id).ingress_rules:
        ec2.authorize_security_group_ingress(group_id, "tcp", "22", "22", [{"CidrIp": "0.0.0.0/0"}])
        ec2.authorize_security_group_ingress(group_id, "-1", None, None, [], source_groups=[{"GroupId": group_id}])


def _make_image(ec2: Any) -> Any:
    """Create the lab's base image, with the name and owner that launchers search for by default."""
    from flambe_ansible.lab.moto_image import LabImage

    release = sources.this_release()
    return LabImage(
        ec2,
        "ami-" + "f1a3be".rjust(17, "0"),
        name="ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-flambe-lab",
        description=f"The lab's image: {release.distribution} {release.version} ({release.codename}), minimal",
        owner_id=CANONICAL,
        public=True,
        virtualization_type="hvm",
        architecture="x86_64",
        hypervisor="xen",
        root_device_type="ebs",
        root_device_name="/dev/sda1",
    )


def key_file(folder: Path) -> Path:
    """Return the path of the private key of the lab's key pair."""
    return folder / "key.pem"
