"""flambé on this machine: the same roles install its runtime once, and experiments run under it."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flambe_ansible import paths, secrets
from flambe_ansible.ec2 import s3
from flambe_ansible.errors import PlaybookError, RunError
from flambe_ansible.events import Notice, Observer, ignore
from flambe_ansible.playbooks import run_playbook
from flambe_ansible.pythons import clean_environment, find_uv
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runtimes import flambe_version
from flambe_ansible.sources import fetch_extensions, fetch_resources
from flambe_ansible.sources.content import locked

PLAYBOOK = "local.yml"
MODULE = "flambe.runner.run"


def prepare(file: RunnableFile, *, secrets_file: Path | None = None, observer: Observer = ignore) -> Path:
    """Install the runtime for an experiment: the flambé that hosts get, and the extensions."""
    found = fetch_extensions(file.extensions, folder=file.path.parent, observer=observer)
    flambe = flambe_version.build(flambe_version.resolve(), observer=observer)
    root = paths.state_root() / "runtime"
    python = root / "venv" / "bin" / "python"
    if not (root / "venv" / "flambe-runtime.json").exists():
        observer(Notice(message=f"installing flambé's runtime in {root}, once; this takes some minutes"))
    source = secrets.find(secrets_file)
    variables = {
        "flambe_root": str(root),
        "flambe_user": getpass.getuser(),
        "flambe_version": flambe.version,
        "flambe_wheel_src": str(flambe.wheel or ""),
        "flambe_uv_src": find_uv(),
        "cluster_extensions_packages": {one.name: str(one.path) if one.path else one.requirement for one in found},
        "cluster_extensions_secrets_src": str(source) if source else "",
    }
    with locked(root):
        _play(variables)
    return python


def run(
    python: Path,
    file: RunnableFile,
    *,
    secrets_file: Path | None = None,
    force: bool = False,
    verbose: bool = False,
    observer: Observer = ignore,
) -> None:
    """Run an experiment under flambé; it writes its results below the current folder."""
    resources = fetch_resources(file.resources, folder=file.path.parent, s3_download=s3.download, observer=observer)
    places = {one.name: str(one.path) for one in resources if one.path}
    with tempfile.TemporaryDirectory(prefix="flambe-run-") as folder:  # 0700
        copy = Path(folder) / file.path.name
        copy.write_text(file.rewrite(resources=places), encoding="utf-8")
        words = [str(python), "-W", "ignore", "-m", MODULE, str(copy)]
        words += ["--secrets", str(secrets_file)] if secrets_file else []
        words += [*(["--force"] if force else []), *(["--verbose"] if verbose else [])]
        code = subprocess.run(words, env=_environment(python), check=False).returncode
    if code:
        raise RunError(f"{file.name}: flambé ended with exit code {code}", state="failed")


def _environment(python: Path) -> dict[str, str]:
    """Return this process's environment with the runtime's commands first on the PATH."""
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Packages that flambé pins print warnings in every process of Ray.
    return {**clean_environment(), "PATH": path, "PYTHONWARNINGS": "ignore"}


def _play(variables: dict[str, Any]) -> None:
    """Run the roles on this machine as this user."""
    connection = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"vars": variables, "hosts": {"localhost": connection}}}
    log = paths.state_root() / "logs" / time.strftime("local-%Y%m%d-%H%M%S.log")
    try:
        run_playbook(PLAYBOOK, inventory=inventory, log=log)
    except PlaybookError as error:
        if not any(one.step == "python" for one in error.failures):
            raise
        hint = "install one: pyenv install 3.7, or python3.7 on the PATH"
        message = "flambé needs Python 3.7; this machine has none, and downloading one failed"
        raise PlaybookError(message, log=error.log, hint=hint) from error
