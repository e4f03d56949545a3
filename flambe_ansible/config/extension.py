"""A user's own class of clusters: found in the extension that a file declares, its arguments read off its constructor.

Nothing is installed or fetched for it. An extension that is a path is imported from there, whatever is installed under
its name; any other must be installed in the Python that runs this.
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
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from flambe_ansible.sources.locations import LocationError, redact, resolve
from flambe_ansible.validation import BASE_FIELDS, Change, Field, Kind, Schema
from flambe_ansible.validation.cross import FLAMBE_RULE, RUNTIME_RULES
from flambe_ansible.validation.schema import suggest
from flambe_ansible.validation.ssh_fields import PROXY_JUMP

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster

_KINDS: dict[Any, tuple[Kind, str]] = {
    str: (Kind.STRING, "text"),
    int: (Kind.INTEGER, "a whole number"),
    float: (Kind.NUMBER, "a number"),
    bool: (Kind.BOOLEAN, "true or false"),
    Path: (Kind.PATH, "a path"),
}


class ExtensionError(ValueError):
    """A class of clusters cannot be had from an extension.

    Attributes:
        message: What is wrong.
        expected: What would be right, or "".
        suggestion: What was probably meant, or "".
        extension: The extension that it is about; "" where it is about the tag.
    """

    def __init__(self, message: str, *, expected: str = "", suggestion: str = "", extension: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.suggestion = suggestion
        self.extension = extension


def find_class(tag: str, extensions: Mapping[str, str], *, folder: Path) -> type[Cluster]:
    """Import the extension of a tag and find the class in it.

    Args:
        tag: Such as ``!my_pkg.MyCluster``.
        extensions: The declared extensions, module name to location.
        folder: Where relative paths start.

    Raises:
        ExtensionError: It cannot be imported, has no such class, or the class is no cluster that can be made.
    """
    from flambe_ansible.cluster.cluster import Cluster

    module_name, _, class_name = tag.removeprefix("!").rpartition(".")
    package = module_name.partition(".")[0]
    import_extension(package, extensions[package], folder=folder)
    module = _import(module_name, extension="", hint="")
    found = getattr(module, class_name, None)
    own = {one.__name__: one for one in _subclasses(Cluster) if one.__module__.partition(".")[0] == package}
    found = own.get(class_name) if found is None else found
    if found is None:
        meant = suggest(class_name, own)
        raise ExtensionError(
            f"{module_name} has no {class_name}",
            expected="" if meant else f"one of {', '.join(f'!{package}.{name}' for name in own) or 'no class there'}",
            suggestion=f"!{package}.{meant}" if meant else "",
        )
    if not isinstance(found, type) or not issubclass(found, Cluster):
        raise ExtensionError(f"{tag} is no cluster", expected="a subclass of flambe_ansible.Cluster")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ExtensionError(f"{tag} does not implement {missing}")
    return found


def import_extension(name: str, location: str, *, folder: Path) -> None:
    """Make an extension's module importable, and import it.

    Args:
        name: The module.
        location: A path, or what it was installed from.
        folder: Where relative paths start.

    Raises:
        ExtensionError: It cannot be imported.
    """
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
        origin = getattr(loaded, "__file__", None) or "elsewhere"
        raise ExtensionError(f"extension {name}: another {name} is imported already, from {origin}", extension=name)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
    _import(name, extension=name, hint=shlex.quote(str(path)))


def describe_class(tag: str, kind: type[Cluster]) -> Schema:
    """Read the fields of a class off its constructor: the base's own as they are, others by their annotations."""
    base = {one.name: one for one in (*BASE_FIELDS, PROXY_JUMP)}
    fields: dict[str, Field] = {}
    for owner in kind.__mro__:
        constructor = vars(owner).get("__init__")
        if not inspect.isfunction(constructor):
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        inherited = bool(fields)  # what is passed on by **kwargs may be given by the class itself
        hints = _hints(constructor)
        for one in named:
            described = _describe(one, hints.get(one.name), base.get(one.name))
            fields.setdefault(one.name, replace(described, required=described.required and not inherited))
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return Schema(tag=tag, fields=tuple(fields.values()), cross_rules=(FLAMBE_RULE, *RUNTIME_RULES))


def describe_failure(tag: str, error: Exception, kind: type[Cluster]) -> str:
    """Say in one line why a constructor or ``parse`` of a user's class failed, and where."""
    ours = Path(__file__).parents[1]
    frames = [one for one in traceback.extract_tb(error.__traceback__) if ours not in Path(one.filename).parents]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{tag} cannot be made: {kind.__name__} raised {type(error).__name__}: {error}{place}"


def _find_root(path: Path, name: str) -> Path:
    """Find the folder that the module is in, below or at a path."""
    for folder in (path, path / "src"):
        if (folder / name).is_dir() or (folder / f"{name}.py").is_file():
            return folder.resolve()
    if path.name in (name, f"{name}.py") and (path.is_file() or (path / "__init__.py").is_file()):
        return path.parent.resolve()
    expected = f"a folder with {name}/, {name}.py or src/{name}/ in it, or {name} itself"
    raise ExtensionError(f"extension {name}: {path} holds no module {name}", expected=expected, extension=name)


def _is_below(module: types.ModuleType, root: Path) -> bool:
    places = [module.__file__] if getattr(module, "__file__", None) else list(getattr(module, "__path__", ()))
    return any(root in Path(str(place)).resolve().parents for place in places)


def _import(name: str, *, extension: str, hint: str) -> types.ModuleType:
    """Import a module; whatever its code raises is the extension's failure."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        expected = f"it installed where flambe-ans runs: {sys.executable} -m pip install {hint}" if hint else ""
        label = f"extension {name}" if extension else name
        raise ExtensionError(f"{label} cannot be imported: {error}", expected=expected, extension=extension) from error
    except Exception as error:
        message = f"{name} cannot be imported: {type(error).__name__}: {error}"
        raise ExtensionError(message, extension=extension) from error


def _subclasses(root: Any) -> list[type]:
    """List all classes below one."""
    return [one for child in root.__subclasses__() for one in (child, *_subclasses(child))]


def _hints(function: Any) -> dict[str, Any]:
    """Read a function's annotations; none where they name what cannot be found."""
    try:
        return get_type_hints(function)
    except Exception:  # annotations are a user's own code
        return {}


def _describe(parameter: inspect.Parameter, hint: Any, base: Field | None) -> Field:
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if base is not None:
        return replace(base, required=required, default=default)
    kind, expected = _KINDS.get(_plain(hint), (Kind.ANY, "a value"))
    return Field(
        name=parameter.name,
        kind=kind,
        expected=expected,
        doc="",
        change=Change.IN_PLACE,
        required=required,
        default=default,
    )


def _plain(hint: Any) -> Any:
    """Take ``None`` out of a union with one other type."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    others = [one for one in get_args(hint) if one is not type(None)]
    return others[0] if len(others) == 1 else hint
