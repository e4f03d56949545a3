"""The interface of a runtime, and the data that it consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flambe_ansible.events import Observer
from flambe_ansible.runtimes.ray_service import RayService
from flambe_ansible.sources import Requirements


@dataclass(frozen=True, kw_only=True)
class RuntimeVersion:
    """What the hosts get installed.

    Attributes:
        version: The release; for a checkout the version of its wheel, "" until it is built.
        origin: Where the version comes from, in words.
        source: The checkout that is installed instead of a release, or None.
        wheel: The wheel of the checkout, once it is built.
        python: The Python that it runs on, in words; "" if the runtime has only one.
        requirements: The packages that are installed.
        warnings: What the user should be warned about.
    """

    version: str = ""
    origin: str = ""
    source: Path | None = None
    wheel: Path | None = None
    python: str = ""
    requirements: Requirements = field(default_factory=Requirements)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobRunner:
    """How jobs are started on the orchestrator and asked for their state.

    Attributes:
        command: The program that starts, stops and describes the job; role ``cluster_runner`` installs it.
        log: The job's log, relative to the home folder.
    """

    command: str
    log: str


@dataclass(frozen=True, kw_only=True)
class CommandRunner:
    """How commands run as jobs on the orchestrator, several at once.

    Attributes:
        command: The program that submits, lists, shows and stops them; role ``ray_jobs`` installs it.
        dashboard_port: The port of Ray's dashboard, which serves the Jobs API, on the orchestrator's loopback.
        dashboard_unit: The unit that runs it.
        client_port: The port of the Ray client server.
        token: The file with Ray's token, relative to the home folder.
        environment: The virtual environment with Ray, on all hosts.
        extensions: The folder on all hosts for the extensions of runnables, and what they require and it lacks.
    """

    command: str
    dashboard_port: int
    dashboard_unit: str
    client_port: int
    token: str
    environment: str
    extensions: str


class Runtime(Protocol):
    """What the hosts of a cluster get installed; the other parts use only this data.

    Attributes:
        name: The value of the configuration's field ``runtime``.
        install_tags: Tags of the roles in site.yml that install it; none if there is nothing to install.
        roles: The roles in site.yml that are played for some runtimes only, and for this one.
        ray: How Ray is queried and stopped; None if the runtime has no Ray.
        jobs: How experiments and custom runnables run; None if the runtime cannot run experiments. A runtime with
            ``commands`` runs custom runnables as commands.
        commands: How jobs run that are commands; None if the runtime cannot run them.
        protection: Variables with which the roles fail, at the step ``protected``, instead of restarting a running
            Ray or changing its runtime.
        machines: The processors that it runs on, as ``uname -m`` prints them.
        marker: A file on the orchestrator that exists once a launch has prepared it; a relative path starts at the
            home folder.
        cuda_capability: The highest CUDA compute capability of GPUs that it can use; None is no limit.
    """

    name: str
    install_tags: Sequence[str]
    roles: Sequence[str]
    ray: RayService | None
    jobs: JobRunner | None
    commands: CommandRunner | None
    protection: Mapping[str, Any]
    machines: Sequence[str]
    marker: str
    cuda_capability: float | None

    def check(self) -> None:
        """Check what the fields cannot show, without a connection.

        Raises:
            ClusterConfigurationError: The configuration cannot work.
        """

    def resolve(self, *, observer: Observer) -> RuntimeVersion:
        """Determine which version the hosts get; build a checkout unless its content was built before.

        Raises:
            SourceError: The checkout cannot be built.
        """

    def variables(self, version: RuntimeVersion) -> dict[str, Any]:
        """Return the variables of the roles that install and start it."""
