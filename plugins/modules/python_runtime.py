#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Bring a virtual environment with a Python of its own to a wanted content."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_runtime
short_description: Install Python packages into a virtual environment with a Python of a given version
description:
  - Makes O(root)C(/venv) with a Python of O(python_version) and installs O(requirements) under O(constraints) with uv.
  - Does nothing when the last installation finished, was of the same inputs, and no file of it is missing.
    An installation that did not finish is made again from an empty environment.
  - The interpreter is one that the host has (on the PATH, pyenv's, below /opt), else the standalone build at O(python_url).
  - The package index is the one that uv is configured for on the host, else the one of the host's pip
    (pip.conf, C(PIP_*) in /etc/environment).
options:
  root:
    description: The folder of the runtime; C(venv), C(bin), C(python) and C(tmp) are made below it.
    type: path
    required: true
  user:
    description: Whose environment it is, and who installs; empty for the user who connects.
    type: str
    default: ""
  python_version:
    description: Such as V(3.7) or V(3.12.4).
    type: str
    required: true
  python_url:
    description: >-
      An archive of python-build-standalone, used where the host has no such Python; empty for the builds that uv knows.
    type: str
    default: ""
  python_sha256:
    description: The SHA-256 of that archive.
    type: str
    default: ""
  requirements:
    description: What is installed, as PEP 508 requirements. Exact versions are asserted afterwards.
    type: list
    elements: str
    required: true
  constraints:
    description: Limits on the versions of what comes along.
    type: list
    elements: str
    default: []
  imports:
    description: Modules that must be importable once all is installed.
    type: list
    elements: str
    default: []
  links:
    description: Commands of the environment that are linked into O(links_dir).
    type: list
    elements: str
    default: []
  links_dir:
    description: A folder on everybody's PATH.
    type: path
    default: /usr/local/bin
  index_url:
    description: The package index; empty for the one that the host is configured for. May carry a password.
    type: str
    default: ""
  uv:
    description: >-
      A uv on the host; when it is not there yet, nothing is done and RV(uv_missing) says so.
      Empty for the one on the user's PATH, else one fetched from the package index.
    type: str
    default: ""
  uv_version:
    description: The uv that is fetched.
    type: str
    required: true
  uv_sha256:
    description: The SHA-256 of its wheel for Linux on x86_64.
    type: str
    required: true
  timeout:
    description: Seconds that each command of uv may take.
    type: float
    default: 1800
author: [the flambe-ansible contributors]
attributes:
  check_mode:
    description: Says what would be done.
    support: full
"""

EXAMPLES = r"""
- name: Install Ray
  flambe.cluster.python_runtime:
    root: /opt/ray
    python_version: "3.11"
    requirements: [ray==2.52.0]
    uv_version: "0.13.9"
    uv_sha256: "{{ uv_sha256 }}"
"""

RETURN = r"""
todo:
  description: Why something was done, or has to be; empty when all is as it should be.
  type: list
  elements: str
  returned: success
uv_missing:
  description: Whether nothing was done because O(uv) is not there.
  type: bool
  returned: success
python:
  description: The interpreter that the environment was made from.
  type: str
  returned: when something was installed
"""

import json
import os
import shutil
import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import (
    files,
    interpreters,
    package_index,
    pip_config,
    venv,
)
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
        self.reinstall = []

    def inspect(self):
        """Find out what has to be done; nothing changes."""
        marker = venv.read_marker(self.venv)
        if not marker:
            self.todo.append("install")
        elif not venv.has_interpreter(self.venv) or marker.get("user") != self.account.pw_name:
            self.todo.append("install again: its Python or its user is gone")
        elif not interpreters.matches(marker.get("python_version", ""), self.params["python_version"]):
            self.todo.append("install with Python %s" % self.params["python_version"])
        self.fresh = bool(self.todo)
        if not self.fresh and marker.get("inputs") != self.digest:
            self.todo.append("change to %s" % ", ".join(self.params["requirements"]))
        if not self.fresh:
            self.reinstall = venv.damaged(self.venv)
            wrong = venv.wrong_pins(self.venv, self.params["requirements"])
            if self.reinstall:
                self.todo.append("repair %s" % ", ".join(self.reinstall))
            elif wrong and len(self.todo) == 0:
                self.todo.append("repair %s" % ", ".join(wrong))
        self.installs = bool(self.todo)
        self.todo += ["link %s" % path for path in self.missing_links()]

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
        environ = accounts.environment(self.account)
        options = pip_config.read(self.account.pw_dir, environ)
        if self.params["index_url"]:
            options.update({"index-url": self.params["index_url"], "extra-index-url": "", "no-index": ""})
        configured = pip_config.uv_has_index(self.account.pw_dir, environ) and not self.params["index_url"]
        told = {} if configured else options
        tmp = os.path.join(self.root, "tmp")
        uv = uvs.Uv(self.find_uv(options), self.account, told, tmp, self.params["timeout"])
        marker = os.path.join(self.venv, venv.MARKER)
        python = venv.read_marker(self.venv).get("python", "") if not self.fresh else ""
        if os.path.exists(marker):
            os.unlink(marker)
        if self.fresh:
            python = self.make_venv(uv)
        self.fill_venv(uv)
        self.verify()
        text = json.dumps(
            dict(
                inputs=self.digest,
                python=python,
                python_version=interpreters.ask(self.account, os.path.join(self.venv, "bin/python"))[0],
                user=self.account.pw_name,
                serial=uuid.uuid4().hex,
            )
        )
        with accounts.acting_as(self.account):
            files.write(marker, text + "\n", 0o644)
        return python

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
        version, listed = interpreters.describe_download(url, self.params["python_sha256"], wanted) if url else (wanted, "{}")
        with uv.workplace(downloads__json=listed) as folder:
            if url:
                argv += ["--python-downloads-json-url", os.path.join(folder, "downloads.json")]
            uv.run(*argv, version, cwd=folder)
        found = interpreters.find(self.account, wanted, self.root)
        if not found:
            raise LookupError("the Python installed from %s is no working Python %s" % (url or "uv's builds", wanted))
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
            raise LookupError("uv installed %s" % ", ".join(wrong))
        imports = self.params["imports"]
        if not imports:
            return
        python = os.path.join(self.venv, "bin/python")
        statement = "import " + ", ".join(imports)
        code, output = accounts.run(self.account, [python, "-W", "ignore", "-c", statement], timeout=300)
        if code:
            raise uvs.Failed(statement, code, accounts.tail(output))

    def link(self, link, target):
        """Link one command; a file of somebody else's is left alone."""
        if os.path.lexists(link) and not os.path.islink(link):
            raise LookupError("%s is not a link: remove it, or take it out of the links" % link)
        if os.path.islink(link) and os.readlink(link) == target:
            return
        draft = "%s.%s" % (link, uuid.uuid4().hex[:8])
        os.symlink(target, draft)
        os.replace(draft, link)


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            root=dict(type="path", required=True),
            user=dict(type="str", default=""),
            python_version=dict(type="str", required=True),
            python_url=dict(type="str", default=""),
            python_sha256=dict(type="str", default=""),
            requirements=dict(type="list", elements="str", required=True),
            constraints=dict(type="list", elements="str", default=[]),
            imports=dict(type="list", elements="str", default=[]),
            links=dict(type="list", elements="str", default=[]),
            links_dir=dict(type="path", default="/usr/local/bin"),
            index_url=dict(type="str", default="", no_log=True),
            uv=dict(type="str", default=""),
            uv_version=dict(type="str", required=True),
            uv_sha256=dict(type="str", required=True),
            timeout=dict(type="float", default=1800),
        ),
        supports_check_mode=True,
    )
    try:
        account = accounts.find(module.params["user"])
    except KeyError:
        module.fail_json(msg="there is no user %s on this host" % module.params["user"])
    module.no_log_values.update(pip_config.passwords(pip_config.read(account.pw_dir, accounts.environment(account))))
    runtime = Runtime(module.params, account)
    runtime.inspect()
    if not runtime.todo:
        module.exit_json(changed=False, todo=[], uv_missing=False, msg="nothing to do")
    if module.check_mode:
        module.exit_json(changed=True, todo=runtime.todo, uv_missing=False, msg="would " + "; ".join(runtime.todo))
    if runtime.installs and module.params["uv"] and not os.path.exists(module.params["uv"]):
        module.exit_json(changed=False, todo=runtime.todo, uv_missing=True, msg="needs uv to " + "; ".join(runtime.todo))
    try:
        python = runtime.converge()
    except uvs.Failed as error:
        module.fail_json(
            msg="the runtime in %s could not be installed: %s\n%s" % (runtime.venv, error, error.output),
            command=error.command,
            output=error.output,
        )
    except package_index.NotFound as error:
        module.fail_json(msg="this host has no uv, and none could be fetched: %s" % error)
    except (LookupError, OSError) as error:
        module.fail_json(msg="the runtime in %s could not be installed: %s" % (runtime.venv, error))
    module.exit_json(changed=True, todo=runtime.todo, uv_missing=False, python=python, msg="; ".join(runtime.todo))


if __name__ == "__main__":
    main()
