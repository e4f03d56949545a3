"""The requirement for a wheel that is copied to a host."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.flambe.cluster.plugins.filter.wheel_requirement import wheel_requirement
from ansible_collections.flambe.cluster.plugins.module_utils import venv


def test_a_different_content_is_a_different_requirement(tmp_path: Path) -> None:
    wheel = tmp_path / "flambe-0.4.18-py3-none-any.whl"
    wheel.write_bytes(b"1")
    first = wheel_requirement(str(wheel), "/opt/my flambe")
    sha256 = hashlib.sha256(b"1").hexdigest()
    assert first == f"flambe @ file:///opt/my%20flambe/flambe-0.4.18-py3-none-any.whl#sha256={sha256}"
    assert venv.wheels([first]) == {"flambe": ("/opt/my flambe/flambe-0.4.18-py3-none-any.whl", sha256)}
    wheel.write_bytes(b"2")
    assert wheel_requirement(str(wheel), "/opt/my flambe") != first


def test_a_version_that_identifies_the_content(tmp_path: Path) -> None:
    wheel = tmp_path / "flambe-0.4.18+content.36e463ccaddd-py3-none-any.whl"
    expected = "flambe @ file:///opt/flambe/wheels/flambe-0.4.18%2Bcontent.36e463ccaddd-py3-none-any.whl"
    assert wheel_requirement(str(wheel), "/opt/flambe/wheels") == expected


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        ("/nowhere/flambe-0.4.18-py3-none-any.whl", "cannot be read: No such file"),
        ("/nowhere/flambe.whl", "is not the file name of a wheel"),
        ("dist/flambe-0.4.18-py3-none-any.whl", "is not absolute"),
    ],
)
def test_other_paths(wheel: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        wheel_requirement(wheel, "/opt/flambe/wheels")
