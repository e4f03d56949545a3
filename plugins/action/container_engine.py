# Copyright: the flambe-ansible contributors. MIT license.
"""Check the variables of a role before the module container_engine runs."""

from __future__ import annotations

from ansible_collections.flambe.cluster.plugins.plugin_utils.checked_action import ActionModule

__all__ = ["ActionModule"]
