"""pip's configuration, translated for uv."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import pip_config


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".pip").mkdir()
    return tmp_path


def options(home: Path, environ: dict[str, str] | None = None) -> dict[str, str]:
    found: dict[str, str] = pip_config.read(str(home), {"PIP_CONFIG_FILE": str(home / "given.conf"), **(environ or {})})
    return found


def test_later_sources_take_precedence(home: Path) -> None:
    (home / ".pip/pip.conf").write_text(
        "[global]\nindex-url = https://one/simple\nextra-index-url = https://x/simple\n"
    )
    (home / ".config/pip/pip.conf").write_text("[install]\nindex_url = https://two/simple\n")
    assert options(home)["index-url"] == "https://two/simple"
    assert options(home)["extra-index-url"] == "https://x/simple"
    (home / "given.conf").write_text("[global]\nindex-url = https://three/simple\n")
    assert options(home)["index-url"] == "https://three/simple"
    assert options(home, {"PIP_INDEX_URL": "https://four/simple"})["index-url"] == "https://four/simple"


def test_percent_signs_and_broken_files(home: Path) -> None:
    (home / ".pip/pip.conf").write_text("[global]\nindex-url = https://u:p%40ss@one/simple\n")
    (home / ".config/pip/pip.conf").write_text("not an ini file\n")
    assert options(home)["index-url"] == "https://u:p%40ss@one/simple"
    assert pip_config.passwords(options(home)) == ["p%40ss", "p@ss"]


def test_uv_toml(tmp_path: Path) -> None:
    text = pip_config.uv_toml(
        {
            "index-url": "https://u:p@one/simple",
            "extra-index-url": f"https://two/simple\nfile://{tmp_path}/missing",
            "find-links": f"{tmp_path} {tmp_path}/missing",
            "trusted-host": "one two:8080",
        }
    )
    assert tomllib.loads(text) == {
        "find-links": [str(tmp_path)],
        "index-strategy": "unsafe-best-match",
        "allow-insecure-host": ["one", "two:8080"],
        "index": [{"url": "https://u:p@one/simple", "default": True}, {"url": "https://two/simple"}],
    }


def test_uv_toml_without_an_index() -> None:
    assert tomllib.loads(pip_config.uv_toml({"no-index": "yes", "index-url": "https://one"})) == {"no-index": True}
    assert pip_config.uv_toml({}) == ""


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ('cache-dir = "/c"\nlink-mode = "copy"\n', {}, False),
        ('index-url = "https://one"\n', {}, True),
        ('[[index]]\nurl = "https://one"\n', {}, True),
        ('[pip]\nextra-index-url = ["https://one"]\n', {}, True),
        ("", {"UV_DEFAULT_INDEX": "https://one"}, True),
    ],
)
def test_uv_has_index(home: Path, toml: str, environ: dict[str, str], expected: bool) -> None:
    (home / ".config/uv").mkdir()
    (home / ".config/uv/uv.toml").write_text(toml)
    # /etc/uv/uv.toml of this machine is read, too.
    if Path("/etc/uv/uv.toml").exists():
        expected = True
    assert pip_config.uv_has_index(str(home), environ) is expected


def test_indexes() -> None:
    assert pip_config.indexes({}) == ["https://pypi.org/simple"]
    assert pip_config.indexes({"index-url": "https://a", "extra-index-url": "https://b"}) == ["https://a", "https://b"]
    assert pip_config.indexes({"no-index": "true", "extra-index-url": "https://b"}) == ["https://b"]
