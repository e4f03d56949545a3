"""Find a Python of a version on this host, or install a standalone build of it with uv."""

from __future__ import annotations

import glob
import json
import os
import re

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts

# What a usable interpreter answers: its version, the path of itself behind any wrapper, and that it was built whole.
_QUESTION = (
    "import bz2, ctypes, hashlib, json, lzma, ssl, sqlite3, sys, venv, zlib; "
    "print(json.dumps(['%d.%d.%d' % sys.version_info[:3], getattr(sys, '_base_executable', None) or sys.executable]))"
)


def matches(version, wanted):
    """Tell whether 3.7.9 is a 3.7 (or exactly that)."""
    return version == wanted or version.startswith(wanted + ".")


def ask(account, path):
    """Ask an interpreter for (version, path of itself); None when it does not work."""
    try:
        code, output = accounts.run(account, [path, "-I", "-c", _QUESTION], timeout=60)
    except (accounts.CommandTimeoutError, OSError):
        return None
    if code:
        return None
    try:
        version, executable = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return version, executable or path


def find(account, wanted, root):
    """Find a working interpreter of a version: on the login's PATH, pyenv's, below /opt, or one installed here before.

    Returns:
        (version, path), or None.
    """
    for path in candidates(account, wanted, root):
        found = ask(account, path)
        if found and matches(found[0], wanted):
            return found
    return None


def candidates(account, wanted, root):
    """List where such an interpreter may be, best first."""
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
    """Write the list of downloads that uv takes a standalone build from.

    Returns:
        (the version that uv is asked for, JSON text).
    """
    match = re.search(r"cpython-(\d+)\.(\d+)\.(\d+)", url)
    parts = [int(part) for part in (match.groups() if match else (wanted.split(".") + ["0", "0"])[:3])]
    version = ".".join(str(part) for part in parts)
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
