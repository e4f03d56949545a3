"""Planted secrets, and the search for them in files, outputs and processes."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import stat
import subprocess
import threading
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote

from flambe_ansible.lab import LabInfo
from tests.e2e import cloud

_PAUSE = 0.05  # seconds between two looks at the processes


class Canaries:
    """Secrets by name; each value has a random core that survives quoting, and characters that need quoting."""

    def __init__(self, names: Iterable[str]) -> None:
        self.cores: dict[str, str] = {}
        self._names: dict[bytes, str] = {}
        for name in names:
            self.add(name, f"canary{secrets.token_hex(9)}")

    def add(self, name: str, core: str) -> None:
        """Also search for this text."""
        self.cores[name] = core
        self._names |= dict.fromkeys(_write_forms(core), name)
        self._pattern = re.compile(b"|".join(re.escape(form) for form in self._names))

    def __getitem__(self, name: str) -> str:
        return f"{self.cores[name]}/+%"

    def quoted(self, name: str) -> str:
        """Return a secret as a part of a URL."""
        return quote(self[name], safe="")

    def find(self, data: bytes | str) -> set[str]:
        """Return the names of the secrets in some data: plain, in base64, or quoted."""
        raw = data.encode(errors="surrogateescape") if isinstance(data, str) else data
        return {self._names[found] for found in self._pattern.findall(raw)}

    def search(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Iterate over the regular files below a folder that contain secrets, with the names of the secrets."""
        for current, _, names in os.walk(folder):
            for path in (Path(current) / name for name in names):
                with contextlib.suppress(OSError):
                    if stat.S_ISREG(path.lstat().st_mode):
                        yield from ((path, name) for name in sorted(self.find(path.read_bytes())))


def _write_forms(core: str) -> list[bytes]:
    """Write a secret plainly and in base64, at all three positions in a longer text, without what neighbours change."""
    forms = [core.encode()]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + core.encode()).decode().rstrip("=")
        skipped = (0, 2, 3)[offset]
        inner = encoded[skipped : len(encoded) - 1]
        forms += [inner.encode(), inner.replace("+", "-").replace("/", "_").encode(), quote(inner, safe="").encode()]
    return forms


class Watch:
    """Looks at the arguments and the environments of all processes of this machine; those of lab hosts are among them.

    Attributes:
        arguments: The secrets in arguments: command line and secret.
        environments: The secrets in environments of processes on lab hosts: user id, command line, and secret.
        looks: How often it has looked.
    """

    def __init__(self, canaries: Canaries, lab: str) -> None:
        self.arguments: set[tuple[str, str]] = set()
        self.environments: set[tuple[int, str, str]] = set()
        self.looks = 0
        self._canaries = canaries
        self._lab = f"/flambe-lab/{lab}/"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._end.wait(_PAUSE):
            self.looks += 1
            for process in Path("/proc").iterdir():
                if process.name.isdecimal():
                    with contextlib.suppress(OSError):
                        self._look(process)

    def _look(self, process: Path) -> None:
        arguments = (process / "cmdline").read_bytes()
        shown = arguments.replace(b"\0", b" ").decode(errors="replace")[:300]
        self.arguments |= {(shown, name) for name in self._canaries.find(arguments)}
        found = self._canaries.find((process / "environ").read_bytes())
        if found and self._lab in (process / "cgroup").read_text():
            self.environments |= {(process.stat().st_uid, shown, name) for name in found}


def search_hosts(canaries: Canaries, lab: LabInfo, given: Mapping[str, Container[str]]) -> set[tuple[str, str]]:
    """Search all files that were written on the hosts, their memory file systems, and their journals.

    Args:
        canaries: The secrets.
        lab: The lab of the hosts.
        given: The files that may have secrets if only their owner can read them: regular expression -> secrets.
    """
    found = set()
    for host in list_hosts(lab):
        root = find_root(host)
        upper = lab.state_dir / "hosts" / host / "upper"
        for folder, below in ((upper, upper), *((root / name, root) for name in ("run", "tmp", "dev/shm"))):
            for path, name in canaries.search(folder):
                shown = f"/{path.relative_to(below)}"
                private = path.stat().st_mode & 0o077 == 0
                if not private or not any(re.fullmatch(one, shown) and name in given[one] for one in given):
                    found.add((f"{host}:{shown}", name))
        argv = ["journalctl", "--quiet", "--no-pager", "--all", "--output=export"]
        argv.append(f"--directory={upper}/var/log/journal")
        journal = subprocess.run(argv, capture_output=True, check=True).stdout
        assert b"sshd" in journal
        found |= {(f"{host}:journal", name) for name in canaries.find(journal)}
    return found


def list_hosts(lab: LabInfo) -> list[str]:
    """List the ids of the lab's running hosts."""
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    found = cloud.client(lab).describe_instances(Filters=running)["Reservations"]
    return [one["InstanceId"] for reservation in found for one in reservation["Instances"]]


def find_root(host: str) -> Path:
    """Return the root folder of a host, as one of its processes sees it."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and f"/{host}/host/payload/" in _read(process / "cgroup"):
            return process / "root"
    raise LookupError(host)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
