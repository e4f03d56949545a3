"""Get uv onto a host, and run it there as the user who owns the runtime."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import shutil
import tempfile
import zipfile

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, package_index, pip_config, progress
from ansible_collections.flambe.cluster.plugins.module_utils.uv_progress import UvProgress

CONFIG = "uv.toml"
# Options of the modules that run uv; see doc_fragments/common.py.
COPIES = {"type": "list", "elements": "dict", "default": []}  # for the action
ARGUMENTS = {
    "uv": {"type": "str", "default": ""},
    "uv_version": {"type": "str", "required": True},
    "uv_sha256": {"type": "str", "required": True},
    "timeout": {"type": "float", "default": 1800},
    "timeout_setting": {"type": "str", "default": "timeout"},
}
_ERROR = re.compile(r"^(?:error:| +×) (.+)$", re.MULTILINE)
_SHORT = 10  # lines
_UNKNOWN_VERSION = "there is no version of"
_WHEELS = {
    "x86_64": "uv-{}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "aarch64": "uv-{}-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
}


def find(account, params, options):
    """Find uv on this host, or fetch it into ``bin`` below the runtime's root; ``options`` are pip's."""
    fetched = os.path.join(params["root"].rstrip("/"), "bin/uv")
    known = [params["uv"], accounts.which(account, "uv")]
    known += [os.path.join(account.pw_dir, folder, "uv") for folder in (".local/bin", ".cargo/bin")]
    for path in [*known, fetched]:
        if path and os.access(path, os.X_OK):
            return path
    version, sha256 = params["uv_version"], params["uv_sha256"]
    wheel = _WHEELS.get(platform.machine(), _WHEELS["x86_64"]).format(version)
    content = package_index.fetch(pip_config.indexes(options), "uv", wheel, sha256, options)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        files.write(fetched, wheel.read(f"uv-{version}.data/scripts/uv"), 0o755)
    return fetched


class Uv:
    """uv, run as one user; ``options`` are pip's, or {} if an index is configured for uv."""

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
            if toml or self.ignores_system:
                texts[CONFIG] = toml
            for name, text in texts.items():
                files.write(os.path.join(folder, name.replace("__", ".")), text, 0o600)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def install(self, python, requirements, constraints, reinstall):
        """Install requirements into a venv in one resolution, the distributions in ``reinstall`` even if they match."""
        texts = {"requirements__txt": requirements, "constraints__txt": constraints}
        with self.workplace(
            **{name: "".join(f"{line}\n" for line in lines) for name, lines in texts.items()}
        ) as folder:
            argv = ["pip", "install", "--python", python, "-r", "requirements.txt", "-c", "constraints.txt"]
            argv += [f"--reinstall-package={name}" for name in reinstall]
            self.run(*argv, cwd=folder, on_lines=UvProgress("resolving the packages"))

    def sync(self, python, requirements, reinstall, options=(), variables=None):
        """Make the packages of a venv equal to exact requirements; others are removed."""
        with self.workplace(requirements__txt="".join(f"{line}\n" for line in requirements)) as folder:
            argv = ["pip", "sync", "--python", python, "--allow-empty-requirements", *options, "requirements.txt"]
            argv += [f"--reinstall-package={name}" for name in reinstall]
            self.run_exact(*argv, cwd=folder, on_lines=UvProgress("comparing the packages"), variables=variables)

    def add(self, python, prefix, requirements, reinstall):
        """Install exact requirements below another folder than the environment, without their dependencies."""
        with self.workplace(requirements__txt="".join(f"{line}\n" for line in requirements)) as folder:
            argv = ["pip", "install", "--python", python, "--prefix", prefix, "--no-deps", "-r", "requirements.txt"]
            argv += [f"--reinstall-package={name}" for name in reinstall]
            self.run_exact(*argv, cwd=folder, on_lines=UvProgress("installing the packages"))

    def compile(self, requirements, constraints, options=(), variables=None, excludes=()):
        """Resolve requirements; return the exact requirements, one per line, without comments.

        The packages in ``excludes`` and what they require are left out.
        """
        options = [*options, *(["--excludes", "excludes.txt"] if excludes else [])]
        texts = {"requirements__in": requirements, "constraints__txt": constraints, "excludes__txt": excludes}
        with self.workplace(
            **{name: "".join(f"{line}\n" for line in lines) for name, lines in texts.items()}
        ) as folder:
            argv = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--output-file", "lock.txt", *options]
            progress.report("resolving the packages")
            self.run(*argv, "-c", "constraints.txt", "requirements.in", cwd=folder, variables=variables)
            text = files.read(os.path.join(folder, "lock.txt")) or ""
        return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]

    def run_exact(self, *argv, **options):
        """Run a command with exact versions; again without caches if the cached index is older than one of them."""
        try:
            self.run(*argv, **options)
        except accounts.CommandError as error:
            if _UNKNOWN_VERSION not in " ".join(error.output.split()):
                raise
            self.run(*argv, "--refresh", **options)

    def run(self, *argv, cwd, on_lines=None, variables=None):
        """Run one command of uv in a workplace; raises CommandError. ``on_lines`` as in ``accounts.run``."""
        env = {**accounts.environment(self.account), **(variables or {})}
        env.update(pip_config.uv_environment(self.options, env))
        env.update(TMPDIR=self.tmp, UV_NO_PROGRESS="1", NO_COLOR="1", UV_PYTHON_DOWNLOADS="manual")
        env.setdefault("UV_HTTP_TIMEOUT", "120")
        if self.ignores_system:
            env["UV_CONFIG_FILE"] = os.path.join(cwd, CONFIG)
        shown = " ".join(["uv", *argv[:2]])
        options = {"env": env, "cwd": cwd, "shown": shown, "setting": self.setting, "on_lines": on_lines}
        code, output = accounts.run(self.account, [self.binary, *argv], self.timeout, **options)
        if code:
            raise accounts.CommandError(describe_failure(shown, code, output), shown, accounts.tail(output))
        return output


def describe_failure(shown, code, output):
    """Describe how uv failed, with its own reason if the output goes on, such as with the log of a build."""
    error = _ERROR.search(output)
    goes_on = error and output.count("\n", error.end()) >= _SHORT
    return f"{shown} failed with exit code {code}" + (f": {error.group(1)}" if goes_on else "")
