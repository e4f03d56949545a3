"""The user's secrets file, as flambé has it: an INI file at ``~/.flambe/secrets.ini`` or wherever one says.

Values stay in the file: this module hands out its path and the names of its sections, never what they hold.
"""

from __future__ import annotations

import configparser
from collections.abc import Sequence
from pathlib import Path

from flambe_ansible.errors import ClusterConfigurationError, MissingSecretsError

DEFAULT_FILE = "~/.flambe/secrets.ini"


def find(configured: Path | None = None) -> Path | None:
    """Return the secrets file to use, or None where there is none.

    Raises:
        MissingSecretsError: The configured file is not there.
    """
    path = (configured or Path(DEFAULT_FILE)).expanduser().absolute()
    if path.is_file():
        return path
    if configured is None:
        return None
    raise MissingSecretsError(f"{configured}: no such secrets file", hint=f"write it, or leave it out: {DEFAULT_FILE}")


def check(configured: Path | None, sections: Sequence[str] | None) -> None:
    """Make sure that the wanted sections can be sent.

    Args:
        configured: The file that the user named, or None for the default one.
        sections: The wanted sections, or None for all there are.

    Raises:
        MissingSecretsError: The file or a section is not there.
        ClusterConfigurationError: The file is no INI file.
    """
    path = find(configured)
    present = read_sections(path) if path else []
    missing = [section for section in sections or () if section not in present]
    if not missing:
        return
    names = ", ".join(f"[{section}]" for section in missing)
    place = path or DEFAULT_FILE
    raise MissingSecretsError(
        f"{place}: no section {names}", sections=missing, hint="add it to the file, or name another with --secrets"
    )


def read_sections(path: Path) -> list[str]:
    """Return the names of the file's sections.

    Raises:
        ClusterConfigurationError: The file cannot be read or is no INI file; its lines are not repeated.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except (configparser.Error, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", None)
        place = f"{path}:{line}:1" if line else str(path)
        raise ClusterConfigurationError(f"{place}: not an INI file; expected [SECTION] and KEY = value lines") from None
    except OSError as error:
        raise ClusterConfigurationError(f"{path}: {error.strerror}") from error
    return parser.sections()
