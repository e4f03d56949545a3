"""TensorBoard and the report site of an experiment: where they listen, and how one gets there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flambe_ansible.hosts import Host

TENSORBOARD_PORT = 49556
REPORT_SITE_PORT = 49558
TENSORBOARD_UNIT = "flambe-tensorboard.service"
REPORT_SITE_UNIT = "flambe-report-site.service"
LOOPBACK = "127.0.0.1"
EVERYBODY = "0.0.0.0"  # noqa: S104 - only where the user says expose_sites


@dataclass(frozen=True, kw_only=True)
class Sites:
    """The addresses of both sites, as a browser takes them."""

    report_site: str
    tensorboard: str


def make_sites(host: str, report_site: int = REPORT_SITE_PORT, tensorboard: int = TENSORBOARD_PORT) -> Sites:
    """Write the addresses of both sites at a host and its ports."""
    name = f"[{host}]" if ":" in host else host
    return Sites(report_site=f"http://{name}:{report_site}/", tensorboard=f"http://{name}:{tensorboard}/")


def find_public_sites(orchestrator: Host) -> Sites:
    """Say where exposed sites are, for everybody who reaches the orchestrator."""
    return make_sites(orchestrator.public_ip or orchestrator.address)


def site_variables(results: str, log: str, *, expose: bool) -> dict[str, Any]:
    """Return the variables of the roles ``tensorboard`` and ``report_site``.

    Args:
        results: The experiment's folder of results on the orchestrator, absolute.
        log: Its log there, absolute.
        expose: Listen for everybody, not for the orchestrator alone.
    """
    host = EVERYBODY if expose else LOOPBACK
    return {
        "tensorboard_logdir": results,
        "tensorboard_host": host,
        "report_site_output_dir": results,
        "report_site_output_log": log,
        "report_site_host": host,
    }
