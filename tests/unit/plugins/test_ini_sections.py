"""Sections of an INI text."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.flambe.cluster.plugins.filter.ini_sections import ini_sections, missing_ini_sections

TEXT = "# mine\n[AWS]\nkey = {{ x }}%(y)s\n\n[GIT]\ntoken: s3cret\n# end\n[DEFAULT]\nall = 1\n"


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ([], TEXT),
        (["GIT"], "[GIT]\ntoken: s3cret\n# end\n"),
        (["GIT", "AWS"], "[AWS]\nkey = {{ x }}%(y)s\n\n[GIT]\ntoken: s3cret\n# end\n"),
    ],
)
def test_choose(sections: list[str], expected: str) -> None:
    assert ini_sections(TEXT, sections) == expected


def test_a_byte_order_mark_is_removed() -> None:
    text = "\ufeff[GIT]\ntoken: s3cret\n"
    assert missing_ini_sections(text, ["GIT"]) == []
    assert ini_sections(text, []) == ini_sections(text, ["GIT"]) == "[GIT]\ntoken: s3cret\n"


def test_missing_sections_are_reported_without_values() -> None:
    assert missing_ini_sections(TEXT, ["GIT", "git", "X"]) == ["git", "X"]
    with pytest.raises(AnsibleFilterError) as caught:
        ini_sections(TEXT, ["X"])
    assert "[X]" in str(caught.value)
    assert "s3cret" not in str(caught.value)
