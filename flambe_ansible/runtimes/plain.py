"""``runtime: none``: hosts with keys, setup commands and secrets; nothing is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flambe_ansible.events import Observer
from flambe_ansible.fleet.copying import KEY_FILE
from flambe_ansible.runtimes.base import CommandRunner, JobRunner, RuntimeVersion
from flambe_ansible.runtimes.ray_service import RayService


class PlainRuntime:
    """Plain hosts."""

    name = "none"
    install_tags: Sequence[str] = ()
    roles: Sequence[str] = ()
    ray: RayService | None = None
    jobs: JobRunner | None = None
    commands: CommandRunner | None = None
    protection: Mapping[str, Any] = {}
    machines: Sequence[str] = ("x86_64", "aarch64")
    marker = KEY_FILE
    cuda_capability: float | None = None

    def check(self) -> None:
        """Accept every configuration that the fields allow."""

    def resolve(self, *, observer: Observer) -> RuntimeVersion:
        """Return an empty version: nothing is installed."""
        del observer
        return RuntimeVersion()

    def variables(self, version: RuntimeVersion) -> dict[str, Any]:
        """Return no variables."""
        del version
        return {}
