"""One virtual environment with a Python of its own: what it should hold, and the steps that make it so."""

from __future__ import annotations

import json
import os
import shutil
import uuid

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, interpreters, pip_config, venv
from ansible_collections.flambe.cluster.plugins.module_utils import uv as uvs


class Runtime:
    """One runtime on this host: what it should be, and the steps that make it so."""

    def __init__(self, params, account):
        self.params = params
        self.account = account
        self.root = params["root"].rstrip("/")
        self.venv = os.path.join(self.root, "venv")
        self.digest = venv.inputs_digest(
            python=params["python_version"],
            requirements=sorted(params["requirements"]),
            constraints=sorted(params["constraints"]),
        )
        self.todo = []
        self.damaged = []
        self.reinstall = []

    def inspect(self):
        """Find out what has to be done; nothing changes."""
        marker = venv.read_marker(self.venv)
        if not marker:
            self.todo.append("install")
        elif not venv.has_interpreter(self.venv) or marker.get("user") != self.account.pw_name:
            self.todo.append("install again: its Python or its user is gone")
        elif not interpreters.matches(marker.get("python_version", ""), self.params["python_version"]):
            self.todo.append("install with Python {}".format(self.params["python_version"]))
        self.fresh = bool(self.todo)
        if not self.fresh:
            self.compare(marker.get("inputs"))
        self.installs = bool(self.todo)
        self.todo += [f"link {path}" for path in self.missing_links()]

    def compare(self, inputs):
        """Compare an environment that was finished with what it should be.

        Args:
            inputs: The digest of what it was made of.
        """
        requirements = self.params["requirements"]
        if inputs != self.digest:
            self.todo.append("change to {}".format(", ".join(venv.describe(requirements))))
        self.damaged = venv.damaged(self.venv)
        wrong = venv.wrong_pins(self.venv, requirements)
        if self.damaged:
            self.todo.append("repair {}".format(", ".join(self.damaged)))
        elif wrong and not self.todo:
            self.todo.append("repair {}".format(", ".join(f"{name} {how}" for name, how in wrong.items())))
        # To uv 1.0+local is as good as 1.0, and a wheel of version 1.0 as good as another or as the release.
        wheels = {*venv.wheels(requirements), *(venv.not_released(self.venv) & set(venv.pins(requirements)))}
        self.reinstall = sorted({*self.damaged, *wrong, *(wheels if inputs != self.digest else ())})

    def missing_uv(self):
        """Tell whether something has to be installed and the uv that is told is not there yet."""
        return self.installs and bool(self.params["uv"]) and not os.path.exists(self.params["uv"])

    def missing_wheel(self):
        """Tell whether something has to be installed and the wheel that is told is not there yet, or another."""
        wanted = dict(venv.wheels(self.params["requirements"]).values())
        path = os.path.normpath(self.params["wheel"])
        return self.installs and path in wanted and not venv.is_wheel(path, wanted[path])

    def missing_links(self):
        """List the links that are not as they should be."""
        return [link for link, target in self.links() if not os.path.islink(link) or os.readlink(link) != target]

    def links(self):
        """List (link, target)."""
        folder = self.params["links_dir"]
        return [(os.path.join(folder, name), os.path.join(self.venv, "bin", name)) for name in self.params["links"]]

    def converge(self):
        """Do all of it; return the interpreter, or empty when nothing was installed."""
        python = self.install() if self.installs else ""
        for link, target in self.links():
            self.link(link, target)
        return python

    def install(self):
        """Install, or change what is installed."""
        for name in ("", "bin"):
            files.ensure_folder(os.path.join(self.root, name), 0o755)
        for name in ("python", "tmp"):
            self.make_own(os.path.join(self.root, name))
        uv = self.prepare_uv()
        marker = os.path.join(self.venv, venv.MARKER)
        before = files.read(marker)
        python = "" if self.fresh else venv.read_marker(self.venv).get("python", "")
        # From here on the environment is in no known state, until the marker is written anew.
        if before is not None:
            os.unlink(marker)
        if self.fresh:
            python = self.make_venv(uv)
        held = venv.installed(self.venv)
        try:
            self.fill_venv(uv)
        except uvs.UvError:
            # A request that cannot be met changed nothing: what was there stays in use.
            if before is not None and not self.fresh and held == venv.installed(self.venv) and not self.damaged:
                self.mark(before)
            raise
        try:
            self.verify()
        except (uvs.UvError, LookupError):
            # What cannot be imported can be changed again: an environment that was in use is not made anew for it.
            if not self.fresh:
                self.mark(self.marker_text(python, inputs=""))
            raise
        self.mark(self.marker_text(python, inputs=self.digest))
        self.remove_old_wheels()
        return python

    def remove_old_wheels(self):
        """Remove the wheels that were brought for installations before this one."""
        folder = os.path.join(self.root, venv.WHEELS)
        kept = {path for path, _ in venv.wheels(self.params["requirements"]).values()}
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.endswith(".whl") and os.path.join(folder, name) not in kept:
                os.unlink(os.path.join(folder, name))

    def mark(self, text):
        """Write that the environment is in a known state."""
        with accounts.acting_as(self.account):
            files.write(os.path.join(self.venv, venv.MARKER), text, 0o644)

    def marker_text(self, python, inputs):
        """Tell what the environment holds; its serial tells one installation from the next."""
        document = {
            "inputs": inputs,
            "constraints": self.params["constraints"],
            "python": python,
            "python_version": interpreters.ask(self.account, os.path.join(self.venv, "bin/python"))[0],
            "user": self.account.pw_name,
            "serial": uuid.uuid4().hex,
        }
        return json.dumps(document) + "\n"

    def prepare_uv(self):
        """Get uv, and tell it the package index."""
        environ = accounts.environment(self.account)
        options = pip_config.read(self.account.pw_dir, environ)
        if self.params["index_url"]:
            options.update({"index-url": self.params["index_url"], "extra-index-url": "", "no-index": ""})
        with accounts.acting_as(self.account):
            configured = pip_config.uv_has_index(self.account.pw_dir, environ) and not self.params["index_url"]
        told = {} if configured else options
        return uvs.Uv(self.find_uv(options), self.account, told, os.path.join(self.root, "tmp"), self.params["timeout"])

    def make_own(self, path):
        """Make a folder of the user's."""
        files.ensure_folder(path, 0o755)
        os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def find_uv(self, options):
        """Find uv on this host, else fetch it."""
        own = os.path.join(self.root, "bin/uv")
        known = [self.params["uv"], accounts.which(self.account, "uv")]
        known += [os.path.join(self.account.pw_dir, folder, "uv") for folder in (".local/bin", ".cargo/bin")]
        for path in [path for path in known if path] + [own]:
            if os.access(path, os.X_OK):
                return path
        uvs.fetch(own, self.params["uv_version"], self.params["uv_sha256"], options)
        return own

    def make_venv(self, uv):
        """Make the environment anew; return the interpreter that it stands on."""
        wanted = self.params["python_version"]
        found = interpreters.find(self.account, wanted, self.root) or self.install_python(uv)
        shutil.rmtree(self.venv, ignore_errors=True)
        self.make_own(self.venv)
        with uv.workplace() as folder:
            uv.run("venv", "--python", found[1], "--no-project", self.venv, cwd=folder)
        return found[1]

    def install_python(self, uv):
        """Install a standalone build, and return (version, path)."""
        url, wanted = self.params["python_url"], self.params["python_version"]
        target = os.path.join(self.root, "python")
        argv = ["python", "install", "--no-bin", "--install-dir", target]
        version, listed = (
            interpreters.describe_download(url, self.params["python_sha256"], wanted) if url else (wanted, "{}")
        )
        with uv.workplace(downloads__json=listed) as folder:
            if url:
                argv += ["--python-downloads-json-url", os.path.join(folder, "downloads.json")]
            uv.run(*argv, version, cwd=folder)
        found = interpreters.find(self.account, wanted, self.root)
        if not found:
            raise LookupError(
                "the Python installed from {} is no working Python {}".format(url or "uv's builds", wanted)
            )
        return found

    def fill_venv(self, uv):
        """Install the packages."""
        requirements = "".join(line + "\n" for line in self.params["requirements"])
        constraints = "".join(line + "\n" for line in self.params["constraints"])
        with uv.workplace(requirements__txt=requirements, constraints__txt=constraints) as folder:
            argv = ["pip", "install", "--python", os.path.join(self.venv, "bin/python"), "--no-progress"]
            argv += ["-r", "requirements.txt", "-c", "constraints.txt"]
            for name in self.reinstall:
                argv += ["--reinstall-package", name]
            uv.run(*argv, cwd=folder)

    def verify(self):
        """Assert what was installed, by the packages' own metadata and by importing it."""
        wrong = venv.wrong_pins(self.venv, self.params["requirements"])
        if wrong:
            raise LookupError("uv installed {}".format(", ".join(f"{name} {how}" for name, how in wrong.items())))
        imports = self.params["imports"]
        if not imports:
            return
        python = os.path.join(self.venv, "bin/python")
        statement = "import " + ", ".join(imports)
        code, output = accounts.run(self.account, [python, "-W", "ignore", "-c", statement], timeout=300)
        if code:
            raise uvs.UvError(statement, code, accounts.tail(output))

    def link(self, link, target):
        """Link one command; a file of somebody else's is left alone."""
        if os.path.lexists(link) and not os.path.islink(link):
            raise LookupError(f"{link} is not a link: remove it, or take it out of the links")
        if os.path.islink(link) and os.readlink(link) == target:
            return
        draft = f"{link}.{uuid.uuid4().hex[:8]}"
        os.symlink(target, draft)
        os.replace(draft, link)
