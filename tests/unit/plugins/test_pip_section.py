"""The private package index of a secrets file."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.flambe.cluster.plugins.filter.pip_section import pip_section


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("[PIP]\nHOST = pypi.corp\nHOST_URL = https://me:p%40s@a/simple\n", "https://me:p%40s@a/simple", "pypi.corp"),
        ("[PIP]\nhost_url: https://pypi.corp/simple\n", "https://pypi.corp/simple", ""),
        ("\ufeff[PIP]\nhost: pypi.corp\n", "", "pypi.corp"),
        ("[PIP]\n", "", ""),
        ("[AWS]\nHOST = elsewhere\n", "", ""),
        ("", "", ""),
    ],
)  # fmt: skip
def test_pip_section(text: str, url: str, host: str) -> None:
    assert pip_section(text) == {"url": url, "host": host}


def test_no_ini_file_is_not_repeated() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        pip_section("password without a section")
    assert "password" not in str(caught.value)
