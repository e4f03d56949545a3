"""A headless browser: Chromium, as installed by scripts/test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_DOWNLOADED = Path(sys.prefix) / "browsers"  # installed by Playwright if the distribution has no package
_QUIET = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--window-size=1280,900",
)  # fmt: skip
_SECONDS = 20  # of virtual time of a page


def find_browser() -> str:
    """Find the Chromium that scripts/test has installed."""
    brought = sorted(map(str, _DOWNLOADED.glob("chromium-*/chrome-linux*/chrome")))
    found = [*brought, *filter(None, map(shutil.which, _NAMES))]
    assert found, "no Chromium on this machine: scripts/test installs one"
    return found[0]


def render(url: str, *, screenshot: Path | None = None) -> str:
    """Open a page, run its scripts, and return the resulting HTML.

    Args:
        url: The page.
        screenshot: The file for a screenshot (PNG).
    """
    with tempfile.TemporaryDirectory(prefix="browser-") as profile:
        argv = [find_browser(), "--headless", f"--user-data-dir={profile}", f"--virtual-time-budget={_SECONDS * 1000}"]
        argv += [*_QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        argv += [f"--screenshot={screenshot}"] if screenshot else []
        done = subprocess.run([*argv, "--dump-dom", url], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
