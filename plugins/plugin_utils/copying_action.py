# Copyright: the flambe-ansible contributors. MIT license.
"""The action of modules that need files of the controller: they are copied to the hosts that lack them."""

from __future__ import annotations

import os

from ansible_collections.flambe.cluster.plugins.plugin_utils.checked_action import ActionModule as CheckedAction


class CopyingAction(CheckedAction):
    """Copies the files of the option ``copies``, runs the module, and runs it again if it reports files as missing."""

    def run_module(self, tmp, task_vars):
        """Run the module; only a host that lacks files costs more than that."""
        copied = [self.copy(one, task_vars) for one in self._task.args.get("copies") or ()]
        failed = next((one for one in copied if one.get("failed")), None)
        result = failed or super().run_module(tmp, task_vars)
        missing = [] if result.get("failed") else [one for one in self.list_missing(result) if one["src"]]
        if missing:
            copied += [self.copy(one, task_vars) for one in missing]
            failed = next((one for one in copied if one.get("failed")), None)
            result = failed or super().run_module(tmp, task_vars)
        result["changed"] = bool(result.get("changed")) or any(one.get("changed") for one in copied)
        return result

    def list_missing(self, _result):
        """Return the files that the module needs: ``src`` on the controller, ``dest`` on the host, and ``mode``."""
        return []

    def copy(self, file, task_vars):
        """Copy one file with Ansible's own action."""
        task = self._task.copy()
        task.args = {**file, "owner": "root", "group": "root"}
        if os.path.basename(file["src"]) == os.path.basename(file["dest"]):  # its folder may be missing
            task.args.update(dest=f"{os.path.dirname(file['dest'])}/", directory_mode="0755")
        action = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.copy",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        return action.run(task_vars=task_vars)
