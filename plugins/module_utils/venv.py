"""The content of a virtual environment, read from its files without starting an interpreter."""

from __future__ import annotations

import csv
import glob
import hashlib
import os
import re
from urllib.parse import unquote

from ansible_collections.flambe.cluster.plugins.module_utils import files

MARKER = "flambe-runtime.json"
SHOWN = 5  # changed packages in a message
WHEELS = "wheels"  # the folder below a runtime's root for wheels from the controller

_NAME = re.compile(r"\s*([A-Za-z0-9][\w.-]*)")
_WHEEL = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*@\s*file://(/[^\s#]*\.whl)(?:#sha256=([0-9a-f]+))?\s*$")


def normalize(name):
    """Normalize a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(venv):
    """List the distributions of a venv: normalized name -> (version, its .dist-info folder)."""
    found = {}
    for folder in glob.glob(os.path.join(glob.escape(venv), "lib/python3.*/site-packages/*.dist-info")):
        name, _dash, version = os.path.basename(folder)[: -len(".dist-info")].partition("-")
        found[normalize(name)] = (version, folder)
    return found


def not_released(venv):
    """List the distributions installed from a file or URL, not from a package index (PEP 610)."""
    folders = {name: folder for name, (_version, folder) in installed(venv).items()}
    return {name for name, folder in folders.items() if os.path.exists(os.path.join(folder, "direct_url.json"))}


def damaged(venv, expected=()):
    """List the distributions with missing or emptied files, and those of ``expected`` that are missing."""
    present = installed(venv)
    lost = {name for name in expected if name not in present}
    return sorted(lost | {name for name, (_version, folder) in present.items() if not is_whole(venv, folder)})


def is_whole(venv, folder):
    """Return whether all files in the RECORD of a .dist-info folder exist; compiled files (.pyc) may be missing.

    A file that was emptied is missing too: a host that loses power can leave such files.
    """
    rows = [row for row in csv.reader((files.read(os.path.join(folder, "RECORD")) or "").splitlines()) if row]
    for name, *rest in rows:
        path = os.path.normpath(os.path.join(os.path.dirname(folder), name))
        if path.startswith(venv + "/") and not path.endswith(".pyc"):
            may_be_empty = rest[1:] in ([], [""], ["0"])
            if not os.path.isfile(path) or not (may_be_empty or os.path.getsize(path)):
                return False
    return bool(rows)


def python_version(venv):
    """Return the version of a venv's Python as pyvenv.cfg has it; "" if it is unknown."""
    text = files.read(os.path.join(venv, "pyvenv.cfg")) or ""
    match = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+\.\d+)", text, re.M)
    return match.group(1) if match else ""


def pins(requirements):
    """Return the exact versions in requirements, by ``==`` or as a wheel: normalized name -> version."""
    found = {name: os.path.basename(path).split("-")[1] for name, (path, _digest) in wheels(requirements).items()}
    for requirement in requirements:
        match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*==\s*([^\s,;*]+)\s*(?:;.*)?$", requirement)
        if match:
            found[normalize(match.group(1))] = match.group(2)
    return found


def names(requirements):
    """Return the normalized names in requirements."""
    return {normalize(match.group(1)) for match in map(_NAME.match, requirements) if match}


def wheels(requirements):
    """Return the local wheels in requirements: normalized name -> (path, SHA-256 in hex or "")."""
    found = [match.groups() for match in map(_WHEEL.match, requirements) if match]
    return {normalize(name): (os.path.normpath(unquote(path)), sha256 or "") for name, path, sha256 in found}


def describe(requirements):
    """Write requirements for messages: a wheel by its name and version."""
    found = wheels(requirements)
    shown = [f"{name}=={version}" for name, version in pins(requirements).items() if name in found]
    return shown + [one for one in requirements if not wheels([one])]


def describe_changes(venv, requirements):
    """Write what changes if a venv gets exactly these pinned requirements, for messages."""
    present = {name: version for name, (version, _folder) in installed(venv).items()}
    wanted = pins(requirements)
    changes = [f"{name} {present[name]} to {new}" for name, new in wanted.items() if present.get(name, new) != new]
    changes += [f"add {name} {version}" for name, version in wanted.items() if name not in present]
    changes += [f"remove {name}" for name in present if name not in wanted]
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "change packages: {}{}".format(", ".join(changes[:SHOWN]) or "others of the same versions", more)


def is_wheel(path, sha256):
    """Return whether a file is the wheel with this SHA-256; an empty SHA-256 matches any file."""
    if not sha256 or not os.path.isfile(path):
        return os.path.isfile(path)
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest() == sha256


def wrong_pins(venv, requirements):
    """List the packages that differ from their pins: normalized name -> ``1.0 instead of 2.0``."""
    present = {name: version for name, (version, _folder) in installed(venv).items()}
    pinned = sorted(pins(requirements).items())
    return {
        name: f"{present.get(name, 'missing')} instead of {version}"
        for name, version in pinned
        if present.get(name) != version
    }


def read_marker(venv):
    """Read the document of the last completed installation; {} if there is none."""
    return files.read_json(os.path.join(venv, MARKER))
