"""Repositories are cloned once and pulled afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flambe_ansible.errors import SourceError
from flambe_ansible.sources import git
from flambe_ansible.sources.locations import GitLocation

from .conftest import Web


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, name: str, text: str) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    run(folder, "add", ".")
    run(folder, "commit", "-qm", name)
    return run(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository: main with two commits, a tag on the first, and a branch with a slash that has sub/folder."""
    folder = tmp_path / "repo"
    folder.mkdir()
    run(folder, "init", "-q")
    commit(folder, "file", "one")
    run(folder, "tag", "v1")
    commit(folder, "file", "two")
    run(folder, "checkout", "-qb", "feature/x")
    commit(folder, "sub/folder/file", "three")
    run(folder, "checkout", "-q", "main")
    return folder


@pytest.mark.parametrize(
    ("where", "content"),
    [
        ({}, "two"),
        ({"ref": "v1"}, "one"),
        ({"ref": "feature/x", "subfolder": "sub/folder"}, "three"),
        ({"tree": "main"}, "two"),
        ({"tree": "v1"}, "one"),
        ({"tree": "feature/x/sub/folder"}, "three"),
    ],
)
def test_refs_and_folders(where: dict[str, str], content: str, repository: Path, tmp_path: Path) -> None:
    location = GitLocation(url=repository.as_uri(), **where)
    assert (git.fetch(location, tmp_path / "cache") / "file").read_text() == content


def test_a_later_fetch_pulls(repository: Path, tmp_path: Path) -> None:
    location, cache = GitLocation(url=repository.as_uri(), ref="main"), tmp_path / "cache"
    folder = git.fetch(location, cache)
    born = (folder / ".git").stat().st_ino
    (folder / "left-behind").write_text("by a build")
    (folder / "file").write_text("changed")
    run(repository, "commit", "-q", "--amend", "-m", "rewritten")
    commit(repository, "file", "new")
    assert git.fetch(location, cache) == folder
    assert (folder / "file").read_text() == "new"
    assert not (folder / "left-behind").exists()
    assert (folder / ".git").stat().st_ino == born


def test_the_default_branch_may_change(repository: Path, tmp_path: Path) -> None:
    location, cache = GitLocation(url=repository.as_uri()), tmp_path / "cache"
    git.fetch(location, cache)
    run(repository, "checkout", "-qb", "next")
    commit(repository, "file", "next")
    assert (git.fetch(location, cache) / "file").read_text() == "next"


def test_a_cached_commit_needs_no_repository(repository: Path, tmp_path: Path) -> None:
    first = run(repository, "rev-parse", "v1")
    location, cache = GitLocation(url=repository.as_uri(), ref=first), tmp_path / "cache"
    git.fetch(location, cache)
    repository.rename(tmp_path / "gone")
    assert (git.fetch(location, cache) / "file").read_text() == "one"


def test_an_interrupted_clone_is_repeated(repository: Path, tmp_path: Path) -> None:
    location, cache = GitLocation(url=repository.as_uri()), tmp_path / "cache"
    folder = git.fetch(location, cache)
    (folder / ".git").rename(tmp_path / "lost")
    assert (git.fetch(location, cache) / "file").read_text() == "two"


def test_submodules(repository: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    run(outer, "init", "-q")
    run(outer, "submodule", "add", "-q", repository.as_uri(), "inner")
    commit(outer, "file", "outer")
    folder = git.fetch(GitLocation(url=outer.as_uri()), tmp_path / "cache")
    assert (folder / "inner" / "file").read_text() == "two"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"ref": "v2"}, "no branch, tag or commit v2"),
        ({"tree": "no/such"}, "no branch, tag or commit matches no/such"),
        ({"subfolder": "none"}, "no folder none"),
        ({"ref": "0" * 40}, "no branch, tag or commit 000"),
    ],
)
def test_missing_refs_and_folders(where: dict[str, str], message: str, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message):
        git.fetch(GitLocation(url=repository.as_uri(), **where), tmp_path / "cache")


def test_a_missing_repository(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="git failed: fatal:") as caught:
        git.fetch(GitLocation(url=(tmp_path / "none").as_uri()), tmp_path / "cache")
    assert caught.value.hint == f"try: git ls-remote {(tmp_path / 'none').as_uri()}"
    assert not list((tmp_path / "cache").glob("*/new-*"))


def test_credentials_are_sent_only_to_the_host(repository: Path, tmp_path: Path, web: Web) -> None:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(repository), str(bare)], check=True)
    run(bare, "update-server-info")
    web.files = {f"/bare.git/{one.relative_to(bare)}": one.read_bytes() for one in bare.rglob("*") if one.is_file()}
    web.login = "me:hunter2"
    url = f"{web.url}/bare.git"
    folder = git.fetch(GitLocation(url=url, credentials="me:hunter2"), tmp_path / "cache")
    assert (folder / "file").read_text() == "two"
    assert not [one for one in folder.rglob("*") if one.is_file() and b"hunter2" in one.read_bytes()]
    with pytest.raises(SourceError) as caught:
        git.fetch(GitLocation(url=url, credentials="me:hunter3"), tmp_path / "other")
    assert "hunter3" not in str(caught.value)


def test_a_link_to_a_file_of_this_machine_is_refused(repository: Path, tmp_path: Path) -> None:
    """rsync would send the file's content to the hosts, where the code of the repository runs."""
    (tmp_path / "id_ed25519").write_text("private")
    (repository / "inside").symlink_to("file")
    (repository / "dangling").symlink_to("/no/such/file")
    commit(repository, "other", "text")
    location = GitLocation(url=repository.as_uri())
    assert (git.fetch(location, tmp_path / "cache") / "inside").read_text() == "two"
    (repository / "data").symlink_to(tmp_path / "id_ed25519")
    commit(repository, "another", "text")
    with pytest.raises(SourceError, match=r"data is a link to .*id_ed25519, outside the repository"):
        git.fetch(location, tmp_path / "cache")
