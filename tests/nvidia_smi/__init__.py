"""Outputs of nvidia-smi, recorded on a machine with one H200, and a program for hosts that prints them."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
IDLE = (FOLDER / "idle.csv").read_text()  # the fields of module_utils/nvidia_smi.py
BUSY = (FOLDER / "busy.csv").read_text()
LISTED = (FOLDER / "L.txt").read_text()  # nvidia-smi -L
PLAIN = (FOLDER / "plain-idle.txt").read_text()
PATH = "/usr/bin/nvidia-smi"  # on a host
MODE = "/var/tmp/nvidia-smi.persistence"


def write_script(query: str = IDLE, *, listed: str = LISTED, code: int = 0, mode: str = MODE, first: str = "") -> str:
    """Return a shell script that answers as nvidia-smi; the persistence mode, off at first, is kept in a file.

    Args:
        query: The answer to a query of GPUs, and to a call without options if ``code`` is set.
        listed: The answer to ``-L``.
        code: The exit code of all calls but ``-pm 1``.
        mode: The file of the persistence mode.
        first: A line that runs first.
    """
    plain = query if code else PLAIN
    rows = [line.split(",")[0] for line in query.splitlines() if line[:1].isdigit()]
    return f"""#!/bin/sh
{first}
show() {{ cat; exit {code}; }}
case "$*" in
  *persistence_mode*) for index in {" ".join(rows)}; do echo "$index, $(cat {mode} 2>/dev/null || echo Disabled)"; done
    exit {code} ;;
  "-pm 1") echo Enabled > {mode}; echo "All done." ;;
  *--query-gpu=*) show <<'END'
{query.rstrip()}
END
  ;;
  -L) show <<'END'
{listed.rstrip()}
END
  ;;
  *) show <<'END'
{plain.rstrip()}
END
  ;;
esac
"""


def write_eight(name: str = "NVIDIA A100-SXM4-40GB", *, mig: str = "Disabled") -> str:
    """Return the answer for eight GPUs of the type A100, in the form of the recorded one."""
    return "".join(
        IDLE.replace("0, NVIDIA H200", f"{index}, {name}")
        .replace("9.0, 143771", "8.0, 40960")
        .replace("000001,", f"{index:06},")
        .replace("Disabled", mig)
        for index in range(8)
    )
