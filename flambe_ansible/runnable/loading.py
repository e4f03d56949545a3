"""Create custom runnables from their files."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from flambe_ansible.config.extension import list_subclasses
from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.runnable import document
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runnable.environment import RemoteEnvironment
from flambe_ansible.runnable.runnable import Runnable
from flambe_ansible.runnable.tree import Kind, Node, type_of
from flambe_ansible.validation.schema import suggest


def load(path: str | Path, *, secrets: Path | None = None) -> Runnable:
    """Create the runnable that a file describes; its extensions must be installed here. ``secrets`` is a path."""
    return make(document.read(path), secrets=secrets)


def make(file: RunnableFile, *, secrets: Path | None = None) -> Runnable:
    """Create the runnable of a file that was already read.

    ``ClusterConfigurationError`` is raised if an extension cannot be imported, or if the class rejects its arguments.
    """
    if file.is_experiment:
        raise file.refuse(file.root, f"{file.tag} is an experiment: it runs in flambé's runtime, not in this Python")
    import_extensions(file)
    runnable_class = find_class(file.tag)
    if runnable_class is None:
        message = f"{file.tag}: the extension has no such subclass of flambe_ansible.Runnable"
        similar = suggest(file.tag, [one.tag() for one in list_subclasses(Runnable)])
        raise file.refuse(file.root, f"{message}; did you mean {similar}?" if similar else message)
    if runnable_class.is_cluster:
        raise file.refuse(file.root, f"{file.tag} is a cluster, not a runnable: launch it with flambe-ans launch")
    values = _construct(file, file.root, {})
    if not isinstance(values, dict) and values not in (None, ""):
        raise file.refuse(file.root, f"{file.tag} must be followed by a mapping")
    try:
        runnable = runnable_class(**(values or {}))
    except TypeError as error:
        raise file.refuse(file.root, f"{file.tag}: {error}") from error
    runnable._file = file
    runnable.inject_content(file.text)
    runnable.inject_extensions({one.name: one.value for one in file.extensions})
    if secrets:
        runnable.inject_secrets(secrets)
    runnable.parse()
    return runnable


def import_extensions(file: RunnableFile) -> None:
    """Import the modules of a file's extensions."""
    problems: list[Problem] = []
    for one in file.extensions:
        try:
            importlib.import_module(one.name)
        except ImportError as error:
            expected = "an installed module (pip install it from its location in the file)"
            problems.append(one.location.problem(f"extension {one.name}: {error}", expected))
    if problems:
        raise ClusterConfigurationError.of(problems)


def find_class(tag: str) -> type[Runnable] | None:
    """Find the class of a tag among the imported classes; if there are several, the last one defined."""
    found: list[type[Runnable]] = [one for one in list_subclasses(Runnable) if one.tag() == tag]
    return found[-1] if found else None


def _construct(file: RunnableFile, node: Node, made: dict[int, Any]) -> Any:
    """Convert a node to Python data, ignoring the root's tag. Aliases become references to the same object."""
    node = node.resolved()
    if id(node) in made:
        return made[id(node)]
    kind = type_of(node)
    value: Any
    if node.kind is Kind.MAPPING:
        value = made[id(node)] = {}
        value.update((_construct(file, key, made), _construct(file, one, made)) for key, one in node.pairs)
    elif node.kind is Kind.SEQUENCE:
        value = made[id(node)] = []
        value.extend(_construct(file, one, made) for one in node.items)
    else:
        value = _scalar(node, kind)
    if node.tag.startswith("!") and len(node.tag) > 1 and node is not file.root:
        value = _construct_tagged(file, node, value)
    made[id(node)] = value
    return value


def _construct_tagged(file: RunnableFile, node: Node, value: Any) -> Any:
    """Create an object of an extension's class, or the environment."""
    arguments = value if isinstance(value, dict) else {} if value is None or value == "" else None
    module_name, _, class_name = node.tag[1:].rpartition(".")
    if node.tag == RemoteEnvironment.TAG:
        maker: Any = RemoteEnvironment.from_mapping
    elif module_name.split(".")[0] in {one.name.split(".")[0] for one in file.extensions}:
        maker = getattr(importlib.import_module(module_name), class_name, None)
    else:
        raise file.refuse(node, f"{node.tag} is neither !RemoteEnvironment nor a class of a declared extension")
    if maker is None or arguments is None:
        what = "the extension has no such class" if maker is None else "expected a mapping"
        raise file.refuse(node, f"{node.tag}: {what}")
    try:
        return maker(arguments) if node.tag == RemoteEnvironment.TAG else maker(**arguments)
    except TypeError as error:
        raise file.refuse(node, f"{node.tag}: {error}") from error


def _scalar(node: Node, kind: str) -> Any:
    """Convert a scalar; dates remain text."""
    text = node.value.replace("_", "") if kind in ("integer", "number") else node.value
    match kind:
        case "null":
            return None
        case "boolean":
            return text.lower() == "true"
        case "integer":
            digits = text.lstrip("+-")
            base = 0 if digits[:2].lower() in ("0x", "0o", "0b") else 10
            return int(text, base)
        case "number":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return node.value
