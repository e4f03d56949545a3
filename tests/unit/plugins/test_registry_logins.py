"""The filter registry_logins."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.flambe.cluster.plugins.filter.registry_logins import registry_logins

from flambe_ansible import secrets
from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.launch.launch import LaunchOptions

TEXT = """\ufeff[GIT]
token = t
[DOCKER]
USERNAME = me
PASSWORD = a%b {{ c }}
[DOCKER ghcr.io]
registry = https://ghcr.io/
username = you
password = p = q
[DOCKERS]
x = y
"""


def test_the_sections_of_docker_are_read() -> None:
    hub = {"registry": "", "username": "me", "password": "a%b {{ c }}"}
    other = {"registry": "ghcr.io", "username": "you", "password": "p = q"}
    assert registry_logins(TEXT) == [hub, other]
    assert registry_logins(TEXT, ["DOCKER", "GIT"]) == [hub]
    assert registry_logins("[GIT]\na = b\n") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[DOCKER]\npassword = s3cret\n", r"section \[DOCKER\] of the secrets has no username"),
        ("[DOCKER x]\nregistry = s3cret\n", "has no username and no password"),
        ("s3cret\n", "not an INI file"),
        ("[DOCKER]\ns3cret\n", "not an INI file"),
    ],
)
def test_errors_name_sections_and_never_values(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message) as caught:
        registry_logins(text)
    assert "s3cret" not in str(caught.value)
    path = tmp_path / "secrets.ini"
    path.write_text(text)
    options = LaunchOptions(secrets_file=path)
    # A launch refuses them before anything is created.
    with pytest.raises(ClusterConfigurationError, match=message.replace(" of the secrets", "")) as refused:
        options.check(logins=True)
    assert "s3cret" not in str(refused.value)


def test_a_launch_accepts_the_same_logins(tmp_path: Path) -> None:
    path = tmp_path / "secrets.ini"
    path.write_text(TEXT)
    LaunchOptions(secrets_file=path).check(logins=True)
    path.write_text(f"{TEXT}[DOCKER x]\n")
    LaunchOptions(secrets_file=path).check()
    LaunchOptions(secrets_file=path, secrets_sections=["DOCKER"]).check(logins=True)
    assert {*secrets.LOGIN_KEYS, "registry"} == set(registry_logins(TEXT)[0])
