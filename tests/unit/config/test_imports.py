"""config, validation and runnable do not import clusters, and have no import cycles."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "flambe_ansible"
ALLOWED = {
    "config": {"config", "errors", "sources", "validation"},
    "validation": {"errors", "ssh", "validation"},
    "runnable": {"config", "errors", "events", "runnable", "sources", "validation"},
}


def imports_of(path: Path) -> set[str]:
    """List the package's modules that a module imports, including imports in functions and for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found |= {str(node.module)} | {f"{node.module}.{one.name}" for one in node.names}
    return {name.removeprefix("flambe_ansible.") for name in found if name.startswith("flambe_ansible.")}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_package_imports_only_what_is_below_it(name: str) -> None:
    used = {one.partition(".")[0] for path in (PACKAGE / name).glob("*.py") for one in imports_of(path)}
    assert used <= ALLOWED[name]


@pytest.mark.parametrize("name", ALLOWED)
def test_a_package_has_no_import_cycle(name: str) -> None:
    modules = {f"{name}.{path.stem}": path for path in (PACKAGE / name).glob("*.py") if path.stem != "__init__"}
    graph = {module: imports_of(path) & modules.keys() for module, path in modules.items()}
    while free := [module for module, used in graph.items() if not used & graph.keys()]:
        for module in free:
            del graph[module]
    assert not graph, f"cycle: {sorted(graph)}"
