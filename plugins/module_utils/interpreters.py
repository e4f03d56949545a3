"""Find a Python of a version on this host, or describe a standalone build of it for uv."""

from __future__ import annotations

import glob
import json
import os
import re
from collections import namedtuple

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts

# ``path``: the base interpreter of a virtual environment, with links resolved; ``missing``: modules not found.
Interpreter = namedtuple("Interpreter", "version path prefix missing")

# Fails unless the interpreter starts and was built with these modules. The wanted modules are found, but not imported:
# torch takes seconds. Of a dotted name, the packages are imported, and the module too if only they provide it.
_PROBE = """
import bz2, ctypes, hashlib, importlib.util, json, lzma, ssl, sqlite3, sys, venv, zlib
def is_missing(name):
    for find in importlib.util.find_spec, importlib.import_module:
        try:
            if find(name):
                return False
        except Exception:
            pass
    return True
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps(["%d.%d.%d" % sys.version_info[:3], base, sys.prefix, list(filter(is_missing, sys.argv[1:]))]))
"""
_PROBE_SECONDS = 60


def matches(version, wanted):
    """Return whether a version such as 3.7.9 is the wanted one, such as 3.7 or 3.7.9."""
    return version == wanted or version.startswith(wanted + ".")


class BrokenError(LookupError):
    """An interpreter does not start."""


def probe(account, path, modules=()):
    """Start an interpreter, and search for modules; return an Interpreter.

    Raises BrokenError if it does not start, and CommandTimeoutError if it did not answer, which proves neither.
    """
    try:
        code, output = accounts.run(account, [path, "-I", "-c", _PROBE, *modules], timeout=_PROBE_SECONDS)
    except OSError as error:
        raise BrokenError(f"{os.path.realpath(path)}: {error.strerror}") from error
    last = accounts.tail(output, 1)
    try:
        found = Interpreter(*json.loads(last))
    except (TypeError, ValueError) as error:
        raise BrokenError(last or f"exit code {code}") from error
    if code:
        raise BrokenError(f"exit code {code}")
    return found._replace(path=found.path or path)


def find(account, wanted, root):
    """Find a working interpreter of a version among the ``candidates``; return an Interpreter, or None."""
    return _find_among(candidates(account, wanted, root), account, wanted)


def find_own(account, wanted, root):
    """Find a working interpreter of a version that is not below ``root``; return an Interpreter, or None.

    An empty version means the ``python3`` on the login's PATH.
    """
    paths = candidates(account, wanted, root) if wanted else [accounts.which(account, "python3") or ""]
    return _find_among([path for path in paths if path and not path.startswith(root + "/")], account, wanted or "3")


def find_installed(account, wanted, root):
    """Find a working interpreter of a version that uv installed below ``root``; return an Interpreter, or None."""
    return _find_among(list_installed(wanted, root), account, wanted)


def _find_among(paths, account, wanted):
    for path in paths:
        try:
            found = probe(account, path)
        except (BrokenError, accounts.CommandTimeoutError):
            continue
        if matches(found.version, wanted):
            return found
    return None


def candidates(account, wanted, root):
    """List paths of an interpreter, best first: on the login's PATH, in pyenv, below /opt, or installed earlier.

    Those in the runtime's own environment are left out: it is removed before it is created again.
    """
    command = _command(wanted)
    homes = [os.path.join(account.pw_dir, ".pyenv"), "/opt/pyenv", "/usr/local/pyenv", "/opt/.pyenv"]
    patterns = [os.path.join(glob.escape(home), "versions", wanted + "*", "bin", command) for home in homes]
    patterns += ["/opt/*/bin/" + command, "/opt/*/*/bin/" + command]
    found = [accounts.which(account, command) or ""]
    found += [path for pattern in patterns for path in sorted(glob.glob(pattern), reverse=True)]
    found += list_installed(wanted, root)
    return [path for path in found if path and not path.startswith(os.path.join(root, "venv", ""))]


def list_installed(wanted, root):
    """List the paths of the interpreters that uv installed below ``root``, the newest first."""
    pattern = os.path.join(glob.escape(root), "python", f"cpython-{wanted}*", "bin", _command(wanted))
    return sorted(glob.glob(pattern), reverse=True)


def _command(wanted):
    return "python" + ".".join(wanted.split(".")[:2])


def describe_download(url, sha256, wanted):
    """Write the download list from which uv installs a standalone build; return (version to request, JSON text)."""
    match = re.search(r"cpython-(\d+)\.(\d+)\.(\d+)", url)
    parts = [int(part) for part in (match.groups() if match else (wanted.split(".") + ["0", "0"])[:3])]
    version = ".".join(map(str, parts))
    entry = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": parts[0],
        "minor": parts[1],
        "patch": parts[2],
        "prerelease": "",
        "url": url,
        "sha256": sha256,
        "variant": None,
        "build": None,
    }
    return version, json.dumps({f"cpython-{version}-linux-x86_64-gnu": entry})
