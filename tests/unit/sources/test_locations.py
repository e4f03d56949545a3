"""Locations of extensions and resources are parsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.sources.locations import (
    GitLocation,
    LocationError,
    Required,
    locate_extension,
    locate_resource,
    redact,
)

G = GitLocation
H = "https://github.com/user/repo"

GIT = {
    # formats of flambé
    H: G(url=H),
    f"{H}/tree/main": G(url=H, tree="main"),
    f"{H}/tree/feature/x/path/to/ext/": G(url=H, tree="feature/x/path/to/ext"),
    "ssh://git@github.com:user/repo.git": G(url="git@github.com:user/repo.git"),
    "ssh://git@github.com/user/repo.git": G(url="ssh://git@github.com/user/repo.git"),
    # other common formats
    "git@host:user/repo.git": G(url="git@host:user/repo.git"),
    "git@host:user/repo.git@v1": G(url="git@host:user/repo.git", ref="v1"),
    "ssh://git@host:2222/user/repo.git@v1.2": G(url="ssh://git@host:2222/user/repo.git", ref="v1.2"),
    "https://gitlab.com/group/sub/repo/-/tree/dev/ext": G(url="https://gitlab.com/group/sub/repo", tree="dev/ext"),
    f"{H}.git@0123abc#subdirectory=a/b": G(url=f"{H}.git", ref="0123abc", subfolder="a/b"),
    # formats of pip
    f"git+{H}.git": G(url=f"{H}.git"),
    f"git+{H}.git@feature/x#egg=e&subdirectory=ext": G(url=f"{H}.git", ref="feature/x", subfolder="ext"),
    f"my_ext @ git+{H}@v1": G(url=H, ref="v1"),
    "git+ssh://git@host/user/repo.git@main": G(url="ssh://git@host/user/repo.git", ref="main"),
    "git+ssh://git@host:user/repo.git": G(url="git@host:user/repo.git"),
    "git+file:///srv/repo#subdirectory=x": G(url="file:///srv/repo", subfolder="x"),
    "git+https://me:p%40ss@host/r.git": G(url="https://host/r.git", credentials="me:p@ss"),
    "ssh://git:secret@host/r": G(url="ssh://git@host/r"),
    "https://token@host:8443/r": G(url="https://host:8443/r", credentials="token"),
}


@pytest.mark.parametrize("text", GIT)
def test_git(text: str, tmp_path: Path) -> None:
    assert locate_extension(text, tmp_path) == GIT[text]


@pytest.mark.parametrize(
    "text",
    [
        "numpy",
        "numpy>=1.16,<2",
        "a[b]==1 ; python_version < '3.8'",
        "https://host/x-1.0-py3-none-any.whl",
        "x @ https://h/x.zip",
    ],
)
def test_requirements(text: str, tmp_path: Path) -> None:
    assert locate_extension(text, tmp_path) == Required(text)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "home/two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "setup.py").touch()
    (tmp_path / "x-1.0.tar.gz").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert locate_extension("one", tmp_path) == tmp_path / "one"
    assert locate_extension("../one", tmp_path / "home") == tmp_path / "home/../one"
    assert locate_extension("~/two", tmp_path) == tmp_path / "home/two"
    assert locate_extension("x-1.0.tar.gz", tmp_path) == tmp_path / "x-1.0.tar.gz"
    assert locate_extension(str(tmp_path / "one"), Path("/")) == tmp_path / "one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("./none", "no such file or folder"),
        ("none/at/all", "no such file or folder"),
        ("two words", "not a path, URL or requirement"),
        ("~no-such-user/x", "no such user"),
        ("ftp://host/x", "not the URL of a git repository"),
        ("hg+https://host/x", "not the URL of a git repository"),
        ("git+https:///x", "not the URL of a git repository"),
        ("git+https://host:x/r", "not a valid URL"),
        ("git+https://host/r@--upload-pack=x", "not a branch, tag or commit"),
        ("git+https://host/r#subdirectory=../x", "outside the repository"),
    ],
)
def test_invalid_extensions(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LocationError, match=message):
        locate_extension(text, tmp_path)


def test_resources(tmp_path: Path) -> None:
    (tmp_path / "a:b.tsv").touch()
    assert locate_resource("a:b.tsv", tmp_path) == tmp_path / "a:b.tsv"
    assert locate_resource(".", tmp_path) == tmp_path
    assert locate_resource("s3://bucket/key", tmp_path) == "s3://bucket/key"
    for text, message in {"none": "no such", "gs://b/x": "cannot fetch gs://", "s3:///x": "no bucket"}.items():
        with pytest.raises(LocationError, match=message):
            locate_resource(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/x", "https://***@host/x"),
        ("git+https://token@host/x", "git+https://***@host/x"),
        ("ssh://git:secret@host/x", "ssh://git:***@host/x"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("see https://a:b@h and http://c:d@i/", "see https://***@h and http://***@i/"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert "secret" not in repr(GIT.get(text)) and "secret" not in repr(Required(text))
