"""TensorBoard and the report site of a job: where they listen, and their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flambe_ansible.errors import RunError
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runtimes import CommandRunner
from flambe_ansible.runtimes.flambe import REPORT_SITE_PORT, REPORT_SITE_UNIT, TENSORBOARD_PORT, TENSORBOARD_UNIT

LOOPBACK = "127.0.0.1"
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - only if the configuration has expose_sites


@dataclass(frozen=True, kw_only=True)
class Sites:
    """The addresses of the sites for a browser.

    Attributes:
        report_site: flambé's report site; None for a custom runnable, which has none.
        tensorboard: TensorBoard.
    """

    report_site: str | None
    tensorboard: str


@dataclass(frozen=True, kw_only=True)
class Dashboards:
    """The addresses of a Ray cluster's sites for a browser on this machine.

    Attributes:
        dashboard: Ray's dashboard.
        tensorboard: TensorBoard; its public address if it is exposed.
        token_file: The file with the token that the dashboard asks for, or "".
    """

    dashboard: str
    tensorboard: str
    token_file: str


def require_results(job: JobState) -> None:
    """Fail unless the sites show this job."""
    if not (job.is_experiment or job.save_path):
        raise RunError(
            f"{job.name} has nothing to show: its class sets no folder of results",
            state=job.state,
            hint="flambe-ans logs CLUSTER prints its output; set `results` in its class to show a folder",
        )


def make_sites(host: str, report_site: int | None = REPORT_SITE_PORT, tensorboard: int = TENSORBOARD_PORT) -> Sites:
    """Return the addresses of the sites at a host and its ports; None if there is no report site."""
    name = f"[{host}]" if ":" in host else host
    return Sites(
        report_site=f"http://{name}:{report_site}/" if report_site else None,
        tensorboard=f"http://{name}:{tensorboard}/",
    )


def list_units(job: JobState) -> dict[int, str]:
    """Return the units that serve the sites of a job, by port; only an experiment has a report site."""
    units = {REPORT_SITE_PORT: REPORT_SITE_UNIT} if job.is_experiment else {}
    return {**units, TENSORBOARD_PORT: TENSORBOARD_UNIT}


def list_command_units(runner: CommandRunner) -> dict[int, str]:
    """Return the units that serve Ray's dashboard and TensorBoard, by port."""
    return {runner.dashboard_port: runner.dashboard_unit, TENSORBOARD_PORT: TENSORBOARD_UNIT}


def make_dashboards(
    runner: CommandRunner, ports: Mapping[int, int], *, token: str, exposed: Host | None = None
) -> Dashboards:
    """Return the addresses of Ray's dashboard and TensorBoard.

    Args:
        runner: How the runtime runs commands.
        ports: The local port of each remote one.
        token: The file with Ray's token, or "".
        exposed: The orchestrator, if its TensorBoard listens on all addresses. Ray's dashboard never does.
    """
    sites = make_sites(_public_address(exposed)) if exposed else make_local_sites(ports)
    dashboard = f"http://{LOOPBACK}:{ports[runner.dashboard_port]}/"
    return Dashboards(dashboard=dashboard, tensorboard=sites.tensorboard, token_file=token)


def make_local_sites(ports: Mapping[int, int]) -> Sites:
    """Return the addresses of the sites on this machine; ``ports``: the local port of each remote one."""
    return make_sites(LOOPBACK, ports.get(REPORT_SITE_PORT), ports[TENSORBOARD_PORT])


def find_public_sites(orchestrator: Host, job: JobState) -> Sites:
    """Return the addresses of a job's exposed sites."""
    report_site = REPORT_SITE_PORT if job.is_experiment else None
    return make_sites(_public_address(orchestrator), report_site)


def site_variables(results: str, log: str, *, expose: bool) -> dict[str, Any]:
    """Return the variables of the roles ``tensorboard`` and ``report_site``."""
    return {
        **tensorboard_variables(results, expose=expose),
        **report_variables(results, log, expose=expose),
    }


def report_variables(results: str, log: str, *, expose: bool) -> dict[str, Any]:
    """Return the variables of the role ``report_site``."""
    return {
        "report_site_output_dir": results,
        "report_site_output_log": log,
        "report_site_host": listen_address(expose=expose),
    }


def tensorboard_variables(results: str, *, expose: bool) -> dict[str, Any]:
    """Return the variables of the role ``tensorboard``."""
    return {"tensorboard_logdir": results, "tensorboard_host": listen_address(expose=expose)}


def listen_address(*, expose: bool) -> str:
    """Return the address on which the sites listen."""
    return ALL_ADDRESSES if expose else LOOPBACK


def _public_address(orchestrator: Host) -> str:
    return orchestrator.public_ip or orchestrator.address
