"""Extensions in a runtime: compare what is installed with what is wanted, and install the difference."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
import os
import re
import shutil

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, pip_config, progress, venv
from ansible_collections.flambe.cluster.plugins.module_utils import uv as uvs

RECORD = "flambe-extensions.json"
# Files of builds, tools and editors; they are neither part of a digest nor of a build.
LEFT_OUT = (
    ".git", ".hg", ".svn", "__pycache__", "*.pyc", "*.egg-info", ".venv", ".tox", ".nox",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store",
)  # fmt: skip
LEFT_OUT_AT_TOP = ("build", "dist")
# The runtime decides their versions: an extension that conflicts with them is refused.
_KEPT = ("flambe", "ray", "torch")


class ExtensionError(Exception):
    """An extension cannot be installed; ``output`` is the output of the command that failed."""

    def __init__(self, message, cause=None):
        self.output = cause.output if cause else ""
        super().__init__(f"{message}: {cause}\n{self.output}" if cause else message)


class Extensions:
    """The extensions of one runtime that a module's parameters describe; ``todo`` names those to install.

    ``venv``: the environment whose Python imports them. ``target``: the folder into which they are installed.
    """

    def __init__(self, params, account):
        self.params = params
        self.account = account
        self.root = params["root"].rstrip("/")
        self.venv = params["environment"] or os.path.join(self.root, "venv")
        self.target = params["overlay"] or self.venv
        self.python = os.path.join(self.venv, "bin/python")
        self.record_path = os.path.join(self.target, RECORD)
        self.record = files.read_json(self.record_path)
        self.sources = {name: self.locate(name, str(given)) for name, given in params["packages"].items()}
        self.todo = []

    def locate(self, name, given):
        """Return (path, "") or ("", requirement)."""
        path = os.path.join(self.account.pw_dir, given[2:]) if given.startswith("~/") else given
        if not path.startswith("/"):
            return "", given
        if not os.path.exists(path) and os.path.isdir(self.account.pw_dir) and not self.params["missing_ok"]:
            raise ExtensionError(f"extension {name}: {path} is not on this host")
        return path, ""

    def inspect(self):
        """Find out what has to be installed, without changing anything."""
        present = venv.installed(self.target)
        broken = set(venv.damaged(self.target)) if self.record else set()
        for name, source in self.sources.items():
            known = self.record.get(name, {})
            distribution = known.get("distribution", "")
            whole = not distribution or (distribution in present and distribution not in broken)
            if not whole or known.get("digest") != digest(source):
                self.todo.append(name)

    def converge(self):
        """Install the extensions in ``todo``."""
        self.make_target()
        environ = accounts.environment(self.account)
        options = self.pip_options(environ)
        binary = uvs.find(self.account, self.params, pip_config.read(self.account.pw_dir, environ))
        uv = uvs.Uv(binary, self.account, options, self.params)
        digests = {name: digest(self.sources[name]) for name in self.todo}
        with accounts.acting_as(self.account):
            self.write_record({name: known for name, known in self.record.items() if name not in self.todo})
        with uv.workplace() as folder:
            wanted = {name: self.make_requirement(uv, folder, name) for name in self.todo}
            self.install(uv, wanted)
        done = {}
        for name in self.todo:
            self.check_import(name)
            done[name] = {"digest": digests[name], "distribution": self.find_distribution(name, wanted[name])}
        with accounts.acting_as(self.account):
            self.write_record({**self.record, **done})

    def make_target(self):
        """Make the folder for the packages; an environment exists already."""

    def write_record(self, record):
        """Record what is installed."""
        self.record = record
        files.write(self.record_path, json.dumps(record, indent=1, sort_keys=True) + "\n", 0o644)

    def pip_options(self, environ):
        """Add the private index to those that the host is configured for."""
        home = self.account.pw_dir
        with accounts.acting_as(self.account):
            configured = pip_config.uv_has_index(home, environ)
        options = {} if configured else pip_config.read(home, environ)
        for key, value in (("extra-index-url", "extra_index_url"), ("trusted-host", "trusted_host")):
            options[key] = f"{options.get(key, '')} {self.params[value]}".strip()
        return options

    def make_requirement(self, uv, folder, name):
        """Return what to install for one extension: a requirement, an archive, or a wheel built from a folder."""
        path, requirement = self.sources[name]
        if not path or not os.path.isdir(path):
            return requirement or path
        with accounts.acting_as(self.account):
            source = os.path.join(folder, name, os.path.basename(path.rstrip("/")))
            shutil.copytree(path, source, symlinks=True, ignore=functools.partial(find_left_out, path))
        out = os.path.join(folder, name, "wheel")
        progress.report(f"building extension {name}")
        try:
            uv.run("build", "--wheel", "--python", self.python, "--out-dir", out, source, cwd=folder)
        except accounts.CommandError as error:
            raise ExtensionError(f"extension {name} could not be built", error) from error
        return os.path.join(out, next(one for one in os.listdir(out) if one.endswith(".whl")))

    def install(self, uv, wanted):
        """Install all in one resolution, so that they are compatible with each other and the runtime."""
        archives = [distribution_of(requirement) for requirement in wanted.values() if requirement.startswith("/")]
        try:
            self.install_packages(uv, wanted, archives)
        except accounts.CommandError as error:
            named = [name for name in wanted if is_named(error.output, name, wanted[name])]
            names = ", ".join(named or wanted)
            raise ExtensionError(f"extension {names} could not be installed", error) from error

    def install_packages(self, uv, wanted, archives):
        """Install the extensions, name -> requirement; the distributions in ``archives`` even if they match."""
        present = venv.installed(self.venv)
        kept = [f"{name}=={present[name][0]}" for name in _KEPT if name in present]
        constraints = venv.read_marker(self.venv).get("constraints", [])
        uv.install(self.python, [*kept, *wanted.values()], constraints, archives)

    def check_import(self, name):
        """Import the module in the runtime."""
        progress.report(f"importing extension {name}")
        argv = [self.python, "-W", "ignore", "-c", "import importlib, sys; importlib.import_module(sys.argv[1])", name]
        limit, setting = self.params["timeout"], self.params["timeout_setting"]
        try:
            env = self.import_environment()
            accounts.check(self.account, argv, limit, f"import {name}", setting=setting, env=env)
        except accounts.CommandError as error:
            raise ExtensionError(f"extension {name} is installed, but cannot be imported", error) from error

    def import_environment(self):
        """Return the environment variables for the import of an extension."""
        return accounts.environment(self.account)

    def find_distribution(self, name, requirement):
        """Return the installed distribution of an extension; "" if its name is unknown."""
        guesses = (distribution_of(requirement), venv.normalize(name))
        present = venv.installed(self.target)
        return next((guess for guess in guesses if guess in present), "")


def is_named(output, name, requirement):
    """Return whether an installer's message mentions an extension."""
    words = {name, distribution_of(requirement), venv.normalize(name)}
    return any(re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", output) for word in words if word)


def distribution_of(requirement):
    """Return the distribution named by a requirement or an archive; "" if it has no name."""
    if requirement.startswith("/"):
        name = os.path.basename(requirement)
        return venv.normalize(name.split("-")[0] if name.endswith(".whl") else re.sub(r"-\d.*$", "", name))
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)", requirement)
    return venv.normalize(match.group(1)) if match and "://" not in requirement.split("@")[0] else ""


