"""Packages whose names are imported at their first use (PEP 562), so that a command imports only what it uses."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package.

    Args:
        package: The package, its ``__name__``.
        modules: The module of each name, relative to the package; ``module:name`` if it has another name there.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, original = modules[name].partition(":")
        return getattr(importlib.import_module(f"{package}.{module}"), original or name)

    return find
