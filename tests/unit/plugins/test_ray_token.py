"""The token file of a Ray cluster."""

from __future__ import annotations

import getpass
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import files, ray_token


def make(home: Path, *, dry: bool = False) -> Any:
    account = pwd.struct_passwd((*pwd.getpwnam(getpass.getuser())[:5], str(home), "/bin/sh"))
    return ray_token.Token(account, dry)


def test_a_token_is_created_once_and_private(tmp_path: Path) -> None:
    assert make(tmp_path, dry=True).ensure() == "write the token"
    assert not (tmp_path / ".ray").exists()
    first = make(tmp_path)
    assert (first.fingerprint, first.ensure()) == ("", "write the token")
    path = tmp_path / ".ray/auth_token"
    assert len(path.read_text()) == 64
    assert (files.mode_of(path), files.mode_of(path.parent)) == (0o600, 0o700)
    assert make(tmp_path).ensure() == ""
    assert len(first.fingerprint) == 16
    assert first.fingerprint not in path.read_text()


def test_a_rotated_and_a_given_token(tmp_path: Path) -> None:
    token = make(tmp_path)
    token.ensure()
    before = token.text
    assert (token.ensure(rotate=True), token.text != before) == ("replace the token", True)
    assert make(tmp_path).ensure("x" * 32) == "replace the token"
    assert (tmp_path / ".ray/auth_token").read_text() == "x" * 32
    assert make(tmp_path).ensure("x" * 32) == ""


def test_a_token_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    make(tmp_path).ensure("x" * 32)
    (tmp_path / ".ray/auth_token").chmod(0o644)
    assert make(tmp_path).ensure() == "make the token private"
    assert files.mode_of(tmp_path / ".ray/auth_token") == 0o600


@pytest.mark.parametrize("text", ["short", "two\nlines of a longer token", " " * 40])
def test_an_invalid_token_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ray_token.TokenError, match="not one line"):
        make(tmp_path).ensure(text)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").symlink_to("/etc/hostname")
    with pytest.raises(ray_token.TokenError, match="remove it"):
        make(tmp_path)
