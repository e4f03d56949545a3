# Copyright: the flambe-ansible contributors. MIT license.
"""Copy uv and wheels to the host before the module python_lock runs."""

from __future__ import annotations

from ansible_collections.flambe.cluster.plugins.plugin_utils.copying_action import CopyingAction as ActionModule

__all__ = ["ActionModule"]
