"""What ansible-test would find, and needs a minute for: see scripts/sanity."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
PUBLISHED = sorted([*REPO.glob("plugins/**/*.py"), *REPO.glob("roles/*/files/**/*.py")])
LICENSED = sorted(
    path for kind in ("inventory", "lookup", "modules") for path in (REPO / "plugins" / kind).glob("*.py")
)


def test_unused_values_have_names() -> None:
    found = [
        f"{path.relative_to(REPO)}:{node.lineno}"
        for path in PUBLISHED
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == "_"  # gettext's name in ansible-core
    ]
    assert not found, f"write _what for a value that is not used, instead of _: {found}"


@pytest.mark.parametrize("path", LICENSED, ids=lambda path: path.stem)
def test_the_license_is_an_accepted_finding(path: Path) -> None:
    line = f"{path.relative_to(REPO)} validate-modules:missing-gplv3-license # MIT, which is compatible with the GPL"
    assert line in (REPO / "tests/sanity/ignore-2.19.txt").read_text().splitlines()
