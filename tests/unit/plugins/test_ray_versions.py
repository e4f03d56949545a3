"""What differs between the versions of Ray."""

from __future__ import annotations

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ray_token, ray_versions

from flambe_ansible.runtimes import flambe, ray


def test_the_runtimes_have_the_same_constants() -> None:
    assert (ray_versions.OLD_PORT, ray_versions.PORT) == (flambe.RAY_PORT, ray.RAY_PORT)
    assert ray_token.PATH == ray.TOKEN_FILE


@pytest.mark.parametrize(
    ("version", "parsed", "old", "tokens", "port"),
    [
        ("0.7.6", (0, 7), True, False, 12345),
        ("1.13.0", (1, 13), False, False, 6379),
        ("2.51.2", (2, 51), False, False, 6379),
        ("2.52.0", (2, 52), False, True, 6379),
        ("3.0.0.dev0", (3, 0), False, True, 6379),
    ],
)
def test_versions(version: str, parsed: tuple[int, int], old: bool, tokens: bool, port: int) -> None:
    assert ray_versions.parse(version) == parsed
    assert (ray_versions.is_old(version), ray_versions.has_tokens(version)) == (old, tokens)
    assert ray_versions.choose_port(version, 0) == port
    assert ray_versions.choose_port(version, 7000) == 7000


def test_options_by_version() -> None:
    assert not ray_versions.has_option("2.8.0", "--runtime-env-agent-port")
    assert ray_versions.has_option("2.9.0", "--runtime-env-agent-port")
    assert ray_versions.has_option("0.7.6", "--redis-port")
