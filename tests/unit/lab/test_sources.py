"""Reading os-release and apt's sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.errors import LabError
from flambe_ansible.lab.sources import (
    Release,
    Source,
    machine_sources,
    main_source,
    read_deb822,
    read_list,
    read_release,
)

DEBIAN = 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
BOOKWORM = Release("debian", "12", "bookworm")


def test_a_supported_release_is_read() -> None:
    assert read_release(DEBIAN) == BOOKWORM
    assert read_release('ID=ubuntu\nVERSION_ID="22.04"\nVERSION_CODENAME=jammy\n').codename == "jammy"


@pytest.mark.parametrize(
    "text",
    [
        DEBIAN.replace("12", "11"),
        'ID=ubuntu\nVERSION_ID="20.04"\nVERSION_CODENAME=focal\n',
        'ID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora Linux 41"\n',
        "ID=debian\nVERSION_CODENAME=sid\n",
        "",
    ],
)
def test_other_releases_are_refused(text: str) -> None:
    with pytest.raises(LabError, match=r"the lab runs on Debian 12 or newer and Ubuntu 22.04 or newer, not on"):
        read_release(text)


LISTS = [
    ("deb http://a/debian bookworm main contrib", [Source("http://a/debian", "bookworm", ("main", "contrib"))]),
    ("deb [signed-by=/k.gpg arch=amd64] http://a bookworm main # here",
     [Source("http://a", "bookworm", ("main",), (("signed-by", "/k.gpg"), ("arch", "amd64")))]),
    ("# deb http://a bookworm main", []),
    ("deb-src http://a bookworm main", []),
    ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "found"), LISTS)
def test_one_line_sources(text: str, found: list[Source]) -> None:
    assert read_list(text) == found


def test_paragraph_sources() -> None:
    text = """Types: deb deb-src
# a comment
URIs: http://a/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://b
Suites: bookworm
Components: main
Enabled: no
"""
    options = (("signed-by", "/usr/share/keyrings/k.gpg"),)
    assert read_deb822(text) == [
        Source("http://a/debian", suite, ("main", "contrib"), options) for suite in ("bookworm", "bookworm-updates")
    ]


def test_a_source_is_written_for_apt() -> None:
    source = Source("http://a", "bookworm", ("main",), (("signed-by", "/k.gpg"),))
    assert str(source) == "deb [signed-by=/k.gpg] http://a bookworm main"
    assert read_list(str(source)) == [source]


def test_sources_of_other_vendors_are_omitted(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "deb http://mirror/debian bookworm main\ndeb http://mirror/s bookworm-security main\n"
    )
    (tmp_path / "sources.list.d/docker.list").write_text("deb https://docker bookworm stable\n")
    (tmp_path / "sources.list.d/pg.list").write_text("deb https://pg bookworm-pgdg main\n")
    (tmp_path / "sources.list.d/old.list").write_text("deb https://old bullseye main\n")
    (tmp_path / "sources.list.d/backup.save").write_text("deb https://saved bookworm main\n")
    found = machine_sources(BOOKWORM, tmp_path)
    assert [source.uri for source in found] == ["http://mirror/debian", "http://mirror/s"]
    assert main_source(found, BOOKWORM).uri == "http://mirror/debian"


def test_a_machine_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="names no package source of debian bookworm"):
        machine_sources(BOOKWORM, tmp_path)
