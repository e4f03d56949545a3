"""Check the instance types and the images of one role's new hosts; read-only."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from flambe_ansible.ec2 import api, baked, gpus, images
from flambe_ansible.ec2.baked import BakedImage
from flambe_ansible.ec2.images import Image
from flambe_ansible.ec2.launching import InstanceSettings, SettingNames
from flambe_ansible.errors import AWSError, Problem
from flambe_ansible.findings import make_problem
from flambe_ansible.hosts import Role

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import InstanceTypeInfoTypeDef
    from mypy_boto3_ssm.client import SSMClient

T = TypeVar("T")


@dataclass
class TypeResult:
    """The result of the checks of one instance type.

    Attributes:
        image: The image of hosts of this type, or None.
        problems: What prevents hosts of this type.
        notes: Messages for the user.
        zones: The zones that offer it.
        unoffered: Whether the only problem is that no zone offers it.
        gpus: Its NVIDIA GPUs in words, or "".
    """

    image: Image | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    zones: Sequence[str] = ()
    unoffered: bool = False
    gpus: str = ""


@dataclass(frozen=True)
class RoleChecks:
    """The checks of one role.

    ``capability`` is the highest CUDA compute capability of its GPUs, None for no limit; ``remedy`` says how to use
    types with newer ones; ``baked`` are the images that have all that its hosts get installed.
    """

    ec2: EC2Client
    ssm: SSMClient
    settings: InstanceSettings
    names: SettingNames
    role: Role
    capability: float | None
    remedy: str = ""
    baked: Sequence[BakedImage] = ()

    def check_types(self, zones: Sequence[str]) -> dict[str, TypeResult]:
        """Check all types of the role; one that no zone offers is left out, with a note, if another one can be used."""
        results = {kind: self.check_type(kind, zones) for kind in self.settings.list_types(self.role)}
        usable = [one for one in results.values() if not one.problems]
        for one in results.values():
            if one.unoffered and usable:
                usable[0].notes.append(f"{one.problems[0].message}; it is left out")
        return {kind: one for kind, one in results.items() if not (one.unoffered and usable)}

    def check_type(self, kind: str, zones: Sequence[str]) -> TypeResult:
        """Check one instance type and its image, and that they fit together; without zones, none is compared."""
        name, result = self.names.types[self.role], TypeResult()
        info, result.problems = look_up(lambda: api.describe_instance_type(self.ec2, kind), name, kind)
        exists, result.gpus = info is not None, gpus.describe(info) if info else ""
        result.zones = [zone for zone in zones if kind in api.list_offered_types(self.ec2, zone, kind)]
        if zones and not result.zones:
            where = f"{zones[0]}, the zone of the subnet, does not offer" if len(zones) == 1 else "no zone offers"
            expected, suggestion = "an instance type of the zone", self._suggest_type(kind, zones[0])
            result.problems = [make_problem(name, f"{where} {kind}", expected=expected, suggestion=suggestion)]
            info = None
        accepted = self.settings.architectures
        if info and images.find_architecture(info) not in accepted:
            message = f"{kind} is not an {' or '.join(accepted)} machine"
            result.problems.append(make_problem(name, message, expected=f"an {' or '.join(accepted)} instance type"))
        if info and self.capability and (gpus.read_capability(info) or 0.0) > self.capability:
            message = f"the GPUs of {kind} ({gpus.describe(info)}) are newer than the runtime supports (CUDA compute "
            message += f"capability {self.capability})"
            expected = f"a type with older GPUs, or none{f'; {self.remedy}' if self.remedy else ''}"
            suggestion = self._suggest_type(kind, zones[0] if zones else "")
            result.problems.append(make_problem(name, message, expected=expected, suggestion=suggestion))
        unoffered = bool(zones and exists and not result.zones)
        self._check_image(kind, info, result)
        result.unoffered = unoffered and len(result.problems) == 1
        return result

    def _suggest_type(self, kind: str, zone: str) -> str:
        """Return a type of the zone that the user may have meant; one with GPUs for the name of one with GPUs."""
        offered = api.list_offered_types(self.ec2, zone) if zone else set()
        if not gpus.has_gpu_name(kind):
            return find_closest(kind, offered)
        found = api.describe_instance_types(self.ec2, sorted(filter(gpus.has_gpu_name, offered)))
        fitting = [one for one in found if images.find_architecture(one) in self.settings.architectures]
        return gpus.suggest(kind, fitting, limit=self.capability)

    def _check_image(self, kind: str, info: InstanceTypeInfoTypeDef | None, result: TypeResult) -> None:
        """Find the image for a type, and add its problems to the result."""
        name, wanted = self.names.images[self.role], self.settings.images[self.role]
        if wanted:
            result.image, problems = look_up(
                lambda: images.get_image(self.ec2, wanted, origin=f"named by {name}"), name, wanted
            )
            result.problems += problems
        elif info:
            architecture = images.find_architecture(info)
            if architecture not in self.settings.architectures:
                return
            result.image = images.find_default(
                self.ec2, self.ssm, gpu=images.wants_gpu_image(info), architecture=architecture
            )
            if images.has_undriven_gpu(info):
                result.notes.append(
                    f"the default image has no driver for the GPUs of {kind}: "
                    f"set {name} to an image that has one, or install the driver with a setup command"
                )
        if info and result.image:
            result.image = self._find_baked(info, result.image) or result.image
        image = result.image
        if not image:
            return
        accepted = self.settings.architectures
        fitting = images.find_architecture(info) if info else ""
        if image.architecture not in ((fitting,) if fitting in accepted else accepted):
            message = f"image {image.id} is for {image.architecture}"
            expected = fitting if fitting in accepted else " or ".join(accepted)
            result.problems.append(make_problem(name, message, expected=f"an image for {expected}"))
        if image.state != "available":
            message = f"image {image.id} is {image.state}"
            result.problems.append(make_problem(name, message, expected="an image that is available"))
        size, size_name = self.settings.volume_size, self.names.volume_size
        if image.size > size:
            message = f"{size_name} is {size}, image {image.id} needs {image.size} GB"
            result.problems.append(make_problem(size_name, message, expected=f"at least {image.size}"))

    def _find_baked(self, info: InstanceTypeInfoTypeDef, image: Image) -> Image | None:
        """Return the baked image that replaces an image; None if there is none that fits on the volume."""
        base = baked.name_base(self.settings.images[self.role], info)
        architecture, size = image.architecture, self.settings.volume_size
        found = baked.choose(self.baked, base=base, architecture=architecture, size=size)
        return found.image if found else None


def look_up(call: Callable[[], T], name: str, value: str) -> tuple[T | None, list[Problem]]:
    """Call AWS; that the resource does not exist is a problem of the setting with this name."""
    try:
        return call(), []
    except AWSError as error:
        if not error.code.startswith("Invalid") or error.code == "InvalidClientTokenId":
            raise
        return None, [make_problem(name, f"{name} {value}: {error.reason or error.message}")]


def find_closest(word: str, candidates: Iterable[str]) -> str:
    """Return the most similar word, or ""."""
    return next(iter(difflib.get_close_matches(word, sorted(candidates), n=1)), "")
