"""The machine's Python 3.7, which flambe 0.4.18 needs, mounted into the hosts read-only."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.errors import LabUsageError
from flambe_ansible.lab.system import caller, environment

HOME = "/opt/python3.7"

_QUESTIONS = (
    "import json, sys, sysconfig; get = sysconfig.get_config_var; print(json.dumps(dict("
    "version=list(sys.version_info[:2]), prefix=sys.base_prefix, executable=sys.executable, "
    "stdlib=sysconfig.get_path('stdlib'), include=sysconfig.get_path('include'), "
    "libdir=get('LIBDIR'), library=get('INSTSONAME') if get('Py_ENABLE_SHARED') else '')))"
)


@dataclass(frozen=True)
class Python37:
    """A Python 3.7 of this machine."""

    binds: tuple[tuple[str, str], ...]  # what is mounted into hosts, as (path on the machine, path in the host)
    libraries: tuple[str, ...]  # Debian packages of the shared libraries that it needs
    own_library: str = ""  # the path in the host of its own shared library


def find(chosen: Path | None = None) -> Python37 | None:
    """Find a Python 3.7: the given one, or else on the PATH, or else pyenv's, also of the user who called sudo."""
    if chosen is not None:
        found = _inspect(chosen)
        if found is None:
            raise LabUsageError(
                f"{chosen} is not a Python 3.7", hint="flambe-ans lab up --python /path/to/bin/python3.7"
            )
        return found
    return next((found for path in _candidates() if (found := _inspect(path)) is not None), None)


def _candidates() -> Iterable[Path]:
    """List the possible paths of a Python 3.7, best first."""
    on_path = shutil.which("python3.7", path=environment()["PATH"])
    if on_path and ".pyenv/shims" not in on_path:
        yield Path(on_path)
    homes = [Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"), caller().home / ".pyenv"]
    for home in dict.fromkeys(homes):
        found = home.glob("versions/3.7.*/bin/python3.7")
        numbered = [(int(match[1]), path) for path in found if (match := re.match(r"3\.7\.(\d+)", path.parts[-3]))]
        yield from (path for _, path in sorted(numbered, reverse=True))


def _inspect(path: Path) -> Python37 | None:
    """Inspect an interpreter; None if it is not a working Python 3.7."""
    if not path.is_file():
        return None
    clean = {key: value for key, value in environment().items() if not key.startswith("PYTHON")}
    done = subprocess.run([path, "-I", "-c", _QUESTIONS], capture_output=True, text=True, env=clean, check=False)
    answers = {} if done.returncode else json.loads(done.stdout)
    if answers.get("version") != [3, 7]:
        return None
    own = f"{HOME}/lib/{answers['library']}" if answers["library"] else ""
    return Python37(_binds(answers), _libraries(answers), own)


def _binds(answers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Choose what is mounted into hosts: its folder, or only its parts from a shared prefix such as /usr."""
    prefix = answers["prefix"]
    if prefix not in {"/usr", "/usr/local", "/"}:
        return ((prefix, HOME),)
    executable = Path(prefix, "bin/python3.7").resolve()
    parts = [(executable, "bin/python3.7"), (Path(answers["stdlib"]), "lib/python3.7")]
    include = Path(answers["include"])
    if include.is_dir():
        parts.append((include, f"include/{include.name}"))
    if answers["library"]:
        parts.append((Path(answers["libdir"], answers["library"]), f"lib/{answers['library']}"))
    return tuple((str(source), f"{HOME}/{target}") for source, target in parts)


def _libraries(answers: dict[str, str]) -> tuple[str, ...]:
    """List the packages of the shared libraries that it and its modules load, without Tk."""
    modules = Path(answers["stdlib"], "lib-dynload").glob("*.so")
    files = [answers["executable"], *(str(path) for path in modules if not path.name.startswith("_tkinter"))]
    printed = _print("ldd", *files)
    loaded = {match[1] for match in re.finditer(r"=> (/\S+)", printed)}
    paths = sorted({spelling for path in loaded for spelling in (path, path.removeprefix("/usr"), f"/usr{path}")})
    owners = _print("dpkg", "-S", *paths)
    return tuple(sorted({match[1] for match in re.finditer(r"^([^:\s]+):", owners, re.MULTILINE)} - {"diversion by"}))


def _print(*argv: str) -> str:
    """Run a command that may fail for some arguments, and return its output."""
    return subprocess.run(argv, capture_output=True, text=True, env=environment(), check=False).stdout
