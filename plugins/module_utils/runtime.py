"""A runtime: one virtual environment with a dedicated Python, and the steps that install or repair it."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import uuid

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import (
    files,
    interpreters,
    locks,
    pip_config,
    progress,
    venv,
)
from ansible_collections.flambe.cluster.plugins.module_utils import uv as uvs
from ansible_collections.flambe.cluster.plugins.module_utils.uv_progress import UvProgress

MANAGED = "managed"  # the value of the option ``python`` for a build that uv installs


class Installer:
    """uv and standalone builds of Python below a root; ``step`` is what it does, for messages."""

    def __init__(self, params, account):
        self.params = params
        self.account = account
        self.root = params["root"].rstrip("/")
        self.step = ""

    def make_folders(self):
        """Create the folders that uv needs."""
        for name in ("", "bin"):
            files.ensure_folder(os.path.join(self.root, name), 0o755)
        for name in ("python", "tmp"):
            self.make_user_folder(os.path.join(self.root, name))

    def prepare_uv(self):
        """Find or fetch uv, and configure its package index."""
        environ = accounts.environment(self.account)
        options = pip_config.read(self.account.pw_dir, environ)
        if self.params["index_url"]:
            options.update({"index-url": self.params["index_url"], "extra-index-url": "", "no-index": ""})
        with accounts.acting_as(self.account):
            configured = pip_config.uv_has_index(self.account.pw_dir, environ) and not self.params["index_url"]
        binary = uvs.find(self.account, self.params, options)
        return uvs.Uv(binary, self.account, {} if configured else options, self.params)

    def make_user_folder(self, path):
        """Create a folder that belongs to the user."""
        files.ensure_folder(path, 0o755)
        os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def find_managed(self, wanted):
        """Find a build of a version that was installed below the root; return an Interpreter, or None."""
        return interpreters.find_installed(self.account, wanted, self.root)

    def install_managed(self, uv, wanted, url="", sha256=""):
        """Install a standalone build of a version: that at a URL, or one of uv's own."""
        self.step = "python"
        # A broken build of this version may be there already: --reinstall replaces it.
        argv = ["python", "install", "--reinstall", "--no-bin", "--install-dir", os.path.join(self.root, "python")]
        version, listed = wanted, "{}"
        if url:
            version, listed = interpreters.describe_download(url, sha256, wanted)
        with uv.workplace(downloads__json=listed) as folder:
            if url:
                argv += ["--python-downloads-json-url", os.path.join(folder, "downloads.json")]
            uv.run(*argv, version, cwd=folder, on_lines=UvProgress(f"downloading Python {version}"))
        found = self.find_managed(wanted)
        if not found:
            raise LookupError(f"the Python installed from {url or 'the builds of uv'} is not a working Python {wanted}")
        return found


