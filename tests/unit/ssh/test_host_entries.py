"""Entries for plain ssh, read by ssh itself."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flambe_ansible.paths import cluster_state
from flambe_ansible.ssh import host_entries
from flambe_ansible.ssh.options import Target

TARGET = Target(
    alias="i-1",
    address="10.0.0.1",
    port=2222,
    username="ubuntu",
    key=Path("/my keys/50%"),
    known_hosts=Path("/state of me/known_hosts"),
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's configuration, beside a state folder whose path has special characters."""
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(tmp_path / "st [ate] 'x'"))
    return tmp_path / "home" / ".ssh" / "config"


def read(config: Path, host: str) -> dict[str, str]:
    """Return the settings that ssh uses for a host."""
    done = subprocess.run(["ssh", "-G", "-F", config, host], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_ssh_reads_the_entry(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(host_entries.write_entry("demo_factory_0", TARGET))
    found = read(path, "demo_factory_0")
    expected = {
        "hostname": "10.0.0.1",
        "port": "2222",
        "user": "ubuntu",
        "identityfile": "/my keys/50%%",
        "userknownhostsfile": "/state of me/known_hosts",
        "hostkeyalias": "i-1",
        "stricthostkeychecking": "true",
        "identitiesonly": "yes",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "proxycommand" not in found
    assert read(path, "other")["port"] == "22"


def test_the_route_is_that_of_the_cluster(tmp_path: Path) -> None:
    path, jump = tmp_path / "hosts", "ssh -i /k -W '[%h]:%p' -- bastion"
    path.write_text(host_entries.write_entry("a", replace(TARGET, proxy_command=jump)))
    assert read(path, "a")["proxycommand"] == jump
    # A direct host stays direct, whatever follows in the user's file.
    path.write_text(host_entries.write_entry("a", TARGET) + "Host *\n  ProxyJump bastion\n  User root\n")
    found = read(path, "a")
    assert (found.get("proxyjump"), found["user"]) == (None, "ubuntu")


def test_one_line_at_the_top_includes_the_entries_of_all_clusters(config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("Host *\n  User root\n")
    config.chmod(0o640)
    first, second = cluster_state("a", "x"), cluster_state("b")
    for folder, name in ((first, "a_orchestrator"), (second, "b_orchestrator")):
        path = host_entries.install(folder, host_entries.write_entry(name, TARGET))
        assert path.stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        host_entries.include(config)
    lines = config.read_text().splitlines()
    assert lines == [host_entries.include_line(), "Host *", "  User root"]
    assert config.stat().st_mode & 0o777 == 0o640
    assert {read(config, name)["user"] for name in ("a_orchestrator", "b_orchestrator")} == {"ubuntu"}
    assert read(config, "other")["user"] == "root"

    assert host_entries.remove(first)
    assert host_entries.are_installed()
    assert read(config, "a_orchestrator")["user"] == "root"
    assert host_entries.remove(second)
    assert not host_entries.remove(second)
    assert not host_entries.are_installed()
    assert host_entries.exclude(config)
    assert not host_entries.exclude(config)
    assert config.read_text() == "Host *\n  User root\n"


def test_a_missing_configuration_is_created_for_the_user_alone(config: Path) -> None:
    host_entries.include(config)
    assert config.read_text() == f"{host_entries.include_line()}\n"
    assert [path.stat().st_mode & 0o777 for path in (config, config.parent)] == [0o600, 0o700]


def test_a_configuration_that_is_a_link_stays_one(config: Path, tmp_path: Path) -> None:
    config.parent.mkdir(parents=True)
    (tmp_path / "dotfiles").write_bytes(b"# \xff\nUser me\n")
    config.symlink_to(tmp_path / "dotfiles")
    host_entries.include(config)
    assert config.is_symlink()
    assert (tmp_path / "dotfiles").read_bytes() == f"{host_entries.include_line()}\n".encode() + b"# \xff\nUser me\n"
