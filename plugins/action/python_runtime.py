# Copyright: the flambe-ansible contributors. MIT license.
"""Check a role's variables before the module python_runtime runs; copy uv and the wheel to hosts that lack them."""

from __future__ import annotations

from ansible_collections.flambe.cluster.plugins.plugin_utils.copying_action import CopyingAction


class ActionModule(CopyingAction):
    """Copies ``uv_src`` to ``uv``, and ``wheel_src`` to ``wheel``."""

    def list_missing(self, result):
        """Return uv and the wheel, if the module reports that they are missing."""
        given, modes = self._task.args, {"uv": "0755", "wheel": "0644"}
        return [
            {"src": given.get(f"{name}_src", ""), "dest": given[name], "mode": mode}
            for name, mode in modes.items()
            if result.get(f"{name}_missing")
        ]
