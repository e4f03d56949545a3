"""A real browser without a screen: Chromium, as scripts/test installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_BROUGHT = Path(sys.prefix) / "browsers"  # by Playwright, where the distribution has no package of it
_QUIET = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--window-size=1280,900",
)  # fmt: skip
_SECONDS = 20  # of a page's own time


def find_browser() -> str:
    """Find the Chromium that scripts/test has installed."""
    brought = sorted(map(str, _BROUGHT.glob("chromium-*/chrome-linux*/chrome")))
    found = [*brought, *filter(None, map(shutil.which, _NAMES))]
    assert found, "no Chromium on this machine: scripts/test installs one"
    return found[0]


def render(url: str, *, screenshot: Path | None = None) -> str:
    """Open a page, let its scripts work, and return what it then holds as HTML.

    Args:
        url: The page.
        screenshot: Where a picture of it goes (PNG).
    """
    with tempfile.TemporaryDirectory(prefix="browser-") as profile:
        words = [find_browser(), "--headless", f"--user-data-dir={profile}", f"--virtual-time-budget={_SECONDS * 1000}"]
        words += [*_QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        words += [f"--screenshot={screenshot}"] if screenshot else []
        done = subprocess.run([*words, "--dump-dom", url], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
