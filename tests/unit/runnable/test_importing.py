"""Import of extensions from their declared locations."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.runnable import make, read
from flambe_ansible.runnable.importing import import_sources

MODULE = "imported_here_ext"
CODE = """
from flambe_ansible import Runnable

class Here(Runnable):
    def run(self, **kwargs):
        return "here"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runnable's file, and an extension in ``src`` that is not installed."""
    (tmp_path / "src" / MODULE).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "src" / MODULE / "__init__.py").write_text(CODE)
    (tmp_path / "mine.yaml").write_text(f"{MODULE}: .\n---\n!{MODULE}.Here {{}}\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop(MODULE, None)


def test_a_folder_is_imported_without_being_installed(folder: Path) -> None:
    file = read(folder / "mine.yaml")
    with pytest.raises(ClusterConfigurationError, match=f"mine.yaml:1:.*No module named '{MODULE}'"):
        make(file)
    import_sources(file)
    made = make(file)
    assert made.run() == "here"
    assert str(folder) in str(sys.modules[MODULE].__file__)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module_at_all", "mine.yaml:1:.*No module named 'no_such_module_at_all'"),
        ("1 / 0", "mine.yaml:1:.*ZeroDivisionError"),
    ],
)
def test_import_errors_have_positions(folder: Path, code: str, message: str) -> None:
    (folder / "src" / MODULE / "__init__.py").write_text(code)
    with pytest.raises(ClusterConfigurationError, match=message):
        import_sources(read(folder / "mine.yaml"))


def test_a_requirement_must_be_installed(folder: Path) -> None:
    (folder / "mine.yaml").write_text("no_such_dist_ext: no-such-dist==1.0\n---\n!no_such_dist_ext.Here {}\n")
    file = read(folder / "mine.yaml")
    import_sources(file)
    with pytest.raises(ClusterConfigurationError, match=r"extension no_such_dist_ext: .*pip install"):
        make(file)
