"""Files and folders to and from hosts: rsync over the kept connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.ssh.options import client_options, rsync_shell

_GREETING = (
    "the login shell prints text before the command, which breaks rsync; "
    "print it in interactive shells only, for example below [ -t 0 ] in ~/.bashrc"
)
# What a host sends is not trusted: no links out of the folder, no devices, no programs that run as their owner.
_FETCH_OPTIONS = ("--safe-links", "--no-devices", "--no-specials", "--chmod=ug-s")
_PROGRESS = re.compile(rb"^\s*([\d,.]+)\s+(\d+)%\s+(\S+/s)")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a transfer."""

    transferred: int  # bytes
    percent: int  # of the known total; it may decrease while rsync still counts
    rate: str  # such as 11.20MB/s


def rsync_argv(
    socket: Path,
    sources: Sequence[str],
    destination: str,
    *,
    options: Sequence[str] = (),
    progress: bool = False,
    fetch: bool = False,
) -> list[str]:
    """Build an rsync command over an open connection; a source folder with a trailing slash means its content.

    With ``fetch`` the sources are on a host, and what could harm this machine is left out.
    """
    return [
        "rsync",
        "--archive",
        "--no-owner",
        "--no-group",
        "--partial",
        "--protect-args",  # the host's shell does not interpret paths
        "--rsh",
        rsync_shell(["ssh", *client_options(socket), "-T"]),
        *(["--info=progress2", "--no-inc-recursive"] if progress else []),
        *(_FETCH_OPTIONS if fetch else ()),
        *options,
        "--",
        *sources,
        destination,
    ]


def local(path: str | Path) -> str:
    """Write a local path so that rsync does not read it as a remote one."""
    text = str(path)
    return text if text.startswith("/") else f"./{text}"


def progress_reader(report: Callable[[Progress], None]) -> Callable[[bytes], None]:
    """Make a function that reads rsync's output in pieces and reports the progress in it."""
    rest = b""

    def read(chunk: bytes) -> None:
        nonlocal rest
        *lines, rest = re.split(rb"[\r\n]", rest + chunk)
        for line in lines:
            if found := _PROGRESS.match(line):
                digits = re.sub(rb"[,.]", b"", found[1])
                report(Progress(transferred=int(digits), percent=int(found[2]), rate=found[3].decode()))

    return read


def explain(errors: str) -> str:
    """Return the reason of a failed rsync, one line, from its standard error."""
    return _GREETING if "is your shell clean?" in errors else errors.strip().partition("\n")[0]
