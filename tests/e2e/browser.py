"""A headless browser: Chromium, as installed by scripts/test, controlled through its DevTools pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_DOWNLOADED = Path(sys.prefix) / "browsers"  # installed by Playwright if the distribution has no package
_QUIET = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update",
)  # fmt: skip
_SECONDS = 60  # for one answer of the browser, and for a page to become what is awaited
# Chromium reads from descriptor 3 and writes to descriptor 4.
_WITH_PIPES = 'in=$1 out=$2; shift 2; exec "$@" 3<&"$in" 4>&"$out"'


def find_browser() -> str:
    """Find the Chromium that scripts/test has installed."""
    brought = sorted(map(str, _DOWNLOADED.glob("chromium-*/chrome-linux*/chrome")))
    found = [*brought, *filter(None, map(shutil.which, _NAMES))]
    assert found, "no Chromium on this machine: scripts/test installs one"
    return found[0]


class Page:
    """A tab; ``responses`` has the status of each address that it requested, 0 if there was no answer."""

    def __init__(self, commands: int, events: int) -> None:
        self.responses: dict[str, int] = {}
        self._commands = commands
        self._events = events
        self._unread = b""
        self._requests: dict[str, str] = {}
        self._count = 0
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self._call(f"{domain}.enable")

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """Open a page in a window of this size, in CSS pixels, and wait until it is loaded."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 768,
        )  # fmt: skip
        assert "errorText" not in self._call("Page.navigate", url=url), url
        self.wait('document.readyState === "complete"')

    def set_theme(self, theme: str) -> None:
        """Prefer the ``light`` or ``dark`` theme of the next pages."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def evaluate(self, script: str) -> Any:
        """Run JavaScript in the page, and return the value of its last expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.evaluate(f"Boolean({script})"):
            assert time.monotonic() < end, f"{script}\n{self.evaluate('document.body.innerText')}"
            time.sleep(0.2)

    def screenshot(self, path: Path) -> None:
        """Write a PNG of what the window shows."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def failures(self) -> dict[str, int]:
        """Return the addresses that were requested and not answered with success: address -> status."""
        return {url: status for url, status in self.responses.items() if not 200 <= status < 400}

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps({**message, **session}).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._record(answer.get("method", ""), answer.get("params", {}))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._events], [], [], _SECONDS)[0], "Chromium does not answer"
            data = os.read(self._events, 1 << 20)
            assert data, "Chromium ended"
            self._unread += data
        line, self._unread = self._unread.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def _record(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self._requests[params["requestId"]] = params["request"]["url"]
        elif method == "Network.responseReceived":
            self.responses[params["response"]["url"]] = params["response"]["status"]
        elif method == "Network.loadingFailed" and not params.get("canceled"):
            self.responses.setdefault(self._requests[params["requestId"]], 0)


@contextmanager
def start() -> Iterator[Page]:
    """Start a browser, and end it afterwards."""
    (read, commands), (events, write) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        argv = [find_browser(), "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", *_QUIET]
        argv += ["--no-sandbox"] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            ["bash", "-c", _WITH_PIPES, "browser", str(read), str(write), *argv],
            pass_fds=(read, write), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read)
        os.close(write)
        try:
            yield Page(commands, events)
        finally:
            process.terminate()
            process.wait(30)
            os.close(commands)
            os.close(events)
