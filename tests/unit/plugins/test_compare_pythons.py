"""Why the hosts' own Python cannot be used."""

from __future__ import annotations

import pytest
from ansible_collections.flambe.cluster.plugins.filter.compare_pythons import compare_pythons

ACCEPTED = ["3.10", "3.11"]


@pytest.mark.parametrize(
    ("found", "wanted", "reason"),
    [
        ({"a": "3.11.2", "b": "3.11.2"}, "", ""),
        ({"a": "3.12.4", "b": "3.12.4"}, "3.12", ""),
        ({"a": "3.11.2", "b": "3.11.7", "c": "3.11.2"}, "", "python3 is 3.11.2 on a, c, 3.11.7 on b"),
        ({"a": "3.12.4", "b": ""}, "3.12", "Python 3.12 is missing on b, 3.12.4 on a"),
        ({"a": "", "b": ""}, "3.12", "the hosts have no Python 3.12"),
        ({"a": "", "b": ""}, "", "the hosts have no python3"),
        ({"a": "3.9.2"}, "", "python3 is 3.9.2, accepted are 3.10 to 3.11"),
        ({**dict.fromkeys("abcd", "3.11.2"), "e": "3.11.7"}, "", "python3 is 3.11.2 on 4 hosts, 3.11.7 on e"),
    ],
)
def test_the_reason_names_versions_and_hosts(found: dict[str, str], wanted: str, reason: str) -> None:
    assert compare_pythons(found, wanted, ACCEPTED) == reason
