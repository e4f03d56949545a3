"""The user's secrets file in flambé's format: an INI file, by default ``~/.flambe/secrets.ini``.

The values stay in the file: this module returns only its path and the names of its sections.
"""

from __future__ import annotations

import configparser
from collections.abc import Sequence
from pathlib import Path

from flambe_ansible.errors import ClusterConfigurationError, MissingSecretsError

DEFAULT_FILE = "~/.flambe/secrets.ini"
# The sections with logins to container registries, which the filter registry_logins reads, and their required keys.
LOGINS = "DOCKER"
LOGIN_KEYS = ("username", "password")


def find(configured: Path | None = None) -> Path | None:
    """Return the secrets file to use; None if there is no default file. A missing configured file is an error."""
    path = (configured or Path(DEFAULT_FILE)).expanduser().absolute()
    if path.is_file():
        return path
    if configured is None:
        return None
    if path.is_dir():
        raise MissingSecretsError(f"{configured}: this is a folder; expected a secrets file (INI)")
    raise MissingSecretsError(f"{configured}: no such secrets file", hint=f"write it, or leave it out: {DEFAULT_FILE}")


def check(configured: Path | None, sections: Sequence[str] | None) -> None:
    """Check that the file has the wanted sections; None as file is the default one, None as sections is all."""
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


def check_logins(configured: Path | None, sections: Sequence[str] | None) -> None:
    """Check that each login to a container registry in the file, or in these sections of it, is complete."""
    path = find(configured)
    found = _parse(path) if path else configparser.ConfigParser()
    for name in found.sections():
        if name.split()[:1] == [LOGINS] and (not sections or name in sections):
            missing = " and no ".join(key for key in LOGIN_KEYS if not found[name].get(key))
            if missing:
                raise ClusterConfigurationError(
                    f"{path}: section [{name}] has no {missing}", hint="see docs/containers.md"
                )


def read_sections(path: Path) -> list[str]:
    """Return the names of the file's sections; errors do not repeat its lines."""
    return _parse(path).sections()


def explain(path: str | Path, error: configparser.Error | UnicodeDecodeError) -> ClusterConfigurationError:
    """Make the error of a file that cannot be parsed: its place and the reason, without its lines."""
    line = getattr(error, "lineno", None)
    place = f"{path}:{line}:1" if line else str(path)
    if isinstance(error, configparser.DuplicateSectionError):
        return ClusterConfigurationError(f"{place}: the section [{error.section}] is set twice")
    if isinstance(error, configparser.DuplicateOptionError):
        return ClusterConfigurationError(f"{place}: {error.option} is set twice in the section [{error.section}]")
    return ClusterConfigurationError(f"{place}: not an INI file; expected [SECTION] and KEY = value lines")


def _parse(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise explain(path, error) from None
    except OSError as error:
        raise ClusterConfigurationError(f"{path}: {error.strerror}") from error
    return parser