def digest(source):
    """Return the digest of an extension: of a folder's files, an archive's content, or a requirement's text."""
    path, requirement = source
    total = hashlib.sha256(requirement.encode())
    if os.path.isfile(path):
        total.update(hash_file(path))
    for current, folders, names in os.walk(path):
        left_out = find_left_out(path, current, folders + names)
        folders[:] = sorted(one for one in folders if one not in left_out)
        for name in sorted(one for one in names if one not in left_out):
            one = os.path.join(current, name)
            mark = "link" if os.path.islink(one) else "x" if os.stat(one).st_mode & 0o100 else "-"
            total.update(f"{os.path.relpath(one, path)}\0{mark}\0".encode(errors="surrogateescape"))
            total.update(os.readlink(one).encode(errors="surrogateescape") if mark == "link" else hash_file(one))
    return total.hexdigest()


def find_left_out(top, current, names):
    """Return the names in a folder that are left out; build and dist may be packages below the top folder."""
    at_top = os.path.normpath(current) == os.path.normpath(top)
    patterns = LEFT_OUT + (LEFT_OUT_AT_TOP if at_top else ())
    return {one for one in names if any(fnmatch.fnmatch(one, pattern) for pattern in patterns)}


def hash_file(path):
    """Return the SHA-256 of one file."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            total.update(chunk)
    return total.digest()
