"""``flambe-ans ssh-config``: what it prints, installs and removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.cli.commands import ssh_config
from flambe_ansible.ssh import host_entries
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import FakeCluster

ENTRIES = "Host demo_orchestrator\n    HostName 10.0.0.10\n"


@pytest.fixture
def config(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the cluster entries and a state folder; return the user's configuration, which does not exist yet."""
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(tmp_path / "state"))
    folder = tmp_path / "state" / "clusters" / "demo-1"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cluster, "ssh_config", lambda: ENTRIES, raising=False)
    monkeypatch.setattr(cluster, "state_dir", folder, raising=False)
    monkeypatch.setattr(cluster, "get_orchestrator_name", lambda: "demo_orchestrator", raising=False)
    path = tmp_path / ".ssh" / "config"
    monkeypatch.setattr(ssh_config, "find_config", lambda: path)
    return path


def test_without_an_action_the_entries_are_printed_and_nothing_changes(run: Run, config: Path) -> None:
    done = run("ssh-config", "c.yaml")
    assert (done.code, done.stdout, done.stderr) == (0, ENTRIES, "")
    assert not config.exists()


def test_without_a_terminal_the_question_needs_yes(run: Run, config: Path) -> None:
    done = run("ssh-config", "c.yaml", "--install")
    assert done.code == 2
    assert "There is no terminal for the answer; nothing was changed" in done.stderr
    assert host_entries.include_line() in done.stdout
    assert not config.exists()
    assert not host_entries.are_installed()


def test_install_twice_and_remove(run: Run, config: Path) -> None:
    assert run("ssh-config", "c.yaml", "--install", "--yes").code == 0
    again = run("ssh-config", "c.yaml", "--install")  # no question: the line is there
    assert (again.code, again.stdout.splitlines()[-1]) == (0, "next: ssh demo_orchestrator")
    assert config.read_text() == f"{host_entries.include_line()}\n"
    removed = run("ssh-config", "c.yaml", "--remove")
    assert (removed.code, config.read_text()) == (0, "")
    assert removed.stdout.splitlines()[0] == "demo: removed its entries."
    assert run("ssh-config", "c.yaml", "--remove").stdout == "demo: it had no entries.\n"


def test_the_configuration_is_where_ssh_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ssh_config.find_config()
    monkeypatch.setenv("HOME", "/elsewhere")
    assert ssh_config.find_config() == before
    assert before.parts[-2:] == (".ssh", "config")
