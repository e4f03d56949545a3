# Copyright: the flambe-ansible contributors. MIT license.
"""The action of modules that need files of the controller: they are copied to the hosts that lack them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os

from ansible import constants
from ansible.utils.display import Display
from ansible.utils.hashing import secure_hash
from ansible_collections.flambe.cluster.plugins.plugin_utils.checked_action import COLLECTION
from ansible_collections.flambe.cluster.plugins.plugin_utils.checked_action import ActionModule as CheckedAction

display = Display()


class CopyingAction(CheckedAction):
    """Copies the files of the option ``copies``, runs the module, and runs it again if it reports files as missing.

    With the option ``copies_source``, a host of the play, the controller sends each file to this host only, and the
    other hosts copy it from there with the cluster's key. A host that has no such key, or that cannot copy it, gets the
    file from the controller.
    """

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
        """Copy one file to this host."""
        source = self._task.args.get("copies_source")
        if not source or self._task.check_mode:
            return self.copy_from_controller(file, task_vars)
        turn = _Turn(source, file)
        if source == task_vars["inventory_hostname"]:
            with turn.take():
                return self.copy_from_controller(file, task_vars)
        return self.copy_from_host(source, file, turn, task_vars) or self.copy_from_controller(file, task_vars)

    def copy_from_host(self, source, file, turn, task_vars):
        """Copy one file from the host to which the controller copies it; None if that is not possible."""
        sha256 = secure_hash(file["src"], hashlib.sha256)
        args = {"source": source, "path": file["dest"], "mode": file["mode"], "sha256": sha256}
        args["user"] = self._task.args.get("user") or ""
        while sha256:
            turn.wait()
            found = self._execute_module(f"{COLLECTION}.cluster_file", args, task_vars=task_vars)
            if found.get("copied"):
                return found
            if not turn.is_taken():
                break
        if sha256 and found.get("has_key", True):
            reason = found.get("reason") or found.get("msg")
            host = task_vars["inventory_hostname"]
            display.warning(f"{host} gets {file['dest']} from the controller, not from {source}: {reason}")
        return None

    def copy_from_controller(self, file, task_vars):
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


class _Turn:
    """The copy of one file to ``copies_source``: until it ends, the actions of other hosts wait.

    The actions of a run are separate processes with a common folder for temporary files. A lock ends with its process.
    """

    def __init__(self, source, file):
        name = hashlib.sha256("\0".join([source, file["src"], file["dest"]]).encode()).hexdigest()
        self._path = os.path.join(constants.DEFAULT_LOCAL_TMP, f"flambe-{name}.lock")

    @contextlib.contextmanager
    def take(self):
        """Hold the lock during the copy."""
        with open(self._path, "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def wait(self):
        """Wait until no copy is in progress."""
        self._try(fcntl.LOCK_SH)

    def is_taken(self):
        """Return whether a copy is in progress."""
        return not self._try(fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _try(self, kind):
        try:
            with open(self._path, encoding="ascii") as lock:
                fcntl.flock(lock, kind)
                return True
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
