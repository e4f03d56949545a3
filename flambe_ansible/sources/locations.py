"""Parse the locations of extensions and resources. Nothing is fetched here."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_GIT_SCHEMES = ("https", "http", "ssh", "git", "file")
_SCP = re.compile(r"(?:ssh://)?(?P<host>[\w.-]+@[\w.-]+):(?P<path>(?!\d+/)(?!//)[^\s]+)")
_HINT = "a folder, a git URL, or a requirement such as my_package==1.2"


class LocationError(ValueError):
    """The text is not a valid location; ``expected`` is what would be right."""

    def __init__(self, message: str, *, expected: str = "") -> None:
        super().__init__(message)
        self.expected = expected


@dataclass(frozen=True, kw_only=True)
class GitLocation:
    """A folder in a git repository."""

    url: str  # without credentials
    ref: str = ""  # a branch, tag or commit; "" for the repository's default branch
    subfolder: str = ""
    tree: str = ""  # ``branch/sub/folder`` of a web page's URL, instead of ref and subfolder
    credentials: str = field(default="", repr=False)


@dataclass(frozen=True)
class Required:
    """A requirement that the hosts install; not in the repr, because it may contain credentials."""

    text: str = field(repr=False)


def locate_extension(value: str, folder: Path) -> Path | GitLocation | Required:
    """Parse the location of an extension; ``LocationError`` if it is none, or a folder that cannot be installed.

    The forms are flambé's (a folder, ``https://github.com/user/repo/tree/branch/folder``, ``ssh://git@host:path``, a
    requirement) and pip's (``git+URL@REF#subdirectory=FOLDER``).
    """
    if _SCP.fullmatch(value):
        return _read_scp(value)
    url = re.fullmatch(r"(?:[\w.-]+(?:\[.*\])?\s*@\s*)?git\+(\S+)", value)
    if url:
        return _read_url(url.group(1), value)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        if value.startswith(("https:", "http:")) and urlsplit(value).path.endswith(_ARCHIVES):
            return Required(value)
        return _read_url(value, value)
    path = resolve(value, folder)
    if _exists(path):
        return _check_installable(path)
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(value)
    except InvalidRequirement as error:
        if "/" in value or value.startswith((".", "~")):
            raise LocationError(f"{value}: no such file or folder", expected=_HINT) from error
        raise LocationError(f"{value!r} is not a path, URL or requirement", expected=_HINT) from error
    return Required(value)


def locate_resource(value: str, folder: Path) -> Path | str:
    """Parse the location of a resource: an existing path, or an ``s3://`` or ``http(s)://`` URL."""
    path = resolve(value, folder)
    if _exists(path):
        return path
    scheme, separator, rest = value.partition("://")
    if not separator:
        raise LocationError(f"{value}: no such file or folder", expected=f"a path relative to {folder}")
    if scheme.lower() not in ("s3", "http", "https"):
        raise LocationError(f"{redact(value)}: cannot fetch {scheme}://", expected="a path, s3://, http:// or https://")
    if not rest.split("/")[0]:
        raise LocationError(
            f"{value}: no {'bucket' if scheme.lower() == 's3' else 'host'}", expected=f"{scheme}://NAME/PATH"
        )
    return value


def resolve(value: str, folder: Path) -> Path:
    """Make a path absolute: ``~`` is the home folder, relative paths start from ``folder``."""
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise LocationError(f"{value}: no such user") from error
    return folder.absolute() / path


def _exists(path: Path) -> bool:
    """Return whether a path exists; one that is too long for a file does not."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def redact(text: str) -> str:
    """Remove the credentials from the URLs in a text; the user of an ssh URL is kept."""
    return re.sub(
        r"(?P<scheme>(?:\w+\+)?https?://)[^/\s@]+@",
        r"\g<scheme>***@",
        re.sub(r"(://[^/\s:@]+):[^/\s@]+@", r"\1:***@", text),
    )


def _read_scp(value: str) -> GitLocation:
    """Read ``git@host:path``, also with the prefix ``ssh://`` as in flambé; ``@ref`` may follow ``.git``."""
    body, fragment = value.removeprefix("ssh://").partition("#")[::2]
    host, path = body.split(":", 1)
    path, ref = _split_ref(path)
    return GitLocation(url=f"{host}:{path}", ref=ref, subfolder=_subfolder(fragment, value))


def _read_url(url: str, value: str) -> GitLocation:
    """Read a URL of a git repository."""
    if _SCP.fullmatch(url):
        return _read_scp(url)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise LocationError(f"{redact(value)}: not a valid URL ({error})", expected=_HINT) from error
    if parts.scheme not in _GIT_SCHEMES or (not parts.hostname and parts.scheme != "file"):
        raise LocationError(
            f"{redact(value)}: not the URL of a git repository", expected="https://, ssh:// or git+ URL@REF"
        )
    path, ref = _split_ref(parts.path)
    tree = ""
    if parts.scheme in ("http", "https") and (web := re.fullmatch(r"(/.+?)(?:/-)?/tree/(.+?)/?", path)):
        path, tree = web.groups()
    user, _, netloc = parts.netloc.rpartition("@")
    credentials = user if parts.scheme in ("http", "https") else ""
    if user and not credentials:  # ssh does not accept a password in a URL
        netloc = f"{user.split(':')[0]}@{netloc}"
    return GitLocation(
        url=urlunsplit((parts.scheme, netloc, path, "", "")),
        ref=ref,
        subfolder=_subfolder(parts.fragment, value),
        tree=unquote(tree),
        credentials=unquote(credentials),
    )


def _split_ref(path: str) -> tuple[str, str]:
    """Split ``path@ref``."""
    if match := re.fullmatch(r"(.*[^@/])@([^@]+)", path):
        if match.group(2).startswith("-"):
            raise LocationError(f"{match.group(2)!r} is not a branch, tag or commit")
        return match.group(1), match.group(2)
    return path, ""


def _subfolder(fragment: str, value: str) -> str:
    """Read the folder from a URL's fragment."""
    folder = parse_qs(fragment).get("subdirectory", [""])[0].strip("/")
    if ".." in Path(folder).parts:
        raise LocationError(f"{redact(value)}: the folder is outside the repository")
    return folder


def _check_installable(path: Path) -> Path:
    """Check that pip can install a path."""
    if path.is_dir():
        if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
            raise LocationError(f"{path}: cannot be installed", expected="a pyproject.toml or setup.py in it")
        return path
    if not path.name.endswith(_ARCHIVES):
        raise LocationError(f"{path}: cannot be installed", expected="a folder, or a wheel or source archive")
    return path
