"""The GPUs of instance types; pure functions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flambe_ansible.hosts import GPU_TYPE

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import GpuDeviceInfoTypeDef, InstanceTypeInfoTypeDef

# CUDA compute capabilities, from https://developer.nvidia.com/cuda-gpus, by the names of DescribeInstanceTypes:
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GpuDeviceInfo.html. A GPU that is missing here is newer.
CAPABILITIES = {
    "K520": 3.0,
    "K80": 3.7,
    "M60": 5.2,
    "V100": 7.0,
    "T4": 7.5,
    "T4g": 7.5,
    "A100": 8.0,
    "A10G": 8.6,
    "L4": 8.9,
    "L40S": 8.9,
    "H100": 9.0,
    "H200": 9.0,
    "B200": 10.0,
    "B300": 10.3,
    "RTX PRO 4500": 12.0,
    "RTX PRO Server 6000": 12.0,
}
NEWEST = 99.0
RETIRED = frozenset({"g2", "g3", "g3s", "p2", "p3", "p3dn"})  # AWS has retired these families


def read_capability(info: InstanceTypeInfoTypeDef) -> float | None:
    """Return the compute capability of a type's NVIDIA GPUs; None if it has none."""
    names = [gpu.get("Name", "") for gpu in _list_nvidia(info)]
    return max((CAPABILITIES.get(name, NEWEST) for name in names), default=None)


def describe(info: InstanceTypeInfoTypeDef) -> str:
    """Describe the NVIDIA GPUs of a type: ``4 x T4, 16 GiB``; "" if it has none."""
    parts = []
    for gpu in _list_nvidia(info):
        memory = gpu.get("MemoryInfo", {}).get("SizeInMiB", 0)
        parts.append(
            f"{gpu.get('Count', 1)} x {gpu.get('Name', 'NVIDIA')}{f', {memory / 1024:.0f} GiB' if memory else ''}"
        )
    return "; ".join(parts)


def has_gpu_name(instance_type: str) -> bool:
    """Return whether a type, which may not exist, is named as those with GPUs are."""
    return bool(GPU_TYPE.match(instance_type))


def suggest(wanted: str, candidates: Iterable[InstanceTypeInfoTypeDef], *, limit: float | None) -> str:
    """Return the type with GPUs that a user may have meant: of the same family, else of the same size.

    Args:
        wanted: The name, of a type that cannot be used.
        candidates: Types that can be created.
        limit: The highest compute capability, or None.
    """
    found = {str(info.get("InstanceType")): read_capability(info) for info in candidates}
    usable = {name: one for name, one in found.items() if one and one <= (limit or NEWEST) and not _is_retired(name)}
    names = sorted(usable, key=lambda name: (usable[name], name))
    family, _, size = wanted.partition(".")
    related = [name for name in names if name.startswith(f"{family}.")]
    same_size = [name for name in names if name.endswith(f".{size}")]
    return next(iter([*_find_similar(wanted, related), *same_size, *_find_similar(wanted, names)]), "")


def _is_retired(instance_type: str) -> bool:
    return instance_type.partition(".")[0] in RETIRED


def _find_similar(wanted: str, names: list[str]) -> list[str]:
    return difflib.get_close_matches(wanted, names, n=1)


def _list_nvidia(info: InstanceTypeInfoTypeDef) -> list[GpuDeviceInfoTypeDef]:
    gpus = info.get("GpuInfo", {}).get("Gpus", [])
    return [gpu for gpu in gpus if gpu.get("Manufacturer", "").upper() == "NVIDIA"]
