# Copyright: the flambe-ansible contributors. MIT license.
"""Check the variables of a role."""

from __future__ import annotations

from ansible_collections.flambe.cluster.plugins.plugin_utils.checked_action import ActionModule as CheckedAction


class ActionModule(CheckedAction):
    """Only checks: nothing runs on the host."""

    def run_module(self, _tmp, _task_vars):
        """Return that all variables are right."""
        return {"changed": False, "msg": "the variables are right"}
