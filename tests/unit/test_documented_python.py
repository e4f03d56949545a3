"""The Python code in the documentation: its imports exist, and its calls have the arguments that they need."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OUTSIDE = {"ray", "survey"}  # not installed with this package: Ray, and the example of a custom runnable


def find_blocks() -> Iterator[tuple[str, str]]:
    """Yield the blocks of Python code, with their places."""
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
            yield f"{page.name}:{text[: found.start()].count(chr(10)) + 1}", found[1]
        for found in re.finditer(r"\n\n((?:    from flambe_ansible.*\n)(?:(?:    .*)?\n)*)", text):
            yield f"{page.name}:{text[: found.start()].count(chr(10)) + 3}", textwrap.dedent(found[1])


BLOCKS = list(find_blocks())


def load_imports(tree: ast.Module) -> dict[str, Any]:
    """Import what a block imports; return it by its name in the block."""
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] not in OUTSIDE:
            module = importlib.import_module(node.module)
            for one in node.names:
                found = getattr(module, one.name, None)
                names[one.asname or one.name] = found or importlib.import_module(f"{node.module}.{one.name}")
    return names


def find_wrong_calls(tree: ast.Module, names: dict[str, Any]) -> Iterator[str]:
    """Yield the calls of imported functions and classes that their signatures do not accept."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in names:
            continue
        if any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords):
            continue
        try:
            inspect.signature(names[node.func.id]).bind(*node.args, **{one.arg or "": 0 for one in node.keywords})
        except TypeError as error:
            yield f"{ast.unparse(node)}: {error}"


def test_the_blocks_are_found() -> None:
    assert {"experiments.md", "jobs.md", "api.md", "inventory.md"} <= {place.partition(":")[0] for place, _ in BLOCKS}


@pytest.mark.parametrize(("place", "text"), BLOCKS, ids=[place for place, _ in BLOCKS])
def test_imports_and_calls_of_a_block(place: str, text: str) -> None:
    tree = ast.parse(text, place)
    assert list(find_wrong_calls(tree, load_imports(tree))) == []
