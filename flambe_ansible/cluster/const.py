"""flambé's constants: ``from flambe.cluster import const`` becomes an import of this module."""

from __future__ import annotations

from flambe_ansible.fleet.copying import KEY_FILE as PRIVATE_KEY
from flambe_ansible.runtimes.flambe import RAY_PORT as RAY_REDIS_PORT
from flambe_ansible.runtimes.flambe import REPORT_SITE_PORT, TENSORBOARD_PORT

__all__ = ["PRIVATE_KEY", "RAY_REDIS_PORT", "REPORT_SITE_PORT", "TENSORBOARD_PORT"]
