"""Which files of a working folder are sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.jobs import workdir


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_is_ignored_and_what_is_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "train.py": "x",
            ".gitignore": "*.log\n/data/*\n!/data/small.csv\n",
            ".rayignore": "checkpoints/\n",
            "run.log": "x",
            "data/big.csv": "x",
            "data/small.csv": "x",
            "checkpoints/1": "x",
            "pkg/checkpoints/2": "x",
            "pkg/.gitignore": "!keep.log\ntmp\n",
            "pkg/keep.log": "x",
            "pkg/tmp/x": "x",
            "pkg/sub/tmp": "x",
            "tmp": "x",
            ".git/HEAD": "x",
            "pkg/__pycache__/a.pyc": "x",
            "env/pyvenv.cfg": "x",
            "env/bin/python": "x",
            ".venv/x": "x",
            "dist/kept": "x",
            "naïve dir/ü\n.txt": "x",
        },
    )
    (tmp_path / "empty").mkdir()
    assert workdir.scan(tmp_path).names == (
        ".gitignore",
        ".rayignore",
        "data",
        "data/small.csv",
        "dist",
        "dist/kept",
        "empty",
        "naïve dir",
        "naïve dir/ü\n.txt",
        "pkg",
        "pkg/.gitignore",
        "pkg/keep.log",
        "pkg/sub",
        "tmp",
        "train.py",
    )


def test_links_stay_links_unless_they_lead_out_of_the_folder(tmp_path: Path) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    write(work, {"a.py": "x", "sub/b.py": "x"})
    write(outside, {"data/c": "12345", "file": "123"})
    (outside / "back").symlink_to(outside)
    (work / "inner").symlink_to("sub")
    (work / "data").symlink_to(outside)
    (work / "file").symlink_to(outside / "file")
    (work / "gone").symlink_to("nowhere")
    found = workdir.scan(work)
    assert found.names == (
        "a.py", "data", "data/back", "data/data", "data/data/c", "data/file",
        "file", "gone", "inner", "sub", "sub/b.py",
    )  # fmt: skip
    assert found.largest[0] == ("data/data/c", 5)


def test_sockets_and_pipes_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert workdir.scan(tmp_path).names == ()


@pytest.mark.parametrize("name", ["nope", "file"])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ClusterConfigurationError, match=f"{name} (does not exist|is not a folder)"):
        workdir.scan(tmp_path / name)


def test_a_very_large_folder_names_its_size_and_largest_files(tmp_path: Path) -> None:
    for name, size in (("a.bin", 1024**3), ("b.bin", 1500 * 1024**2), ("small", 10)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # sparse
    found = workdir.scan(tmp_path)
    with pytest.raises(ClusterConfigurationError) as caught:
        found.check_size()
    assert "has 2.5 GB to send; the largest files are b.bin (1.5 GB), a.bin (1.0 GB), small (0.0 MB)" in str(
        caught.value
    )
    assert "--allow-large" in str(caught.value.hint)
    (tmp_path / ".rayignore").write_text("b.bin\n")
    workdir.scan(tmp_path).check_size()
