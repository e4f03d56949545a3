"""The user's secrets file is found and checked; its values are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible import secrets
from flambe_ansible.errors import ClusterConfigurationError, MissingSecretsError

PLANTED = "hunter2-planted"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.ini"
    path.write_text(f"[AWS]\nkey = {PLANTED}%(x)s\n\n[PIP]\nHOST = pypi.example.com\n")
    return path


def test_without_a_file_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert secrets.find() is None
    secrets.check(None, None)


def test_the_default_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".flambe").mkdir()
    default = file.rename(tmp_path / ".flambe" / "secrets.ini")
    assert secrets.find() == default


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(MissingSecretsError, match="no such secrets file"):
        secrets.check(tmp_path / "none.ini", None)


@pytest.mark.parametrize("required", [None, [], ["AWS"], ["PIP", "AWS"]])
def test_existing_sections_are_accepted(file: Path, required: list[str] | None) -> None:
    secrets.check(file, required)


def test_a_byte_order_mark_is_ignored(file: Path) -> None:
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert secrets.read_sections(file) == ["AWS", "PIP"]


def test_missing_sections_are_reported(file: Path) -> None:
    with pytest.raises(MissingSecretsError) as caught:
        secrets.check(file, ["AWS", "GITHUB", "HUB"])
    assert caught.value.sections == ("GITHUB", "HUB")
    assert caught.value.exit_code == 3
    assert PLANTED not in str(caught.value)


@pytest.mark.parametrize("text", [f"no section {PLANTED}\n", f"[AWS]\n{PLANTED}\n", f"[A]\na={PLANTED}\n[A]\n"])
def test_an_invalid_file_is_refused_without_its_content(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.ini"
    path.write_text(text)
    with pytest.raises(ClusterConfigurationError) as caught:
        secrets.check(path, ["AWS"])
    assert str(path) in str(caught.value)
    assert PLANTED not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[A]\na = 1\n[A]\n", ":3:1: the section [A] is set twice"),
        ("[A]\na = 1\nb = 2\na = 3\n", ":4:1: a is set twice in the section [A]"),
        ("a = 1\n", ":1:1: not an INI file; expected [SECTION] and KEY = value lines"),
    ],
)
def test_the_place_and_the_reason_are_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "broken.ini"
    path.write_text(text)
    with pytest.raises(ClusterConfigurationError) as caught:
        secrets.read_sections(path)
    assert str(caught.value) == f"{path}{expected}"


def test_a_folder_is_no_secrets_file(tmp_path: Path) -> None:
    with pytest.raises(MissingSecretsError, match="this is a folder; expected a secrets file"):
        secrets.check(tmp_path, None)
