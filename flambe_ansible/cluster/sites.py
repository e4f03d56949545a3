"""TensorBoard and the report site of a run: where they listen, and how one gets there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flambe_ansible.cluster.runs import RunState
from flambe_ansible.errors import RunError
from flambe_ansible.hosts import Host

TENSORBOARD_PORT = 49556
REPORT_SITE_PORT = 49558
TENSORBOARD_UNIT = "flambe-tensorboard.service"
REPORT_SITE_UNIT = "flambe-report-site.service"
LOOPBACK = "127.0.0.1"
EVERYBODY = "0.0.0.0"  # noqa: S104 - only where the user says expose_sites


@dataclass(frozen=True, kw_only=True)
class Sites:
    """The addresses of the sites, as a browser takes them.

    Attributes:
        report_site: flambé's report site; None for a run that is no experiment, as there is nothing on it then.
        tensorboard: TensorBoard.
    """

    report_site: str | None
    tensorboard: str


def check_shown(run: RunState) -> None:
    """Make sure that the sites show this run, not one before it.

    Raises:
        RunError: It is a runnable of the user's own without a folder of results, so that they do not know of it.
    """
    if not (run.is_experiment or run.save_path):
        raise RunError(
            f"{run.name} has nothing to show: it names no folder of results",
            state=run.state,
            hint="flambe-ans logs prints what it says; give its class a folder with `results`",
        )


def make_sites(host: str, report_site: int | None = REPORT_SITE_PORT, tensorboard: int = TENSORBOARD_PORT) -> Sites:
    """Write the addresses of the sites at a host and its ports; None for a report site that there is not."""
    name = f"[{host}]" if ":" in host else host
    return Sites(
        report_site=f"http://{name}:{report_site}/" if report_site else None,
        tensorboard=f"http://{name}:{tensorboard}/",
    )


def find_public_sites(orchestrator: Host, run: RunState) -> Sites:
    """Say where the exposed sites of a run are, for everybody who reaches the orchestrator."""
    report_site = REPORT_SITE_PORT if run.is_experiment else None
    return make_sites(orchestrator.public_ip or orchestrator.address, report_site)


def site_variables(results: str, log: str, *, expose: bool) -> dict[str, Any]:
    """Return the variables of the roles ``tensorboard`` and ``report_site``.

    Args:
        results: The experiment's folder of results on the orchestrator, absolute.
        log: Its log there, absolute.
        expose: Listen for everybody, not for the orchestrator alone.
    """
    return {
        **tensorboard_variables(results, expose=expose),
        "report_site_output_dir": results,
        "report_site_output_log": log,
        "report_site_host": _find_host(expose),
    }


def tensorboard_variables(results: str, *, expose: bool) -> dict[str, Any]:
    """Return the variables of the role ``tensorboard`` alone, as ``site_variables``."""
    return {"tensorboard_logdir": results, "tensorboard_host": _find_host(expose)}


def _find_host(expose: bool) -> str:
    return EVERYBODY if expose else LOOPBACK
