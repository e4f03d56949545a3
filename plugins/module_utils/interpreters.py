"""Find a Python of a version on this host, or describe a standalone build of it for uv."""

from __future__ import annotations

import glob
import json
import os
import re

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts

# Fails unless the interpreter starts and was built with these modules; prints its version and real path.
_PROBE = (
    "import bz2, ctypes, hashlib, json, lzma, ssl, sqlite3, sys, venv, zlib; "
    "print(json.dumps(['%d.%d.%d' % sys.version_info[:3], getattr(sys, '_base_executable', None) or sys.executable]))"
)
_PROBE_SECONDS = 60


def matches(version, wanted):
    """Return whether a version such as 3.7.9 is the wanted one, such as 3.7 or 3.7.9."""
    return version == wanted or version.startswith(wanted + ".")


def probe(account, path):
    """Start an interpreter; return (version, its real path), or None if it does not work.

    Raises CommandTimeoutError if it did not answer, which proves neither.
    """
    try:
        code, output = accounts.run(account, [path, "-I", "-c", _PROBE], timeout=_PROBE_SECONDS)
        version, executable = json.loads(output.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None
    return None if code else (version, executable or path)


def find(account, wanted, root):
    """Find a working interpreter of a version among the ``candidates``; return (version, path), or None."""
    for path in candidates(account, wanted, root):
        try:
            found = probe(account, path)
        except accounts.CommandTimeoutError:
            continue
        if found and matches(found[0], wanted):
            return found
    return None


def candidates(account, wanted, root):
    """Yield paths of an interpreter, best first: on the login's PATH, in pyenv, below /opt, or installed earlier."""
    command = "python" + ".".join(wanted.split(".")[:2])
    on_path = accounts.which(account, command)
    if on_path:
        yield on_path
    homes = [os.path.join(account.pw_dir, ".pyenv"), "/opt/pyenv", "/usr/local/pyenv", "/opt/.pyenv"]
    patterns = [os.path.join(glob.escape(home), "versions", wanted + "*", "bin", command) for home in homes]
    patterns += ["/opt/*/bin/" + command, "/opt/*/*/bin/" + command]
    patterns.append(os.path.join(glob.escape(root), "python", f"cpython-{wanted}*", "bin", command))
    for pattern in patterns:
        yield from sorted(glob.glob(pattern), reverse=True)


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
