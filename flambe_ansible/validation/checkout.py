"""The rule for a checkout of flambé: a project folder that contains the package flambe."""

from __future__ import annotations

import os
from pathlib import Path

from flambe_ansible.validation.missing import check_path, describe_missing
from flambe_ansible.validation.schema import Flaw

PROJECT_FILES = ("pyproject.toml", "setup.py")
PACKAGES = ("flambe", "src/flambe")


def flambe_checkout(value: str | os.PathLike[str]) -> list[Flaw]:
    """Check that a path leads to a checkout of flambé; this does not check that it can be built."""
    return check_path(value, _find_flaw)


def _find_flaw(path: Path) -> Flaw | None:
    if not path.exists():
        return describe_missing(path, kind="folder", may_be=Path.is_dir)
    if not path.is_dir():
        return Flaw(message=f"is {path}, which is not a folder")
    if not any((path / name).is_file() for name in PROJECT_FILES):
        return Flaw(message=f"is {path}, which contains neither {' nor '.join(PROJECT_FILES)}")
    if not any((path / name / "__init__.py").is_file() for name in PACKAGES):
        return Flaw(message=f"is {path}, which does not contain the package flambe")
    return None
