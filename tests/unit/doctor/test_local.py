"""Checks of this machine."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from flambe_ansible.doctor import local
from flambe_ansible.findings import Level
from tests.unit.keys import private_key, write_key


def write_program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_programs_have_their_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(tmp_path, "ssh", "echo OpenSSH_9.2p1, OpenSSL 3 >&2")
    write_program(tmp_path, "rsync", "echo 'rsync  version 3.2.7  protocol version 31'; echo Copyright")
    monkeypatch.setenv("PATH", str(tmp_path))
    ssh, keygen, rsync, ansible = local.examine_tools()
    assert (ssh.fact, rsync.fact) == ("OpenSSH_9.2p1, OpenSSL 3", "rsync version 3.2.7 protocol version 31")
    assert keygen.level is Level.FAILED
    assert keygen.problems[0].expected == "the package openssh-client: sudo apt-get install -y openssh-client"
    assert ansible.fact.startswith(f"ansible-core {metadata.version('ansible-core')}, Python 3.")


def test_a_missing_ansible_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    ansible = local.examine_tools()[-1]
    assert ansible.level is Level.FAILED
    assert "pip install" in ansible.problems[0].expected


def test_a_key_that_ssh_cannot_use_is_a_problem(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key", private_key())
    assert local.examine_key(str(key)).level is Level.OK
    key.chmod(0o644)
    finding = local.examine_key(str(key))
    assert "other users can access" in finding.problems[0].message
    assert "chmod 600" in finding.problems[0].expected