class Runtime:
    """The runtime that a module's parameters describe.

    ``todo``: what has to be done, in words. ``step``: what ``converge`` does, ``python`` or ``packages``.
    """

    def __init__(self, params, account):
        self.params = params
        self.account = account
        self.installer = Installer(params, account)
        self.root = params["root"].rstrip("/")
        self.venv = os.path.join(self.root, "venv")
        self.python = os.path.join(self.venv, "bin/python")
        self.marker = os.path.join(self.venv, venv.MARKER)
        inputs = {name: sorted(params[name]) for name in ("requirements", "constraints")}
        inputs.update({"exact": True} if params["exact"] else {})
        self.digest = files.digest({"python": params["python_version"], **inputs})
        self.todo = []
        self.damaged = []
        self.reinstall = []
        self.version = ""  # of the environment's Python

    def inspect(self):
        """Find out what has to be done; raises CommandTimeoutError if the environment's Python did not answer."""
        progress.report(f"checking {self.venv}")
        self.todo, self.damaged, self.reinstall = [], [], []
        marker = venv.read_marker(self.venv)
        found, fault = self.examine(marker)
        self.version = found.version if found else ""
        self.fresh = bool(fault)
        if self.fresh:
            self.todo.append(fault)
        else:
            self.compare(marker, found.missing)
        self.installs = bool(self.todo)
        self.todo += [f"link {link}" for link, _target in self.missing_links()]
        self.todo += [f"remove {link}, which leads nowhere" for link in self.dangling_links()]

    @property
    def step(self):
        """What ``converge`` does: ``python`` or ``packages``."""
        return self.installer.step

    def examine(self, marker):
        """Start the environment's Python; return (Interpreter, why the environment has to be created again or "")."""
        if not marker:
            return None, "install"
        owner, wanted = marker.get("user"), self.params["python_version"]
        if owner != self.account.pw_name:
            return None, f"install again: it belongs to {owner} instead of {self.account.pw_name}"
        try:
            found = interpreters.probe(self.account, self.python, self.params["imports"])
        except interpreters.BrokenError as error:
            return None, f"install again: its Python does not start: {error}"
        if not interpreters.matches(found.version, wanted):
            return None, f"install with Python {wanted} instead of {found.version}"
        if os.path.realpath(found.prefix) != os.path.realpath(self.venv):
            return None, "install again: its Python ignores it, because pyvenv.cfg is missing or damaged"
        return found, ""

    def compare(self, marker, unfound):
        """Compare a completed environment with the wanted one; its Python did not find the modules ``unfound``."""
        requirements = self.params["requirements"]
        changed = marker.get("inputs") != self.digest
        if self.params["exact"] and not self.params["resolved"]:  # in check mode
            self.todo.append("change to the packages that will be resolved")
        elif changed and self.params["exact"]:
            self.todo.append(venv.describe_changes(self.venv, requirements))
        elif changed:
            self.todo.append("change to {}".format(", ".join(venv.describe(requirements))))
        self.damaged = venv.damaged(self.venv, marker.get("distributions", []))
        wrong = venv.wrong_pins(self.venv, requirements)
        suspects = set()
        if self.damaged:
            self.todo.append("repair {}".format(", ".join(self.damaged)))
        elif wrong and not self.todo:
            self.todo.append("repair {}".format(", ".join(f"{name} {how}" for name, how in wrong.items())))
        elif unfound and not self.todo:
            self.todo.append("repair: its Python does not find {}".format(", ".join(unfound)))
            suspects = venv.names(requirements)
        # uv treats 1.0+local as 1.0, and any wheel of version 1.0 as the release 1.0: force these.
        wheels = {*venv.wheels(requirements), *(venv.not_released(self.venv) & set(venv.pins(requirements)))}
        self.reinstall = sorted({*self.damaged, *wrong, *suspects, *(wheels if changed else ())})

    def describe_change(self):
        """Describe what has to be done; of packages with other versions, both versions."""
        wanted = venv.pins(self.params["requirements"])
        known = {name: version for name, (version, _folder) in venv.installed(self.venv).items()}
        changes = [
            f"{name} changes from {known[name]} to {version}"
            for name, version in sorted(wanted.items())
            if known.get(name, version) != version
        ]
        return ", ".join(changes) or "; ".join(self.todo)

    def missing_uv(self):
        """Return whether an installation needs the uv at the path of the option, and it is missing."""
        return self.installs and bool(self.params["uv"]) and not os.path.exists(self.params["uv"])

    def missing_wheel(self):
        """Return whether an installation needs the wheel of the option, and it is missing or differs."""
        wanted = dict(venv.wheels(self.params["requirements"]).values())
        path = os.path.normpath(self.params["wheel"])
        return self.installs and path in wanted and not venv.is_wheel(path, wanted[path])

    def list_links(self):
        """List (link, target) for the commands that are to be linked."""
        folders = (self.params["links_dir"], os.path.join(self.venv, "bin"))
        return [tuple(os.path.join(folder, name) for folder in folders) for name in self.params["links"]]

    def kept_links(self):
        """Map links that lead to commands of another environment, and are kept, to their targets."""
        found = {} if self.params["replace_links"] else dict(self.list_links())
        others = {link: os.readlink(link) for link in found if os.path.islink(link)}
        return {link: other for link, other in others.items() if other != found[link] and os.path.exists(link)}

    def missing_links(self):
        """List (link, target) for the links that are missing or lead elsewhere, or that an installation may add."""
        kept = self.kept_links()
        wanted = [one for one in self.list_links() if one[0] not in kept and (self.installs or os.path.exists(one[1]))]
        return [(link, target) for link, target in wanted if not os.path.islink(link) or os.readlink(link) != target]

    def dangling_links(self):
        """List the links to commands that this environment no longer has."""
        absent = [
            (link, target) for link, target in self.list_links() if not self.installs and not os.path.exists(target)
        ]
        return [link for link, target in absent if os.path.islink(link) and os.readlink(link) == target]

    def converge(self):
        """Install and link; return the interpreter that the environment is based on, "" if nothing was installed."""
        python = self.install() if self.installs else ""
        self.installs = False
        for link in self.dangling_links():
            os.unlink(link)
        for link, target in self.missing_links():
            if os.path.lexists(link) and not os.path.islink(link):
                raise LookupError(f"{link} is not a link: remove it, or remove the name from the links")
            draft = f"{link}.{uuid.uuid4().hex[:8]}"
            os.symlink(target, draft)
            os.replace(draft, link)
        return python

    def install(self):
        """Install the environment, or change it."""
        shutil.rmtree(os.path.join(self.root, "tmp"), ignore_errors=True)  # of an installation that was interrupted
        self.installer.make_folders()
        # After a ``sudo pip install`` of somebody, the user could not replace the packages.
        files.give_back_folders(self.venv, self.account.pw_uid, self.account.pw_gid)
        uv = self.installer.prepare_uv()
        before = files.read(self.marker)
        python = venv.read_marker(self.venv).get("python", "")
        # Until the marker is written again, the state of the environment is unknown.
        if before is not None:
            os.unlink(self.marker)
        if self.fresh:
            python = self.make_venv(uv)
            self.version = interpreters.probe(self.account, self.python).version
        held = venv.installed(self.venv)
        self.installer.step = "packages"
        try:
            self.install_packages(uv)
        except accounts.CommandError:
            # If uv changed nothing, the previous installation stays valid.
            if before is not None and not self.fresh and held == venv.installed(self.venv) and not self.damaged:
                self.mark(before)
            raise
        try:
            self.verify()
        except (accounts.CommandError, LookupError):
            # Keep the environment, so that the next run changes it in place instead of starting from nothing.
            if not self.fresh:
                self.mark(self.describe(python, inputs=""))
            raise
        self.mark(self.describe(python, inputs=self.digest))
        self.remove_old_wheels()
        return python

    def install_packages(self, uv):
        """Install the requirements, and with ``exact`` remove all other packages."""
        requirements = self.params["requirements"]
        if self.params["exact"]:
            kind = locks.host_kind()
            options = locks.torch_options(kind, self.params["torch_backend"])
            uv.sync(self.python, requirements, self.reinstall, options, locks.torch_variables(kind))
        else:
            uv.install(self.python, requirements, self.params["constraints"], self.reinstall)

    def remove_old_wheels(self):
        """Remove the wheels of previous installations."""
        kept = {path for path, _digest in venv.wheels(self.params["requirements"]).values()}
        for path in glob.glob(os.path.join(glob.escape(self.root), venv.WHEELS, "*.whl")):
            if path not in kept:
                os.unlink(path)

    def mark(self, text):
        """Write the marker: the state of the environment is known."""
        with accounts.acting_as(self.account):
            files.write(self.marker, text, 0o644)

    def describe(self, python, inputs):
        """Write the marker's document; the serial is unique per installation."""
        document = {
            "inputs": inputs,
            "constraints": self.params["constraints"],
            "python": python,
            "distributions": sorted(venv.installed(self.venv)),
            "user": self.account.pw_name,
            "serial": uuid.uuid4().hex,
        }
        return json.dumps(document) + "\n"

    def make_venv(self, uv):
        """Create an empty environment; return the interpreter that it is based on."""
        wanted = self.params["python_version"]
        progress.report(f"looking for Python {wanted}")
        found = self.find_python() or self.installer.install_managed(
            uv, wanted, self.params["python_url"], self.params["python_sha256"]
        )
        progress.report(f"creating {self.venv}")
        if os.path.lexists(self.venv):
            self.discard_venv()
        self.installer.make_user_folder(self.venv)
        with uv.workplace() as folder:
            uv.run("venv", "--python", found.path, "--no-project", self.venv, cwd=folder)
        return found.path

    def discard_venv(self):
        """Remove the environment so that no incomplete one remains: it is renamed first, or it loses its marker first.

        On an overlay, a folder of a lower layer cannot be renamed.
        """
        old = os.path.join(self.root, "tmp", "venv")
        try:
            os.rename(self.venv, old)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.marker)
            shutil.rmtree(self.venv)
            return
        shutil.rmtree(old, ignore_errors=True)

    def find_python(self):
        """Find the interpreter for a new environment; return an Interpreter, or None if it must be installed."""
        wanted, given = self.params["python_version"], self.params["python"]
        if given == MANAGED:
            return self.installer.find_managed(wanted)
        return interpreters.probe(self.account, given) if given else interpreters.find(self.account, wanted, self.root)

    def verify(self):
        """Check the installed versions, and import the modules."""
        wrong = venv.wrong_pins(self.venv, self.params["requirements"])
        if wrong:
            raise LookupError("uv installed {}".format(", ".join(f"{name} {how}" for name, how in wrong.items())))
        if self.params["imports"]:
            names = ", ".join(self.params["imports"])
            progress.report(f"importing {names}")
            statement = f"import {names}"
            argv = [self.python, "-W", "ignore", "-c", statement]
            accounts.check(
                self.account, argv, self.params["timeout"], statement, setting=self.params["timeout_setting"]
            )
