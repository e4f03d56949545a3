"""Files over HTTP, streamed into a cache; an incomplete download is never used."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from flambe_ansible.errors import SourceError
from flambe_ansible.files import write_json
from flambe_ansible.sources.content import locked
from flambe_ansible.sources.locations import redact

TIMEOUT = 60.0  # seconds without a byte
CHUNK = 256 * 1024
Report = Callable[[int, int | None], None]


def download(url: str, cache: Path, *, report: Report | None = None) -> Path:
    """Fetch a file into its URL's folder of the cache, or reuse the cached one if the server reports it unchanged.

    Credentials in the URL are sent only to its host. Raises ``SourceError`` if the server did not answer, refused, or
    closed the connection early.
    """
    shown = redact(url)
    home = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
    with locked(home):
        target = home / "content" / _name(url)
        facts = _read_facts(home) if target.is_file() else {}
        try:
            request = _request(url, facts)
            with _opener().open(request, timeout=TIMEOUT) as answer:
                _receive(answer, target, home, shown, report)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.HTTPStatus.NOT_MODIFIED:
                return target
            raise SourceError(f"{shown}: the server answers {error.code} {error.reason}", source=shown) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            reason = redact(str(getattr(error, "reason", None) or error) or type(error).__name__)
            raise SourceError(f"{shown}: download failed: {reason}", source=shown) from error
    return target


def _receive(answer: Any, target: Path, home: Path, shown: str, report: Report | None) -> None:
    """Write an answer's body to a temporary file, and move the complete file to its path."""
    length = answer.headers.get("Content-Length")
    total = int(length) if length and length.isdigit() else None
    partial = home / "partial"
    done = 0
    with partial.open("wb") as file:
        while chunk := answer.read(CHUNK):
            done += file.write(chunk)
            if report:
                report(done, total)
    if total is not None and done != total:
        partial.unlink()
        raise SourceError(f"{shown}: download ended after {done} of {total} bytes", source=shown, hint="try again")
    (home / "facts.json").unlink(missing_ok=True)
    target.parent.mkdir(exist_ok=True)
    partial.replace(target)
    facts = {name: answer.headers.get(name) for name in ("ETag", "Last-Modified")} | {"size": done}
    write_json(home / "facts.json", facts)


def _request(url: str, facts: dict[str, Any]) -> urllib.request.Request:
    """Make the request; conditional if the cached file has an ETag or a date."""
    parts = urlsplit(url)
    credentials, _, netloc = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit((parts.scheme, netloc, parts.path, parts.query, "")))  # noqa: S310 (http only)
    request.add_header("User-Agent", "flambe-ansible")
    request.add_header("Accept-Encoding", "identity")
    if facts.get("ETag"):
        request.add_header("If-None-Match", facts["ETag"])
    elif facts.get("Last-Modified"):
        request.add_header("If-Modified-Since", facts["Last-Modified"])
    if credentials:
        token = base64.b64encode(unquote(credentials).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _opener() -> urllib.request.OpenerDirector:
    """Make an opener that supports only HTTP and HTTPS, also after a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _read_facts(home: Path) -> dict[str, Any]:
    """Read the stored headers of the cached file."""
    try:
        facts = json.loads((home / "facts.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _name(url: str) -> str:
    """Return a safe file name for the last part of the URL's path."""
    last = unquote(urlsplit(url).path).rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".-")[-120:] or "content"
