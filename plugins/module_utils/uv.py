"""Get uv onto a host, and run it there as the user who owns the runtime."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import zipfile

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, package_index, pip_config

CONFIG = "uv.toml"


def wheel_name(version):
    """Return the file name of uv's wheel for Linux on x86_64."""
    return f"uv-{version}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def find(account, params, options):
    """Find uv on this host, or fetch it into ``bin`` below the runtime's root.

    Args:
        account: The user whose PATH and home are searched.
        params: The module's ``root``, ``uv``, ``uv_version`` and ``uv_sha256``.
        options: pip's options (``pip_config.read``).

    Raises:
        package_index.PackageNotFoundError: No index has it.
    """
    fetched = os.path.join(params["root"].rstrip("/"), "bin/uv")
    known = [params["uv"], accounts.which(account, "uv")]
    known += [os.path.join(account.pw_dir, folder, "uv") for folder in (".local/bin", ".cargo/bin")]
    for path in [*known, fetched]:
        if path and os.access(path, os.X_OK):
            return path
    fetch(fetched, params["uv_version"], params["uv_sha256"], options)
    return fetched


def fetch(path, version, sha256, options):
    """Fetch uv from the host's package index, verify its SHA-256, and write it (0755).

    Raises:
        package_index.PackageNotFoundError: No index has it.
    """
    content = package_index.fetch(pip_config.indexes(options), "uv", wheel_name(version), sha256, options)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        files.write(path, wheel.read(f"uv-{version}.data/scripts/uv"), 0o755)


class Uv:
    """uv, run as one user, with the package index of the host's pip.

    Args:
        binary: The path of uv.
        account: The user who runs it.
        options: pip's options (``pip_config.read``), or {} if uv has its own configuration.
        params: The module's ``root``, ``timeout`` (seconds per command) and ``timeout_setting``.
    """

    def __init__(self, binary, account, options, params):
        self.binary = binary
        self.account = account
        self.options = options
        self.tmp = os.path.join(params["root"].rstrip("/"), "tmp")
        self.timeout = params["timeout"]
        self.setting = params["timeout_setting"]
        # uv fails on a system configuration that its user cannot read; UV_CONFIG_FILE replaces it.
        with accounts.acting_as(account):
            self.ignores_system = pip_config.is_unreadable(pip_config.SYSTEM_UV)

    @contextlib.contextmanager
    def workplace(self, **texts):
        """Create a private folder for one command, with a uv.toml and the given files; it is removed afterwards."""
        with accounts.acting_as(self.account):
            folder = tempfile.mkdtemp(prefix="uv-", dir=self.tmp)
            toml = pip_config.uv_toml(self.options)
            for name, text in {**({CONFIG: toml} if toml or self.ignores_system else {}), **texts}.items():
                files.write(os.path.join(folder, name.replace("__", ".")), text, 0o600)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, *argv, cwd):
        """Run one command of uv in a workplace.

        Raises:
            accounts.CommandError: The command failed, or exceeded its time limit.
        """
        env = accounts.environment(self.account)
        env.update(pip_config.uv_environment(self.options, env))
        env.update(TMPDIR=self.tmp, UV_NO_PROGRESS="1", NO_COLOR="1", UV_PYTHON_DOWNLOADS="manual")
        env.setdefault("UV_HTTP_TIMEOUT", "120")
        if self.ignores_system:
            env["UV_CONFIG_FILE"] = os.path.join(cwd, CONFIG)
        shown = " ".join(["uv", *argv[:2]])
        code, output = accounts.run(
            self.account,
            [self.binary, *argv],
            timeout=self.timeout,
            env=env,
            cwd=cwd,
            shown=shown,
            setting=self.setting,
        )
        if code:
            raise accounts.CommandError(f"{shown} failed with exit code {code}", shown, accounts.tail(output))
        return output
