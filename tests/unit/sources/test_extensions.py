"""Extensions are prepared for upload."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flambe_ansible.errors import ClusterConfigurationError, SourceError, SourceLocation
from flambe_ansible.events import Event, Notice
from flambe_ansible.sources import Declared, ExtensionKind, fetch_extensions

MakePackage = Callable[[Path], Path]


def declare(name: str, value: str) -> Declared:
    return Declared(name=name, value=value, location=SourceLocation("x.yaml", 1, 6))


def test_each_kind(tmp_path: Path, make_package: MakePackage) -> None:
    make_package(tmp_path / "local")
    repository = make_package(tmp_path / "repo" / "sub").parent
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    declared = [
        declare("local", "local"),
        declare("remote", f"git+{repository.as_uri()}@main#subdirectory=sub"),
        declare("pypi", "numpy>=1.16"),
        declare("secret", "x @ https://me:hunter2@host/x.zip"),
    ]
    local, remote, pypi, secret = fetch_extensions(declared, folder=tmp_path, cache=tmp_path / "cache")
    assert (local.kind, local.path, local.requirement) == (ExtensionKind.LOCAL, tmp_path / "local", "")
    assert remote.kind is ExtensionKind.GIT
    assert remote.path is not None
    assert (remote.path / "ext" / "__init__.py").is_file()
    assert remote.digest == local.digest  # the same content
    assert remote.size == local.size > 0
    assert (pypi.kind, pypi.path, pypi.requirement) == (ExtensionKind.REQUIREMENT, None, "numpy>=1.16")
    assert secret.requirement == "x @ https://me:hunter2@host/x.zip"
    assert "hunter2" not in repr((secret, declared))


def test_the_cache_of_the_user(tmp_path: Path, make_package: MakePackage) -> None:
    repository = make_package(tmp_path / "repo")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    (found,) = fetch_extensions([declare("ext", f"git+{repository.as_uri()}")], folder=tmp_path)
    assert found.path is not None
    assert found.path.is_relative_to(tmp_path / "state" / "cache" / "extensions")


def test_failures_include_the_name_of_the_extension(tmp_path: Path) -> None:
    with pytest.raises(ClusterConfigurationError, match=r"x\.yaml:1:6: extension ext: .*no such file or folder"):
        fetch_extensions([declare("ext", "./none")], folder=tmp_path)
    with pytest.raises(SourceError, match=r"extension ext: .*git failed"):
        fetch_extensions([declare("ext", (tmp_path / "none").as_uri())], folder=tmp_path)


def test_a_repository_that_cannot_be_installed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    with pytest.raises(ClusterConfigurationError, match=r"cannot be installed; expected a pyproject\.toml"):
        fetch_extensions([declare("ext", tmp_path.as_uri())], folder=tmp_path)


def test_large_extensions_are_announced(tmp_path: Path, make_package: MakePackage) -> None:
    package = make_package(tmp_path / "local")
    (package / "ext" / "weights").write_bytes(bytes(11 * 1024 * 1024))
    received: list[Event] = []
    fetch_extensions([declare("ext", "local")], folder=tmp_path, observer=received.append)
    assert received == [Notice(message=f"extension ext: 11 MB to send ({package})")]
