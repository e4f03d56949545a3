"""Python packages for a host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Python packages for a host.

    Attributes:
        lines: PEP 508 requirements from an index or a URL.
        constraints: Version limits.
        wheels: Wheels on this machine.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    wheels: tuple[Path, ...] = ()

    def find(self, name: str) -> Requirement | None:
        """Return the requirement of a package, or None."""
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name

        found = (Requirement(line) for line in self.lines)
        return next((one for one in found if canonicalize_name(one.name) == canonicalize_name(name)), None)

    def has_wheel(self, name: str) -> bool:
        """Return whether a package is among the wheels."""
        from packaging.utils import canonicalize_name, parse_wheel_filename

        return any(parse_wheel_filename(one.name)[0] == canonicalize_name(name) for one in self.wheels)
