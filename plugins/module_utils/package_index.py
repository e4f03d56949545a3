"""Fetch one file from a package index: the simple API as HTML (PEP 503) or JSON (PEP 691)."""

from __future__ import annotations

import hashlib
import json
import socket
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from ansible.module_utils.urls import open_url
from ansible_collections.flambe.cluster.plugins.module_utils import progress

_SECONDS = 60  # without any data
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"


class PackageNotFoundError(Exception):
    """No index has the file with the expected hash."""


class _Links(HTMLParser):
    """Collect (text, href) of a page's anchors."""

    def __init__(self):
        super().__init__()
        self.found = []
        self._href = None

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self._href = dict(attrs).get("href")

    def handle_data(self, data):
        if self._href and data.strip():
            self.found.append((data.strip(), self._href))
            self._href = None


def fetch(indexes, project, filename, sha256, options):
    """Fetch a file of a project from the first index that has it with this SHA-256; return its bytes.

    ``indexes`` are URLs of simple indexes, optionally with user and password; of pip's ``options``, ``cert`` and
    ``trusted-host`` are used.
    """
    reasons = []
    for index in indexes:
        page = "{}/{}/".format(index.rstrip("/"), project)
        progress.report(f"asking the package index for {project}")
        try:
            link = find_link(*_get(page, options, _ACCEPT, project), filename)
            if link is None:
                reasons.append(f"{hide(index)} has no {filename}")
                continue
            content = _get(with_login(link, page), options, shown=project)[2]
        except Exception as error:
            late = isinstance(error, socket.timeout)
            reasons.append(f"{hide(index)}: " + (f"no answer for {_SECONDS} s" if late else str(error)))
            continue
        found = hashlib.sha256(content).hexdigest()
        if found == sha256:
            return content
        reasons.append(f"{hide(index)}: {filename} has the SHA-256 {found}, expected {sha256}")
    raise PackageNotFoundError("; ".join(reasons) or "no package index is configured")


def find_link(url, kind, body, filename):
    """Find a file's URL on a project's page; None if it is not listed."""
    text = body.decode("utf-8", "replace")
    if "json" in kind:
        links = [(entry["filename"], entry["url"]) for entry in json.loads(text)["files"]]
    else:
        parser = _Links()
        parser.feed(text)
        links = parser.found
    for name, href in links:
        target = urldefrag(urljoin(url, href)).url
        if filename in (name, unquote(urlsplit(target).path.rsplit("/", 1)[-1])):
            return target
    return None


def with_login(url, page):
    """Add the login of the linking page to a URL on the same host."""
    parts, source = urlsplit(url), urlsplit(page)
    login = source.netloc.rpartition("@")[0]
    if not login or "@" in parts.netloc or parts.hostname != source.hostname:
        return url
    return parts._replace(netloc=f"{login}@{parts.netloc}").geturl()


def hide(url):
    """Return a URL without its login."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _get(url, options, accept="*/*", shown=""):
    """Get a URL; return (final URL, content type, body). ``shown`` is its name in the reported progress."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    answer = open_url(
        hide(url),
        url_username=unquote(parts.username) if parts.username else None,
        url_password=unquote(parts.password or "") if parts.username else None,
        force_basic_auth=bool(parts.username),
        headers={"Accept": accept},
        timeout=_SECONDS,
        ca_path=options.get("cert") or None,
        validate_certs=host not in options.get("trusted-host", "").split(),
    )
    kind = answer.headers.get("Content-Type") or ""
    return with_login(answer.geturl(), url), kind, _read(answer, shown)


def _read(answer, shown):
    """Read a body, and report the progress of a large one; ``shown`` is its name."""
    size, done, parts = int(answer.headers.get("Content-Length") or 0), 0, []
    while True:
        part = answer.read(1 << 20)
        parts.append(part)
        done += len(part)
        if not part:
            return b"".join(parts)
        if done < size:
            progress.report(f"downloading {shown}: {progress.megabytes(done, size)}")
