"""Packages of the distribution, with fake package managers on a PATH."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import packages

TABLE = {"debian": ["docker.io"], "suse": ["docker"], "rhel": [], "fedora": ["moby-engine"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ID=debian\n", ["docker.io"]),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', ["docker.io"]),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', ["docker"]),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', None),
        ("ID=arch\n", None),
        ("", None),
    ],
)
def test_the_package_of_a_distribution_or_of_one_that_it_is_like(
    tmp_path: Path, text: str, expected: list[str] | None
) -> None:
    path = tmp_path / "os-release"
    path.write_text(text)
    if expected is not None:
        assert packages.choose(TABLE, str(path)) == expected
        return
    with pytest.raises(packages.PackageError, match=r"the distribution .+ has no package for it"):
        packages.choose(TABLE, str(path))


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that makes the manager of a host with some programs, which answer in turn."""

    def make(name: str, *answers: tuple[int, str]) -> Any:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / name).touch(mode=0o755)
        calls: list[list[str]] = []
        waiting = list(answers)

        def run(_account: Any, argv: list[str], **_options: Any) -> tuple[int, str]:
            calls.append(argv)
            return waiting.pop(0)

        monkeypatch.setattr(accounts, "run", run)
        made = packages.Manager(5, "limit", str(tmp_path / name))
        made.calls = calls  # type: ignore[attr-defined]
        return made

    return make


def test_lists_of_apt_are_updated_only_if_they_are_outdated(manager: Callable[..., Any]) -> None:
    fresh = manager("apt-get", (0, ""))
    fresh.install(["docker.io"])
    assert [argv[-1] for argv in fresh.calls] == ["docker.io"]
    stale = manager("apt-get", (100, "E: Unable to locate package docker.io"), (0, ""), (0, ""))
    stale.install(["docker.io"])
    assert [argv[-1] for argv in stale.calls] == ["docker.io", "update", "docker.io"]


def test_the_error_of_the_manager_is_named(manager: Callable[..., Any]) -> None:
    output = "Reading\nE: Unable to fetch some archives\nE: maybe run apt-get update\n"
    with pytest.raises(packages.PackageError, match=r"^E: Unable to fetch some archives$"):
        manager("apt-get", (100, output), (0, ""), (100, output)).install(["x"])
    with pytest.raises(packages.PackageError, match="has no package manager"):
        packages.Manager(5, "limit", "/nowhere").install(["x"])
    with pytest.raises(packages.PackageError, match="failed with exit code 1"):
        manager("dnf", (1, "")).install(["x"])


@pytest.mark.parametrize(("name", "code"), [("apt-get", 0), ("dnf", 1), ("zypper", 0)])
def test_whether_a_package_is_offered(manager: Callable[..., Any], name: str, code: int) -> None:
    if name != "apt-get":
        found = manager(name, (code, ""))
        assert found.offers("x") is (code == 0)
        assert found.calls[0][-1] == "x"
    assert packages.Manager(5, "limit", "/nowhere").offers("x") is False


def test_the_free_space_of_a_path_that_does_not_exist(tmp_path: Path) -> None:
    assert packages.read_free_megabytes(f"{tmp_path}/a/b/c") == packages.read_free_megabytes(str(tmp_path)) > 0
