"""``runtime: ray``: current Ray on current Python, with the user's packages.

The roles' defaults define the ports; a test compares the constants here with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.events import Observer
from flambe_ansible.pythons import find_uv
from flambe_ansible.runtimes import ray_versions
from flambe_ansible.runtimes.base import CommandRunner, JobRunner, RuntimeVersion
from flambe_ansible.runtimes.ray_service import Drain, RayService
from flambe_ansible.sources import Requirements

ROOT = "/opt/ray"
VENV = f"{ROOT}/venv"
EXTENSIONS = f"{ROOT}/extensions"
RAY_UNIT = "flambe-ray.service"
RAY_NODES = f"{ROOT}/bin/ray-nodes"
JOBS_COMMAND = f"{ROOT}/bin/ray-jobs"
RAY_PORT = 6379
CLIENT_PORT = 10001
DASHBOARD_PORT = 8265
DASHBOARD_URL = f"http://127.0.0.1:{DASHBOARD_PORT}"  # on the orchestrator
BOARDS = ".flambe/tensorboard"  # what TensorBoard shows, in the home folder
TOKEN_FILE = ".ray/auth_token"  # noqa: S105 - a path in the home folder of the login user, on every host; Ray's default
START_TIMEOUT = 300  # seconds for all nodes; Ray gives up after 30 s on a slow host, and systemd starts it again


SERVICE = RayService(
    unit=RAY_UNIT,
    nodes_command=RAY_NODES,
    tag="ray_node",
    port=RAY_PORT,
    start_timeout=START_TIMEOUT,
    token_file=TOKEN_FILE,
)


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """The custom resources and labels of Ray's nodes.

    Attributes:
        orchestrator_resources: The resources of the orchestrator, name to amount.
        factories_resources: The resources of each factory.
        factories_labels: The labels of each factory.
    """

    orchestrator_resources: Mapping[str, float] = field(default_factory=dict)
    factories_resources: Mapping[str, float] = field(default_factory=dict)
    factories_labels: Mapping[str, str] = field(default_factory=dict)


class RayRuntime:
    """Current Ray.

    Args:
        options: The mapping of the field ``runtime``; empty for all defaults.
        nodes: Resources and labels.
    """

    name = "ray"
    install_tags: Sequence[str] = ("python_env",)
    roles: Sequence[str] = ("python_env", "ray_node", "ray_jobs", "tensorboard")
    ray: RayService | None = SERVICE
    jobs: JobRunner | None = None
    protection: Mapping[str, Any] = {"python_env_unless_active": RAY_UNIT, "ray_node_restart": False}
    cuda_capability: float | None = None
    machines: Sequence[str] = ("x86_64", "aarch64")
    marker = RAY_NODES

    def __init__(self, options: Mapping[str, Any] | None = None, nodes: NodeOptions | None = None) -> None:
        self._options = dict(options or {})
        self._nodes = nodes or NodeOptions()
        self._venv = self._options.get("venv") or VENV
        drain = Drain(environment=self._venv, port=RAY_PORT, dashboard=DASHBOARD_URL)
        self.ray = replace(SERVICE, drains=drain)
        self.commands: CommandRunner | None = CommandRunner(
            command=JOBS_COMMAND,
            dashboard_port=DASHBOARD_PORT,
            dashboard_unit=RAY_UNIT,
            client_port=CLIENT_PORT,
            token=TOKEN_FILE,
            environment=self._venv,
            extensions=EXTENSIONS,
        )

    def check(self) -> None:
        """Check the versions of Ray and Python against what is known about Ray's releases."""
        self._check_release(self._options.get("ray") or ray_versions.TESTED, "ray", verb="is")

    def resolve(self, *, observer: Observer) -> RuntimeVersion:
        """Determine the release of Ray, and read the user's requirements; local projects are built."""
        self.check()
        if self._options.get("venv"):
            return self._describe_prepared()
        found = self._read_requirements(observer)
        version, origin = self._choose_release(found)
        self._check_release(
            version, "requirements" if self._options.get("requirements") else "packages", verb="pins Ray to"
        )
        return RuntimeVersion(
            version=version,
            origin=origin,
            python=self._describe_python(),
            requirements=Requirements(
                lines=(f"ray[default]=={version}", *found.lines), constraints=found.constraints, wheels=found.wheels
            ),
            warnings=tuple(self._list_warnings(version)),
        )

    def variables(self, version: RuntimeVersion) -> dict[str, Any]:
        """Return the variables of the roles that install Ray, run it, and run jobs on it."""
        options, required = self._options, version.requirements
        return {
            "python_env_root": ROOT,
            "python_env_venv": options.get("venv") or "",
            "python_env_expected": {"ray": options.get("ray") or ""},
            "python_env_requirements": list(required.lines),
            "python_env_constraints": list(required.constraints),
            "python_env_wheels_src": [str(path) for path in required.wheels],
            "python_env_python_version": options.get("python") or "",
            "python_env_python_accepted": ray_versions.list_pythons(version.version or ray_versions.TESTED),
            "python_env_python_fallback": ray_versions.choose_python(version.version or ray_versions.TESTED),
            "python_env_imports": ["ray"],
            "python_env_links": ["ray"],
            "python_env_index_url": options.get("index_url") or "",
            "python_env_torch_backend": options.get("torch_backend") or "auto",
            "python_env_uv_src": find_uv(),
            "ray_node_runtime": self._venv,
            "ray_node_root": ROOT,
            "ray_node_object_store_memory": options.get("object_store_memory") or 0,
            "ray_node_temp_dir": options.get("temp_dir") or "",
            "ray_jobs_root": ROOT,
            "ray_jobs_runtime": self._venv,
            "cluster_extensions_root": ROOT,
            "cluster_extensions_environment": self._venv,
            "cluster_extensions_overlay": EXTENSIONS,
            "tensorboard_logdir": BOARDS,
            "tensorboard_uv_src": find_uv(),
            "cluster_orchestrator_resources": dict(self._nodes.orchestrator_resources),
            "cluster_factories_resources": dict(self._nodes.factories_resources),
            "cluster_factories_labels": dict(self._nodes.factories_labels),
        }

    def _check_release(self, release: str, field: str, *, verb: str) -> None:
        """Check that a release of Ray, which a field sets, is supported and has wheels for the configured Python."""
        if Version(release) < ray_versions.OLDEST:
            expected = f"{ray_versions.OLDEST} or later, or runtime: flambe"
            raise _refuse(field, f"{verb} {release}", expected=expected)
        python, pythons = self._options.get("python"), ray_versions.list_pythons(release)
        minor = ".".join(str(python).split(".")[:2])
        if python is None or minor in pythons or ray_versions.is_newer_than_tested(release):
            return
        raise _refuse(
            "python", f"is {python}, and Ray {release} has no wheels for it", expected=f"{pythons[0]} to {pythons[-1]}"
        )

    def _describe_prepared(self) -> RuntimeVersion:
        origin = f"prepared on the hosts in {self._options['venv']}"
        return RuntimeVersion(version=self._options.get("ray") or "", origin=origin, python="that environment's Python")

    def _read_requirements(self, observer: Observer) -> Requirements:
        from flambe_ansible.sources import read_requirements

        file = self._options.get("requirements")
        packages = self._options.get("packages") or ()
        return read_requirements(Path(file) if file else None, packages, observer=observer)

    def _choose_release(self, found: Requirements) -> tuple[str, str]:
        """Return the release of Ray and where it comes from."""
        if self._options.get("ray"):
            return str(Version(self._options["ray"])), "as configured"
        listed = found.find("ray")
        pinned = [one.version for one in listed.specifier if one.operator == "=="] if listed else []
        if pinned:
            return _as_release(pinned[0]), "as in the requirements"
        local = ray_versions.find_local()
        if local:
            return local.version, local.origin
        return ray_versions.TESTED, "the newest release that was tested; none is installed here or configured"

    def _describe_python(self) -> str:
        configured = self._options.get("python")
        return f"Python {configured}" if configured else "the hosts' own Python"

    def _list_warnings(self, version: str) -> list[str]:
        """List what to know before the launch."""
        warnings = []
        if ray_versions.is_newer_than_tested(version):
            warnings.append(f"Ray {version} is newer than {ray_versions.TESTED}, the newest release that was tested")
        skew = ray_versions.compare_local(version, self._options.get("python") or "")
        return [*warnings, skew] if skew else warnings


def _as_release(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        raise ClusterConfigurationError(f"the requirements pin Ray to {text}, which is not a release") from None


def _refuse(name: str, message: str, *, expected: str) -> ClusterConfigurationError:
    problem = Problem(
        file="", line=0, column=0, message=f"runtime.{name} {message}", expected=expected, field=f"runtime.{name}"
    )
    return ClusterConfigurationError.of([problem])
