"""Git repositories, cloned once and updated afterwards, with the user's git configuration."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from flambe_ansible.errors import SourceError
from flambe_ansible.sources.content import locked
from flambe_ansible.sources.locations import GitLocation, redact

TIMEOUT = 1800.0  # seconds for one git command; large repositories on slow lines take long


def fetch(location: GitLocation, cache: Path) -> Path:
    """Fetch a folder of a git repository to this machine, at the current commit of its branch or tag.

    Every location has its own clone in the cache, including different refs of one repository. Raises ``SourceError`` if
    git fails, or if the ref or folder does not exist.
    """
    key = hashlib.sha256("\0".join((location.url, location.ref, location.tree)).encode()).hexdigest()[:16]
    home = cache / f"{_stem(location.url)}-{key}"
    with locked(home):
        clone = home / "clone"
        if not (clone / ".git").is_dir():
            _clone(location, home, clone)
        elif len(location.ref) != 40 or _resolve(location, clone, location.ref) != location.ref:
            # Not the id of a commit that the clone already has.
            _git(location, "-C", str(clone), "fetch", "--quiet", "--prune", "--tags", "--force", "origin")
            _git(location, "-C", str(clone), "remote", "set-head", "origin", "--auto", check=False)
        commit, subfolder = _find(location, clone)
        _git(location, "-C", str(clone), "checkout", "--quiet", "--force", "--detach", commit)
        if (clone / ".gitmodules").is_file():
            _git(location, "-C", str(clone), "submodule", "--quiet", "update", "--init", "--recursive", "--force")
        _git(location, "-C", str(clone), "clean", "-ffdxq")
    folder = (clone / subfolder).resolve()
    if not folder.is_dir() or not folder.is_relative_to(clone.resolve()):
        raise SourceError(f"{location.url}: there is no folder {subfolder} at {commit[:10]}", source=location.url)
    _check_links(location, clone.resolve())
    return folder


def _check_links(location: GitLocation, clone: Path) -> None:
    """Refuse a link to a file of this machine: its content would be sent to the hosts."""
    for current, folders, names in os.walk(clone):
        for path in (Path(current) / name for name in (*folders, *names)):
            if path.is_symlink() and path.exists() and not path.resolve().is_relative_to(clone):
                raise SourceError(
                    f"{location.url}: {path.relative_to(clone)} is a link to {path.readlink()}, outside the repository",
                    source=location.url,
                    hint="remove the link from the repository, or use a folder of this machine as the extension",
                )


def _clone(location: GitLocation, home: Path, clone: Path) -> None:
    """Clone into a temporary folder, and move the complete clone to its path."""
    shutil.rmtree(clone, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home, prefix="new-") as new:
        _git(location, "clone", "--quiet", "--no-checkout", "--", location.url, f"{new}/clone")
        Path(f"{new}/clone").rename(clone)


def _find(location: GitLocation, clone: Path) -> tuple[str, str]:
    """Return the commit and the folder in it."""
    if location.tree:
        parts = location.tree.split("/")
        for count in range(1, len(parts) + 1):
            if commit := _resolve(location, clone, "/".join(parts[:count])):
                return commit, "/".join(parts[count:])
        raise SourceError(f"{location.url}: no branch, tag or commit matches {location.tree}", source=location.url)
    if commit := _resolve(location, clone, location.ref or "HEAD"):
        return commit, location.subfolder
    if len(location.ref) == 40:
        # A commit that is on no branch: some servers allow fetching it by its id.
        _git(location, "-C", str(clone), "fetch", "--quiet", "origin", location.ref, check=False)
        if commit := _resolve(location, clone, location.ref):
            return commit, location.subfolder
    what = f"no branch, tag or commit {location.ref}" if location.ref else "the repository is empty"
    raise SourceError(f"{location.url}: {what}", source=location.url)


def _resolve(location: GitLocation, clone: Path, ref: str) -> str:
    """Return the commit of a remote's ref, or ""."""
    names = [f"refs/remotes/origin/{ref}", f"refs/tags/{ref}"]
    if all(char in "0123456789abcdef" for char in ref.lower()):
        names.append(ref)
    for name in names:
        found = _git(location, "-C", str(clone), "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}", check=False)
        if found:
            return found
    return ""


def _git(location: GitLocation, *arguments: str, check: bool = True) -> str:
    """Run git; credentials are passed in its environment, not in its arguments or the clone's configuration."""
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    # A git hook or rebase that starts this process sets these for its own repository.
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"):
        environment.pop(name, None)
    if location.credentials:
        environment |= _authorization(location, environment)
    try:
        done = subprocess.run(
            ["git", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        raise SourceError("git is not installed on this machine", source=location.url, hint="install git") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{location.url}: git took longer than {TIMEOUT:.0f} s", source=location.url) from error
    if done.returncode == 0:
        return done.stdout.strip()
    if not check:
        return ""
    reason = redact(done.stderr).strip().splitlines()
    shown = [line for line in reason if line.startswith(("fatal:", "error:", "ERROR:"))] or reason[-1:] or ["no reason"]
    hint = f"try: git ls-remote {location.url}"
    raise SourceError(f"{location.url}: git failed: {'; '.join(shown)}", source=location.url, hint=hint)


def _authorization(location: GitLocation, environment: dict[str, str]) -> dict[str, str]:
    """Return the environment variables with which git sends the URL's credentials only to its host."""
    user, _, password = location.credentials.partition(":")
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    parts = urlsplit(location.url)
    count = int(environment.get("GIT_CONFIG_COUNT") or 0)
    return {
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": f"http.{parts.scheme}://{parts.netloc}/.extraHeader",
        f"GIT_CONFIG_VALUE_{count}": f"Authorization: Basic {token}",
    }


def _stem(url: str) -> str:
    """Return a readable name for a clone's folder."""
    name = url.rstrip("/").removesuffix(".git").replace(":", "/").rsplit("/", 1)[-1]
    return "".join(char for char in name if char.isalnum() or char in "._-")[:40] or "repository"
