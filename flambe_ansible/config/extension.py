"""Classes from extensions: import them and derive their fields from the constructor.

Nothing is installed or fetched. An extension given as a path is imported from that path, even if a module of the same
name is installed; any other extension must be installed in the Python that runs this.
"""

from __future__ import annotations

import importlib
import inspect
import shlex
import sys
import traceback
import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from flambe_ansible.sources.locations import LocationError, redact, resolve
from flambe_ansible.validation import BASE_FIELDS, Field, Kind, Schema
from flambe_ansible.validation.cross import FLAMBE_RULE, RUNTIME_RULES
from flambe_ansible.validation.schema import suggest
from flambe_ansible.validation.ssh_fields import PROXY_JUMP

_KINDS: dict[Any, tuple[Kind, str]] = {
    str: (Kind.STRING, "text"),
    int: (Kind.INTEGER, "a whole number"),
    float: (Kind.NUMBER, "a number"),
    bool: (Kind.BOOLEAN, "true or false"),
    Path: (Kind.PATH, "a path"),
}


class ExtensionError(ValueError):
    """An extension cannot be imported, or has no usable class.

    The first attributes are those of ``Flaw``; ``extension`` is the failed one's name, "" if the error is about the
    tag.
    """

    def __init__(self, message: str, *, expected: str = "", suggestion: str = "", extension: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.suggestion = suggestion
        self.extension = extension


def find_class(tag: str, extensions: Mapping[str, str], *, folder: Path, base: type) -> type:
    """Import the extension of a tag such as ``!my_pkg.MyCluster`` and find the tag's class.

    The class must be derived from ``base``, such as ``Cluster``, and not be abstract. Relative paths in ``extensions``
    (module name to location) start from ``folder``.
    """
    module_name, _, class_name = tag.removeprefix("!").rpartition(".")
    package = module_name.partition(".")[0]
    import_extension(package, extensions[package], folder=folder)
    module = _import(module_name, extension="", hint="")
    found = getattr(module, class_name, None)
    own = {one.__name__: one for one in list_subclasses(base) if one.__module__.partition(".")[0] == package}
    found = own.get(class_name) if found is None else found
    wanted = f"a subclass of flambe_ansible.{base.__name__}"
    if found is None:
        meant = suggest(class_name, own)
        listed = f"one of {', '.join(f'!{package}.{name}' for name in own)}" if own else wanted
        raise ExtensionError(
            f"{module_name} has no class {class_name}",
            expected="" if meant else listed,
            suggestion=f"!{package}.{meant}" if meant else "",
        )
    if not isinstance(found, type) or not issubclass(found, base):
        raise ExtensionError(f"{tag} is not a {base.__name__.lower()} class", expected=wanted)
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ExtensionError(f"{tag} does not implement {', '.join(missing)}")
    return found


def import_extension(name: str, location: str, *, folder: Path) -> None:
    """Import an extension's module, from its path if the location is one that exists, else as an installed module."""
    try:
        path = resolve(location, folder)
    except LocationError as error:
        raise ExtensionError(str(error), extension=name) from error
    if not path.exists():
        if location.startswith((".", "/", "~")):
            raise ExtensionError(f"extension {name}: {path} does not exist", extension=name)
        _import(name, extension=name, hint=shlex.quote(redact(location)))
        return
    root = _find_root(path, name)
    loaded = sys.modules.get(name)
    if loaded is not None and not _is_below(loaded, root):
        origin = getattr(loaded, "__file__", None) or "an unknown path"
        raise ExtensionError(
            f"extension {name}: another module {name} is already imported, from {origin}", extension=name
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
    _import(name, extension=name, hint=shlex.quote(str(path)))


def describe_class(tag: str, cluster_class: type) -> Schema:
    """Derive the fields of a cluster class from its constructor.

    Arguments named like a base field are checked like that field, others by their annotation.
    """
    fields = describe_arguments(cluster_class, known={one.name: one for one in (*BASE_FIELDS, PROXY_JUMP)})
    return Schema(tag=tag, fields=fields, cross_rules=(FLAMBE_RULE, *RUNTIME_RULES))


def describe_arguments(described_class: type, *, known: Mapping[str, Field]) -> tuple[Field, ...]:
    """Derive fields from the arguments of a class's constructor, and of those that its ``**kwargs`` are passed to.

    Arguments named like a ``known`` field are described like that field, others by their annotation.
    """
    fields: dict[str, Field] = {}
    for owner in described_class.__mro__:
        constructor = vars(owner).get("__init__")
        if not inspect.isfunction(constructor):
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        inherited = bool(fields)  # the subclass may set these arguments itself
        hints = _hints(constructor)
        for one in named:
            described = _describe(one, hints.get(one.name), known.get(one.name))
            fields.setdefault(one.name, replace(described, required=described.required and not inherited))
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return tuple(fields.values())


def format_origin(error: Exception) -> str:
    """Return the last line of user code in an error's traceback as `` (FILE:LINE)``, or ""."""
    package = Path(__file__).parents[1]
    frames = [one for one in traceback.extract_tb(error.__traceback__) if package not in Path(one.filename).parents]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _find_root(path: Path, name: str) -> Path:
    """Find the folder to import a module from: the path, its ``src`` folder, or its parent."""
    for folder in (path, path / "src"):
        if (folder / name).is_dir() or (folder / f"{name}.py").is_file():
            return folder.resolve()
    if path.name in (name, f"{name}.py") and (path.is_file() or (path / "__init__.py").is_file()):
        return path.parent.resolve()
    expected = f"a folder that contains {name}/, {name}.py or src/{name}/, or the path of {name} itself"
    raise ExtensionError(f"extension {name}: {path} contains no module {name}", expected=expected, extension=name)


def _is_below(module: types.ModuleType, root: Path) -> bool:
    paths = [module.__file__] if getattr(module, "__file__", None) else list(getattr(module, "__path__", ()))
    return any(root in Path(str(path)).resolve().parents for path in paths)


def _import(name: str, *, extension: str, hint: str) -> types.ModuleType:
    """Import a module; every error that its code raises becomes an ``ExtensionError``."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        expected = f"an installed module: {sys.executable} -m pip install {hint}" if hint else ""
        label = f"extension {name}" if extension else name
        raise ExtensionError(f"{label} cannot be imported: {error}", expected=expected, extension=extension) from error
    except Exception as error:
        message = f"{name} cannot be imported: {type(error).__name__}: {error}"
        raise ExtensionError(message, extension=extension) from error


def list_subclasses(root: Any) -> list[Any]:
    """List the direct and indirect subclasses of a class."""
    return [one for child in root.__subclasses__() for one in (child, *list_subclasses(child))]


def _hints(function: Any) -> dict[str, Any]:
    """Resolve a function's annotations; return {} if one cannot be resolved."""
    try:
        return get_type_hints(function)
    except Exception:  # annotations are user code
        return {}


def _describe(parameter: inspect.Parameter, hint: Any, base: Field | None) -> Field:
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if base is not None:
        return replace(base, required=required, default=default)
    kind, expected = _KINDS.get(_plain(hint), (Kind.ANY, "a value"))
    return Field(name=parameter.name, kind=kind, expected=expected, doc="", required=required, default=default)


def _plain(hint: Any) -> Any:
    """Return X for the annotation ``X | None``."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    others = [one for one in get_args(hint) if one is not type(None)]
    return others[0] if len(others) == 1 else hint
