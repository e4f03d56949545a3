"""The keyword arguments that all clusters share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict


class ClusterOptions(TypedDict, total=False):
    """The keyword arguments that all clusters share; ``Cluster`` documents them."""

    runtime: str | Mapping[str, Any]
    flambe_version: str | None
    flambe_source: str | None
    use_public: bool
    strict_host_keys: bool
    setup_timeout: float
    install_timeout: float
    expose_sites: bool
    answer_timeout: float
    boot_timeout: float | None
    factories_resources: Mapping[str, float] | None
    orchestrator_resources: Mapping[str, float] | None
    factories_labels: Mapping[str, str] | None
    idle_cpu_percent: float
    idle_gpu_percent: float
    idle_command: str | None
    nvidia_driver: str
    docker: bool
