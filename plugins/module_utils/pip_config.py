"""Translate the package index of the host's pip configuration for uv, which does not read it."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
from urllib.parse import unquote, urlsplit

from ansible_collections.flambe.cluster.plugins.module_utils import files

_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "proxy", "client-cert")
SYSTEM_UV = "/etc/uv/uv.toml"
_UV_ENVIRONMENT = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_CONFIG_FILE",
)
_UV_INDEX = re.compile(
    r"^\s*(\[\[index\]\]|\[\[pip\.index\]\]|(default-)?index(-url)?\s*=|extra-index-url\s*=|find-links\s*=|no-index\s*=)",
    re.M,
)


def read(home, environ):
    """Read pip's configuration: the global files, the user's files, then PIP_* variables; later sources win.

    ``environ`` is the login environment of the user who installs. Returns option (as in pip.conf) -> value.
    """
    options = {}
    for path in _paths(home, environ):
        options.update(_parse(files.read(path) or ""))
    variables = {key: environ.get("PIP_" + key.upper().replace("-", "_")) for key in _KEYS}
    return {**options, **{key: value for key, value in variables.items() if value}}


def _paths(home, environ):
    """List pip's configuration files in ascending precedence."""
    given = environ.get("PIP_CONFIG_FILE")
    if given == os.devnull:
        return []
    configured = _config_home(home, environ)
    shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    paths = [os.path.join(folder, "pip/pip.conf") for folder in reversed(shared) if folder]
    paths += ["/etc/pip.conf", os.path.join(home, ".pip/pip.conf"), os.path.join(configured, "pip/pip.conf")]
    return [*paths, given] if given else paths


def _config_home(home, environ):
    return environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")


def _parse(text):
    """Read the ``pip install`` options of one file; none if it is malformed."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    sections = [parser[name] for name in ("global", "install") if parser.has_section(name)]
    found = {name.replace("_", "-"): value.strip() for section in sections for name, value in section.items()}
    return {key: value for key, value in found.items() if key in _KEYS}


def indexes(options):
    """List the indexes in pip's order, the main one first, without local folders that do not exist."""
    main = [] if truth(options.get("no-index")) else [options.get("index-url") or "https://pypi.org/simple"]
    return _usable(main) + _usable(options.get("extra-index-url", "").split())


def _usable(places):
    """Leave out the local locations that do not exist, like pip."""
    paths = {place: urlsplit(place).path if place.startswith("file:") else place for place in places}
    return [place for place, path in paths.items() if not path.startswith("/") or os.path.exists(unquote(path))]


def truth(value):
    """Parse a boolean like pip."""
    return str(value or "").strip().lower() in ("1", "true", "yes", "on", "y", "t")


def uv_has_index(home, environ):
    """Return whether an index is configured for uv, which takes precedence over pip's configuration.

    Call it as the user who runs uv: files that this user cannot read do not count.
    """
    if any(environ.get(name) for name in _UV_ENVIRONMENT):
        return True
    paths = (os.path.join(_config_home(home, environ), "uv/uv.toml"), SYSTEM_UV)
    return any(_UV_INDEX.search(files.read(path) or "") for path in paths if not is_unreadable(path))


def is_unreadable(path):
    """Return whether a file exists that the current user cannot read; uv fails on it."""
    try:
        with open(path, "rb"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def uv_toml(options):
    """Write pip's options as a uv.toml; empty if pip is not configured.

    pip picks the best version from all indexes; uv does so only with index-strategy "unsafe-best-match".
    """
    lines = []
    if truth(options.get("no-index")):
        lines.append("no-index = true")
    places = _usable(options.get("find-links", "").split())
    if places:
        lines.append(f"find-links = {json.dumps(places)}")
    extra = _usable(options.get("extra-index-url", "").split())
    if extra:
        lines.append('index-strategy = "unsafe-best-match"')
    hosts = options.get("trusted-host", "").split()
    if hosts:
        lines.append(f"allow-insecure-host = {json.dumps(hosts)}")
    main = options.get("index-url")
    if main and not truth(options.get("no-index")):
        lines += ["[[index]]", f"url = {json.dumps(main)}", "default = true"]
    for url in extra:
        lines += ["[[index]]", f"url = {json.dumps(url)}"]
    return "".join(line + "\n" for line in lines)


def uv_environment(options, environ):
    """Return the environment variables for what a uv.toml cannot set: certificates and proxy."""
    found = {}
    bundle = options.get("cert") or "/etc/ssl/certs/ca-certificates.crt"
    if not environ.get("SSL_CERT_FILE") and os.path.exists(bundle):
        found["SSL_CERT_FILE"] = bundle
    if options.get("client-cert"):
        found["SSL_CLIENT_CERT"] = options["client-cert"]
    if options.get("proxy"):
        found.update(HTTPS_PROXY=options["proxy"], HTTP_PROXY=options["proxy"])
    return found


def passwords(options):
    """List the passwords in the URLs of pip's options, to mask them in messages."""
    return passwords_in(options.get(key, "") for key in ("index-url", "extra-index-url", "find-links", "proxy"))


def passwords_in(texts):
    """List the passwords in the URLs in some texts, as written and decoded."""
    found = set()
    for url in re.findall(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+", " ".join(texts)):
        with contextlib.suppress(ValueError):
            password = urlsplit(url).password or ""
            found |= {password, unquote(password)} - {""}
    return sorted(found)
