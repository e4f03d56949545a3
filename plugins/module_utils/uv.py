"""Get uv onto a host, and run it there as the user whom the runtime belongs to."""

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


class UvError(Exception):
    """uv failed; ``command`` is what was run and ``output`` the end of what it printed."""

    def __init__(self, command, code, output):
        super().__init__(f"uv {command} with exit code {code}")
        self.command = command
        self.code = code
        self.output = output


def wheel_name(version):
    """Name the wheel of uv for Linux on x86_64."""
    return f"uv-{version}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def fetch(path, version, sha256, options):
    """Fetch uv from the host's package index, check its hash, and put it in place (0755).

    Raises:
        package_index.PackageNotFoundError: No index has it.
    """
    content = package_index.fetch(pip_config.indexes(options), "uv", wheel_name(version), sha256, options)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        binary = wheel.read(f"uv-{version}.data/scripts/uv")
    handle, draft = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(handle, "wb") as file:
        file.write(binary)
    os.chmod(draft, 0o755)  # noqa: S103 -- a command for everybody
    os.replace(draft, path)


class Uv:
    """uv as one user runs it, told of the package index that the host's pip knows.

    Args:
        binary: Where uv is.
        account: Who runs it.
        options: pip's options (``pip_config.read``), or {} when uv has its own configuration.
        tmp: A folder on disk for what it unpacks.
        timeout: Seconds that one command may take.
    """

    def __init__(self, binary, account, options, tmp, timeout):
        self.binary = binary
        self.account = account
        self.options = options
        self.tmp = tmp
        self.timeout = timeout
        # uv stops at a configuration that its user cannot read: then it is told to read ours alone.
        with accounts.acting_as(account):
            self.alone = pip_config.closed(pip_config.SYSTEM_UV)

    @contextlib.contextmanager
    def workplace(self, **texts):
        """Open a private folder for one command, with a uv.toml and more files; it is gone afterwards."""
        with accounts.acting_as(self.account):
            folder = tempfile.mkdtemp(prefix="uv-", dir=self.tmp)
            toml = pip_config.uv_toml(self.options)
            for name, text in {**({CONFIG: toml} if toml or self.alone else {}), **texts}.items():
                files.write(os.path.join(folder, name.replace("__", ".")), text, 0o600)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, *argv, cwd):
        """Run one command of uv in a workplace.

        Raises:
            UvError: It did not succeed.
        """
        env = accounts.environment(self.account)
        env.update(pip_config.uv_environment(self.options, env))
        env.update(TMPDIR=self.tmp, UV_NO_PROGRESS="1", NO_COLOR="1", UV_PYTHON_DOWNLOADS="manual")
        env.setdefault("UV_HTTP_TIMEOUT", "120")
        if self.alone:
            env["UV_CONFIG_FILE"] = os.path.join(cwd, CONFIG)
        shown = " ".join(argv[:2])
        try:
            code, output = accounts.run(self.account, [self.binary, *argv], timeout=self.timeout, env=env, cwd=cwd)
        except accounts.CommandTimeoutError as error:
            raise UvError(shown, f"none (stopped after {self.timeout:g} s)", accounts.tail(error.output)) from None
        if code:
            raise UvError(shown, code, accounts.tail(output))
        return output
