"""authorized_keys, known_hosts and ssh_config of a cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, files
from ansible_collections.flambe.cluster.plugins.modules import cluster_key_info, cluster_keys

KEYS = (cluster_ssh.PUBLIC_KEY, cluster_ssh.PRIVATE_KEY)
KEY = "ssh-ed25519 AAAAnew flambe-cluster"
A = {"name": "a", "names": ["a", "10.0.0.1", "host-a"], "host_keys": ["ssh-ed25519 AAAAa", "ssh-rsa AAAAr"]}
B = {"name": "b", "names": ["b", "10.0.0.2"], "host_keys": ["ssh-ed25519 AAAAb"]}


def test_a_pair_is_ed25519_and_its_public_key_is_derived_from_it() -> None:
    private, public = cluster_ssh.make_pair()
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" flambe-cluster")
    assert cluster_ssh.derive_public(private) == public
    assert cluster_ssh.derive_public(private[:100]) == ""
    assert cluster_ssh.derive_public("") == ""


def test_authorise_once_and_keep_the_users_lines() -> None:
    mine = "# my keys\nssh-rsa AAAAmine me@home\n"
    once = cluster_ssh.authorise(mine, KEY)
    assert once == f"{mine}{KEY}\n"
    assert cluster_ssh.authorise(once, KEY) == once
    assert cluster_ssh.authorise(once + KEY + "\n", KEY) == once
    after = f"{KEY}\n{mine}"
    assert cluster_ssh.authorise(after, KEY) == after


def test_changes_in_one_sentence() -> None:
    home = "/home/ml/"
    everything = [home + cluster_ssh.PUBLIC_KEY, *(f"{home}.ssh/{name}" for name in ("authorized_keys", "config"))]
    assert cluster_keys.summarize(everything, key_written=False) == "write the public key, authorized_keys and config"
    private = [home + cluster_ssh.PRIVATE_KEY]
    assert cluster_keys.summarize(private, key_written=False) == "make the private key private"
    assert cluster_keys.summarize([*everything, *private], key_written=True).endswith("config and the private key")
    assert cluster_keys.summarize([], key_written=False) == "nothing to do"


@pytest.fixture
def account(tmp_path: Path) -> Any:
    return SimpleNamespace(pw_dir=str(tmp_path), pw_uid=os.getuid(), pw_gid=os.getgid(), pw_name="ml")


def converge(account: Any, **params: Any) -> tuple[list[str], list[dict[str, str]]]:
    values = {"public_key": KEY, "private_key": "", "hosts": [A], "members": ["a"], "source": "", **params}
    times = dict.fromkeys(("connect_timeout", "alive_interval", "alive_count"), 10)
    module = SimpleNamespace(params={**values, **times}, check_mode=False)
    changed, diffs = cluster_keys.converge(module, account)
    return [os.path.relpath(path, account.pw_dir) for path in changed], diffs


def test_bytes_that_are_no_utf_8_stay_in_the_users_lines_and_are_not_in_the_result(
    account: Any, tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh/known_hosts").write_bytes(b"\xff\xfe mine\n")
    changed, diffs = converge(account)
    assert ".ssh/known_hosts" in changed
    assert json.dumps(diffs, ensure_ascii=False).encode()
    assert (tmp_path / ".ssh/known_hosts").read_bytes().startswith(b"\xff\xfe mine\n")
    assert converge(account) == ([], [])


def test_files_that_another_user_has_written_are_given_back(
    account: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converge(account, private_key="private")
    given: list[int] = []
    monkeypatch.setattr(os, "fchown", lambda _handle, uid, _gid: given.append(uid))
    account.pw_uid += 1
    names = [".ssh/authorized_keys", ".ssh/known_hosts", ".ssh/config", *KEYS]
    assert cluster_keys.give_back(account, dry=True) == []
    assert cluster_keys.give_back(account, dry=False) == [str(tmp_path / name) for name in names]
    assert given == [account.pw_uid] * len(names)


def test_a_key_that_the_user_must_not_read_is_no_key(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> str:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(files, "read", refuse)
    assert cluster_key_info.read_pair(account) == ("", "")
    assert cluster_key_info.read_known(account) == []


def test_authorise_replaces_an_older_key_of_the_cluster() -> None:
    assert cluster_ssh.authorise("ssh-ed25519 AAAAold flambe-cluster\n", KEY) == KEY + "\n"
    assert cluster_ssh.authorise(None, KEY) == KEY + "\n"


def test_known_hosts() -> None:
    assert cluster_ssh.known_lines([A, B], ["a", "b"], []) == [
        "a,10.0.0.1,host-a ssh-ed25519 AAAAa a",
        "a,10.0.0.1,host-a ssh-rsa AAAAr a",
        "b,10.0.0.2 ssh-ed25519 AAAAb b",
    ]


def test_hosts_outside_of_a_limited_play_keep_their_lines_and_others_are_removed() -> None:
    before = cluster_ssh.known_lines([A, B, {**B, "name": "gone"}], ["a", "b", "gone"], [])
    rebuilt = {**A, "host_keys": ["ssh-ed25519 AAAArebuilt"]}
    assert cluster_ssh.known_lines([rebuilt], ["a", "b"], before) == [
        "a,10.0.0.1,host-a ssh-ed25519 AAAArebuilt a",
        "b,10.0.0.2 ssh-ed25519 AAAAb b",
    ]


def test_names_that_are_invalid_in_known_hosts_are_omitted() -> None:
    assert cluster_ssh.usable_names(["a", "a", "two words", "x,y", "localhost", "10.0.0.1", "*"]) == ["a", "10.0.0.1"]


def test_config() -> None:
    known = cluster_ssh.known_lines([A, {**B, "name": "10.0.0.2", "names": ["10.0.0.2"]}], ["a", "10.0.0.2"], [])
    assert cluster_ssh.config_lines(known, "ml", [("ConnectTimeout", 10)]) == [
        "Host a host-a",
        "  HostName 10.0.0.1",
        "Host 10.0.0.1 10.0.0.2 a host-a",
        "  User ml",
        "  ConnectTimeout 10",
        "Match all",
    ]
    assert cluster_ssh.config_lines([], "ml", []) == []


def test_another_port_of_sshd() -> None:
    known = cluster_ssh.known_lines([{**A, "port": 22}, {**B, "port": 2222}], ["a", "b"], [])
    assert known[-1] == "[b]:2222,[10.0.0.2]:2222 ssh-ed25519 AAAAb b"
    assert cluster_ssh.config_lines(known, "ml", []) == [
        "Host a host-a",
        "  HostName 10.0.0.1",
        "Host b",
        "  HostName 10.0.0.2",
        "Host b 10.0.0.2",
        "  Port 2222",
        "Host 10.0.0.1 10.0.0.2 a b host-a",
        "  User ml",
        "Match all",
    ]
    assert cluster_ssh.known_lines([A], ["a", "b"], known)[-1] == known[-1]


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (["198.18.0.4", "b", "10.0.0.4"], ["Host b 10.0.0.4", "  HostName 198.18.0.4"]),
        (["inner.example", "b", "10.0.0.4"], ["Host b 10.0.0.4", "  HostName inner.example"]),
        (["b", "10.0.0.4"], ["Host b", "  HostName 10.0.0.4"]),
        (["b"], []),
    ],
)
def test_every_name_resolves_to_the_address_in_the_cluster(names: list[str], lines: list[str]) -> None:
    known = cluster_ssh.known_lines([{**B, "names": names}], ["b"], [])
    assert cluster_ssh.config_lines(known, "ml", [])[:-3] == lines


def test_an_inventory_name_that_is_an_address() -> None:
    known = cluster_ssh.known_lines(
        [{**B, "name": "198.18.0.4", "names": ["198.18.0.4", "10.0.0.4"]}], ["198.18.0.4"], []
    )
    assert cluster_ssh.config_lines(known, "ml", [])[:2] == ["Host 10.0.0.4", "  HostName 198.18.0.4"]
