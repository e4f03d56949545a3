"""Extensions in a folder on top of an environment: it gets what the environment lacks, which is not changed."""

from __future__ import annotations

import glob
import os
import shutil

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, locks, venv
from ansible_collections.flambe.cluster.plugins.module_utils.extensions import Extensions, distribution_of
from ansible_collections.flambe.cluster.plugins.module_utils.runtime import Installer

BASE = "flambe-overlay.json"


class Overlay(Extensions):
    """Extensions below the folder ``overlay``, for the PYTHONPATH of processes of the environment.

    The packages of the environment keep their versions. If they change, the folder is made again.
    """

    def __init__(self, params, account):
        super().__init__(params, account)
        present = {name: version for name, (version, _folder) in venv.installed(self.venv).items()}
        self.base = files.digest({"python": venv.python_version(self.venv), "packages": present})
        self.base_path = os.path.join(self.target, BASE)
        self.current = files.read_json(self.base_path).get("base") == self.base
        if not self.current:
            self.record = {}

    def make_target(self):
        """Make the folder, empty if it belongs to other packages."""
        installer = Installer(self.params, self.account)
        installer.make_folders()
        if not self.current:
            shutil.rmtree(self.target, ignore_errors=True)
        installer.make_user_folder(self.target)
        with accounts.acting_as(self.account):
            files.write(self.base_path, files.as_json({"base": self.base}), 0o644)

    def install_packages(self, uv, wanted, archives):
        """Resolve the requirements together with the environment, and install what it lacks."""
        replaced = self.params["requires"]
        resolved = [requirement for name, requirement in wanted.items() if name not in replaced]
        alone = [requirement for name, requirement in wanted.items() if name in replaced]
        own = {distribution_of(one) for one in resolved}
        present = {name: version for name, (version, _folder) in venv.installed(self.venv).items() if name not in own}
        local = venv.not_released(self.venv) & set(present)  # an index may not have them
        pinned = [locks.public_version(f"{name}=={version}") for name, version in present.items() if name not in local]
        excludes = sorted(local | {venv.normalize(name) for name in replaced})
        more = [requirement for name in wanted for requirement in replaced.get(name, ())]
        lines = uv.compile([*resolved, *more], pinned, ["--python", self.python], excludes=excludes)
        missing = [line for line in lines if not venv.names([line]) & set(present)]
        uv.add(self.python, self.target, [*missing, *alone], archives)

    def import_environment(self):
        """Return the environment variables for the import of an extension."""
        found = glob.glob(os.path.join(glob.escape(self.target), "lib/python3.*/site-packages"))
        return {**super().import_environment(), "PYTHONPATH": os.pathsep.join(found)}
