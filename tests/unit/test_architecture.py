"""The imports between the files of the package: no cycles, and no import from a lower part to a higher one."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import flambe_ansible

# The parts of the package, lowest first. A part imports only parts of the same level or below.
LEVELS: list[set[str]] = [
    {"control_codes", "errors", "events", "files", "lazy", "paths", "version"},
    {"findings", "gpus", "hosts", "journal", "pythons", "secrets"},
    {"sources", "ssh", "validation"},
    {"config", "ec2", "lab", "runnable"},
    {"inventory", "playbook_events", "playbook_guard", "playbooks"},
    {"fleet"},
    {"runtimes"},
    {"jobs"},
    {"launch"},
    {"providers"},
    {"doctor"},
    {"cluster"},
    {"cli"},
]

Graph = Mapping[str, set[str]]


def read_imports(package: Path) -> dict[str, set[str]]:
    """Map each module of a package to the modules of the package that it imports, anywhere in its file.

    The ``__init__`` of the package counts as a module without imports: it lists for type checkers what it imports
    when it is first used.
    """
    root = package.name
    files = {_name_module(path, package): path for path in sorted(package.rglob("*.py"))}
    graph = {name: set(_find_imports(name, path, files)) for name, path in files.items()}
    return {**graph, root: set()}


def _name_module(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _find_imports(name: str, path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                # "from a import b" imports the module a.b, if it exists, else a name in a.
                found = f"{base}.{alias.name}" if f"{base}.{alias.name}" in files else base
                if found in files:
                    yield found


def find_cycles(graph: Graph) -> list[str]:
    """Return one cycle through each module that imports itself indirectly; each cycle is listed once."""
    cycles: dict[frozenset[str], str] = {}
    for start in sorted(graph):
        path = _find_path(graph, start, start)
        if path:
            cycles.setdefault(frozenset(path), " -> ".join(path))
    return list(cycles.values())


def _find_path(graph: Graph, start: str, end: str) -> list[str]:
    """Return the shortest path of at least one step from a module to another; empty if there is none."""
    came_from: dict[str, str] = {}
    reached = [start]
    for module in reached:
        for found in sorted(graph.get(module, ())):
            if found == end:
                path = [end, module]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if found not in came_from:
                came_from[found] = module
                reached.append(found)
    return []


def find_upward_imports(graph: Graph, levels: Iterable[set[str]]) -> list[str]:
    """Return each import of a higher part, and each part without a level."""
    heights = {part: height for height, level in enumerate(levels) for part in level}
    parts = {_get_part(module) for module in graph} - {""}
    found = [f"{part} has no level" for part in sorted(parts - set(heights))]
    for module in sorted(graph):
        for target in sorted(graph[module]):
            above, below = _get_part(target), _get_part(module)
            if above in heights and below in heights and heights[above] > heights[below]:
                found.append(f"{module} imports {target}")
    return found


def _get_part(module: str) -> str:
    """Return the part that a module belongs to; empty for the ``__init__`` of the package."""
    return module.split(".")[1] if "." in module else ""


def group_by_part(graph: Graph) -> dict[str, set[str]]:
    """Map each part to the other parts that it imports."""
    parts: dict[str, set[str]] = {_get_part(module): set() for module in graph}
    for module, targets in graph.items():
        parts[_get_part(module)] |= {_get_part(target) for target in targets} - {_get_part(module), ""}
    return parts


@pytest.fixture(scope="module")
def package() -> dict[str, set[str]]:
    return read_imports(Path(flambe_ansible.__file__).parent)


def test_no_cycle_of_files(package: Graph) -> None:
    assert find_cycles(package) == []


def test_no_cycle_of_parts(package: Graph) -> None:
    assert find_cycles(group_by_part(package)) == []


def test_no_part_imports_a_higher_part(package: Graph) -> None:
    assert find_upward_imports(package, LEVELS) == []


# Tests of the checks, with small packages.


def write(folder: Path, files: Mapping[str, str]) -> Path:
    package = folder / "pack"
    for name, text in {"__init__.py": "", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


def test_all_forms_of_imports_are_found(tmp_path: Path) -> None:
    files = {
        "low.py": "A = 1\n",
        "part/__init__.py": "from pack.part.one import B\n",
        "part/one.py": "import pack.low\nB = 1\n",
        "part/two.py": "from . import one\nfrom ..low import A\n",
        "part/deep/__init__.py": "from ..two import A\n",
        "high.py": "from pack import low\nfrom pack.part import B, two\nimport os.path\n",
    }
    assert read_imports(write(tmp_path, files)) == {
        "pack": set(),
        "pack.low": set(),
        "pack.part": {"pack.part.one"},
        "pack.part.one": {"pack.low"},
        "pack.part.two": {"pack.part.one", "pack.low"},
        "pack.part.deep": {"pack.part.two"},
        "pack.high": {"pack.low", "pack.part", "pack.part.two"},
    }


@pytest.mark.parametrize(
    "hidden",
    [
        "from pack.a import A\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.a import A\n",
        "def later():\n    from pack.a import A\n",
        "try:\n    import pack.a\nexcept ImportError:\n    pass\n",
    ],
    ids=["top", "type checking", "function", "try"],
)
def test_a_cycle_is_found_wherever_the_import_is(tmp_path: Path, hidden: str) -> None:
    package = write(tmp_path, {"a.py": "from pack import b\n", "b.py": "from pack.c import C\n", "c.py": hidden})
    graph = read_imports(package)
    assert find_cycles(graph) == ["pack.a -> pack.b -> pack.c -> pack.a"]
    without = {**graph, "pack.c": set()}
    assert find_cycles(without) == []


def test_a_cycle_of_parts_without_a_cycle_of_files_is_found(tmp_path: Path) -> None:
    files = {"a/one.py": "import pack.b.one\n", "a/two.py": "", "b/one.py": "", "b/two.py": "import pack.a.two\n"}
    graph = read_imports(write(tmp_path, files))
    assert find_cycles(graph) == []
    assert find_cycles(group_by_part(graph)) == ["a -> b -> a"]


def test_an_import_upwards_and_a_part_without_a_level_are_found(tmp_path: Path) -> None:
    files = {
        "low.py": "def later():\n    from pack.high.door import D\n",
        "beside.py": "import pack.low\n",
        "high/door.py": "import pack.low\n",
        "new.py": "",
    }
    graph = read_imports(write(tmp_path, files))
    levels = [{"low", "beside"}, {"high"}]
    assert find_upward_imports(graph, levels) == ["new has no level", "pack.low imports pack.high.door"]
    assert find_upward_imports(graph, [{"low", "beside", "high", "new"}]) == []


def test_lazy_exports_of_the_package_are_not_imports(tmp_path: Path) -> None:
    export = "if TYPE_CHECKING:\n    from pack.a import A\n_MODULES = {'A': 'a'}\n"
    package = write(tmp_path, {"__init__.py": export, "a.py": "from pack import __version__\n"})
    assert find_cycles(read_imports(package)) == []
