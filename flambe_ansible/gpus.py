"""The NVIDIA GPUs of a host as data, as nvidia-smi lists them there."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from flambe_ansible import paths


class GpuState(StrEnum):
    """Whether the GPUs of a host can be used; the values are those of ``plugins/module_utils/nvidia_smi.py``."""

    OK = "ok"
    NONE = "none"
    NO_DRIVER = "no_driver"
    NO_DEVICES = "no_devices"
    MISMATCH = "mismatch"
    ERROR = "error"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


NO_GPUS = json.dumps({"state": GpuState.NONE, "error": "", "gpus": [], "visible": 0})  # as the program prints it


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU.

    Attributes:
        index: Its index for CUDA and nvidia-smi.
        name: Its name, such as ``NVIDIA H200``.
        uuid: Its UUID.
        memory: Its memory in MiB; 0 is unknown.
        driver: The version of NVIDIA's driver.
        capability: Its CUDA compute capability, such as ``9.0``; "" is unknown.
        mig: Whether it is divided (MIG mode).
        mig_devices: Its MIG devices, each with its ``profile``, such as ``1g.5gb``, and its ``uuid``.
    """

    index: int
    name: str
    uuid: str = ""
    memory: int = 0
    driver: str = ""
    capability: str = ""
    mig: bool = False
    mig_devices: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class HostGpus:
    """The GPUs of one host.

    Attributes:
        state: Whether they can be used.
        error: Why not, in one line, or "".
        gpus: Those that work.
        visible: The number of GPUs that /etc/environment leaves visible to CUDA, and so to Ray.
    """

    state: GpuState = GpuState.UNKNOWN
    error: str = ""
    gpus: tuple[Gpu, ...] = ()
    visible: int = 0

    @property
    def known(self) -> bool:
        """Whether the number of GPUs is certain."""
        return self.state in (GpuState.OK, GpuState.NONE)

    @property
    def capability(self) -> float:
        """The highest compute capability; 0 if it has no GPU or is unknown."""
        return max((float(one.capability) for one in self.gpus if one.capability), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        return {
            "state": str(self.state),
            "error": self.error,
            "visible": self.visible,
            "gpus": [asdict(one) for one in self.gpus],
        }

    def variables(self) -> dict[str, Any]:
        """Return the variables of the host for Ansible; none if nothing is known."""
        if self.state is GpuState.UNKNOWN:
            return {}
        return {
            "gpu_state": str(self.state),
            "gpu_count": len(self.gpus),
            "gpu_name": self.gpus[0].name if self.gpus else "",
            "gpu_driver": self.gpus[0].driver if self.gpus else "",
            "gpus": [asdict(one) for one in self.gpus],
        }

    def __str__(self) -> str:
        """Describe them in a few words: ``8 x NVIDIA H200, 140 GiB, driver 580.159.04``; "" if there are none."""
        kinds: dict[str, int] = {}
        for one in self.gpus:
            memory = f", {one.memory / 1024:.0f} GiB" if one.memory else ""
            mig = f", MIG: {_count([device['profile'] for device in one.mig_devices])}" if one.mig else ""
            kind = f"{one.name}{memory}{f', driver {one.driver}' if one.driver else ''}{mig}"
            kinds[kind] = kinds.get(kind, 0) + 1
        words = [f"{number} x {kind}" for kind, number in kinds.items()]
        return "; ".join([*words, *([self.error] if self.error else [])])


def parse(text: str) -> HostGpus:
    """Read the JSON document of the program; malformed text is an unknown state."""
    try:
        document: Any = json.loads(text.strip().rpartition("\n")[2])
        return HostGpus(
            state=GpuState(document["state"]),
            error=_plain(document["error"]),
            gpus=tuple(_parse_gpu(one) for one in document["gpus"]),
            visible=int(document["visible"]),
        )
    except (ValueError, KeyError, TypeError):
        return HostGpus()


def add_variables(hosts: Mapping[str, Mapping[str, Any]], found: Mapping[str, HostGpus]) -> dict[str, dict[str, Any]]:
    """Return the variables of hosts for Ansible, by name, with those of their GPUs."""
    return {name: {**one, **(found[name].variables() if name in found else {})} for name, one in hosts.items()}


@functools.cache
def read_program() -> str:
    """Return the program that prints the GPUs of a host as JSON; it needs Python 3.8 there, and no other package."""
    return (paths.collection() / "plugins/module_utils/nvidia_smi.py").read_text(encoding="utf-8")


def read_search_path() -> str:
    """Return the folders in which that program looks for nvidia-smi, besides those of ``PATH``."""
    [path] = re.findall(r'^PATH = "(.+)"$', read_program(), re.MULTILINE)
    return str(path)


def _parse_gpu(document: Mapping[str, Any]) -> Gpu:
    words = {name: _plain(document[name]) for name in ("name", "uuid", "driver", "capability")}
    float(words["capability"] or 0)
    return Gpu(
        index=int(document["index"]),
        memory=int(document["memory"]),
        mig=bool(document["mig"]),
        mig_devices=tuple({key: _plain(one[key]) for key in ("profile", "uuid")} for one in document["mig_devices"]),
        **words,
    )


def _count(names: Sequence[str]) -> str:
    """Write each name once with its number: ``2 x 1g.5gb, 3g.20gb``; ``no devices`` if there are none."""
    counts = {name: names.count(name) for name in names}
    return ", ".join(f"{number} x {name}" if number > 1 else name for name, number in counts.items()) or "no devices"


def _plain(text: object) -> str:
    return "".join(one if one.isprintable() else "?" for one in str(text))
