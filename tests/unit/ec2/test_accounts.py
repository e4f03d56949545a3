"""The account of an access key is read once."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from flambe_ansible.ec2 import accounts, api, session
from flambe_ansible.paths import state_root


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The answers of STS."""
    found: list[str] = []
    ask = api.get_identity

    def count(sts: Any) -> dict[str, Any]:
        answer = ask(sts)
        found.append(answer["Account"])
        return answer

    monkeypatch.setattr(api, "get_identity", count)
    return found


def test_sts_is_asked_once_for_each_key_and_address(
    make_cluster: Any, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {make_cluster().clients.account for _ in range(3)} == {"123456789012"}
    assert len(asked) == 1
    monkeypatch.setattr(session, "find_access_key", lambda _session: "AKIAOTHER")
    assert make_cluster().clients.account
    assert len(asked) == 2
    assert accounts.find("AKIAOTHER", None) == "123456789012"
    assert accounts.find("AKIAOTHER", "http://127.0.0.1:5000") == ""


def test_the_file_has_no_key_and_is_private() -> None:
    accounts.keep("AKIASECRET", None, "111122223333")
    path = state_root() / "accounts.json"
    assert "AKIASECRET" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 9, "accounts": {}}', '{"version": 1, "accounts": 3}'])
def test_a_damaged_file_is_replaced(make_cluster: Any, asked: list[str], content: str) -> None:
    path = state_root() / "accounts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    assert make_cluster().clients.account == make_cluster().clients.account == "123456789012"
    assert len(asked) == 1


def test_the_oldest_accounts_are_removed() -> None:
    for number in range(50):
        accounts.keep(f"key{number}", None, f"{number:012}")
    assert [accounts.find(f"key{number}", None) for number in (29, 30, 49)] == ["", f"{30:012}", f"{49:012}"]
    assert len(json.loads((state_root() / "accounts.json").read_text())["accounts"]) == 20


def test_without_a_readable_state_folder_sts_is_asked(
    make_cluster: Any, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAMBE_ANS_STATE", "/proc/none")
    cluster = make_cluster()
    assert cluster.clients.account == "123456789012"
    assert len(asked) == 1


def test_the_key_is_that_of_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAMINE")
    assert session.find_access_key(session.make_session()) == "AKIAMINE"
    assert session.find_access_key(boto3.Session()) == "AKIAMINE"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert session.find_access_key(session.make_session()) == ""
