"""``runtime: flambe``: flambe 0.4 with Python 3.7 and Ray 0.7.6, the default that flambé's documents promise.

The roles' defaults define the paths, units and ports; a test compares the constants here with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flambe_ansible.events import Observer
from flambe_ansible.pythons import find_uv
from flambe_ansible.runtimes import flambe_version
from flambe_ansible.runtimes.base import CommandRunner, JobRunner, RuntimeVersion
from flambe_ansible.runtimes.ray_service import RayService

ROOT = "/opt/flambe"
RAY_UNIT = "flambe-ray.service"
RAY_NODES = f"{ROOT}/bin/ray-nodes"
RAY_PORT = 12345
JOB_UNIT = "flambe-run.service"
JOB_COMMAND = f"{ROOT}/bin/flambe-run"
JOB_LOG = "output.log"  # flambé's own name, in the home folder
EXPERIMENT_PROGRAM = (f"{ROOT}/venv/bin/python", "-m", "flambe.runner.run")
# Prints the version of flambe in its environment; nothing if it is not installed.
FIND_INSTALLED = f"""
for one in {ROOT}/venv/lib/python3*/site-packages/flambe-*.dist-info; do
  if test -f "$one/METADATA"; then basename "$one" .dist-info | cut -d- -f2; fi
done
"""
TENSORBOARD_PORT = 49556
TENSORBOARD_UNIT = "flambe-tensorboard.service"
REPORT_SITE_PORT = 49558
REPORT_SITE_UNIT = "flambe-report-site.service"


class FlambeRuntime:
    """flambe 0.4 and its Ray.

    Args:
        version: The release to install, or None.
        source: The path of a checkout to install instead, or None. Without both it is the flambe that is installed on
            this machine, else the last release.
    """

    name = "flambe"
    install_tags: Sequence[str] = ("flambe",)
    roles: Sequence[str] = ("flambe", "ray_node")
    ray: RayService | None = RayService(unit=RAY_UNIT, nodes_command=RAY_NODES, tag="ray_node", port=RAY_PORT)
    jobs: JobRunner | None = JobRunner(command=JOB_COMMAND, log=JOB_LOG)
    commands: CommandRunner | None = None
    protection: Mapping[str, Any] = {"flambe_unless_active": RAY_UNIT, "ray_node_restart": False}
    machines: Sequence[str] = ("x86_64",)  # torch 1.3 has no other wheels
    marker = RAY_NODES
    cuda_capability: float | None = 7.5  # torch 1.3 with CUDA 10.1: up to the T4 of g4dn

    def __init__(self, version: str | None = None, source: str | None = None) -> None:
        self._version = version
        self._source = source

    def check(self) -> None:
        """Accept every configuration that the fields allow."""

    def resolve(self, *, observer: Observer) -> RuntimeVersion:
        """Determine the release or checkout; build a checkout unless its content was built before."""
        found = flambe_version.resolve(self._version, source=self._source)
        return flambe_version.build(found, observer=observer)

    def variables(self, version: RuntimeVersion) -> dict[str, Any]:
        """Return the variables of role ``flambe``."""
        return {
            "flambe_version": version.version,
            "flambe_wheel_src": str(version.wheel or ""),
            "flambe_uv_src": find_uv(),
        }
