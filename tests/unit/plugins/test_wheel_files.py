"""Files extracted from wheels of a fake index."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import package_index
from ansible_collections.flambe.cluster.plugins.modules import wheel_files

STYLE = "body { content: 'é' }".encode()


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """One wheel with a style sheet, on an index with nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("site/style.css", STYLE)
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()

    def fetch(indexes: list[str], project: str, filename: str, wanted: str, options: dict[str, str]) -> bytes:
        assert (indexes, project, filename, wanted, options) == (["index"], "site", "site.whl", sha256, {})
        return content

    monkeypatch.setattr(package_index, "fetch", fetch)
    return [{"project": "site", "filename": "site.whl", "sha256": sha256, "files": {"site/style.css": "own.css"}}]


def test_files_are_extracted_once(tmp_path: Path, wheels: list[dict[str, Any]]) -> None:
    folder = str(tmp_path / "assets")
    assert wheel_files.find_stale(folder, wheels) == ["own.css"]
    wheel_files.extract(folder, wheels, ["index"], {})
    assert (tmp_path / "assets/own.css").read_bytes() == STYLE
    assert wheel_files.find_stale(folder, wheels) == []


def test_missing_files_and_files_of_another_wheel_are_stale(tmp_path: Path, wheels: list[dict[str, Any]]) -> None:
    wheel_files.extract(str(tmp_path), wheels, ["index"], {})
    assert wheel_files.find_stale(str(tmp_path), [{**wheels[0], "sha256": "0"}]) == ["own.css"]
    (tmp_path / "own.css").unlink()
    assert wheel_files.find_stale(str(tmp_path), wheels) == ["own.css"]


def test_a_wheel_without_the_file_changes_nothing(tmp_path: Path, wheels: list[dict[str, Any]]) -> None:
    wheel_files.extract(str(tmp_path), wheels, ["index"], {})
    wheels[0]["files"] = {"site/other.css": "own.css"}
    with pytest.raises(package_index.PackageNotFoundError, match=r"site\.whl does not contain site/other\.css"):
        wheel_files.extract(str(tmp_path), wheels, ["index"], {})
    assert (tmp_path / "own.css").read_bytes() == STYLE


def test_no_wheels(tmp_path: Path) -> None:
    assert wheel_files.find_stale(str(tmp_path / "assets"), []) == []
