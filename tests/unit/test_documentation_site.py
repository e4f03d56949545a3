"""The documentation's site: its pages, links and lists, and what is generated; Sphinx itself runs in scripts/docs."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from flambe_ansible.cli.app import COMMANDS, app
from flambe_ansible.validation import AWS_CLUSTER

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> Any:
    """Import the modules of docs/site, which are no package."""
    sys.path.insert(0, str(ROOT / "docs/site"))
    yield lambda name: importlib.import_module(name)
    sys.path.remove(str(ROOT / "docs/site"))
    for name in ("pages", "reference", "check"):
        sys.modules.pop(name, None)


@pytest.fixture
def pages(site: Any) -> ModuleType:
    return site("pages")


@pytest.fixture
def reference(site: Any) -> ModuleType:
    return site("reference")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Return a repository with a page, a role, an example and a picture."""
    for name, text in {
        "docs/README.md": "# Start\n\n## Use\n\n- [Cloud](cloud.md): it\n",
        "docs/cloud.md": "# Cloud\n",
        "docs/one.png": "",
        "roles/keys/README.md": "# keys\n",
        "examples/a.yaml": "name: a\n",
        "CHANGELOG.md": "# Changelog\n",
    }.items():
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_text(text)
    return tmp_path / "repo"


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("docs/cloud.md", "[k](../roles/keys/README.md#x)", "[k](roles/keys.md#x)"),
        ("roles/keys/README.md", "[c](../../docs/cloud.md)", "[c](../cloud.md)"),
        ("roles/keys/README.md", "[c](../../docs/README.md)", "[c](../index.md)"),
        ("docs/cloud.md", "[e](../examples/a.yaml)", "[e](files/examples/a.yaml.md)"),
        ("docs/cloud.md", "[two\nlines](../roles/keys/README.md)", "[two\nlines](roles/keys.md)"),
        ("docs/cloud.md", "![p](one.png)", "![p](pictures/docs/one.png)"),
        ("docs/cloud.md", "[w](https://example.com/a.md) [h](#part)", "[w](https://example.com/a.md) [h](#part)"),
        ("docs/cloud.md", "```\n[x](gone.md)\n```\n    [y](gone.md)\n", "```\n[x](gone.md)\n```\n    [y](gone.md)\n"),
    ],
)
def test_links_lead_to_pages(pages: ModuleType, repo: Path, source: str, text: str, expected: str) -> None:
    assert pages.Pages(repo, repo.parent / "out").relink(text, source) == expected


def test_a_link_to_nothing_is_named_with_its_line(pages: ModuleType, repo: Path) -> None:
    with pytest.raises(pages.PageError, match=r"^docs/cloud.md:3: the link gone.md leads to docs/gone.md, which"):
        pages.Pages(repo, repo.parent / "out").relink("# A\n\n[b](gone.md)\n", "docs/cloud.md")


def test_linked_files_are_shown_and_old_pages_are_removed(pages: ModuleType, repo: Path) -> None:
    out = repo.parent / "out"
    out.mkdir()
    (out / "old.md").touch()
    made = pages.Pages(repo, out)
    made.relink("[e](../examples/a.yaml) [f](../examples)", "docs/cloud.md")
    made.write_shown()
    assert made.remove_others()
    assert not made.remove_others()
    assert (out / "files/examples/a.yaml.md").read_text().endswith("# `examples/a.yaml`\n\n````yaml\nname: a\n````\n")
    assert "## `a.yaml`" in (out / "files/examples.md").read_text()
    assert not (out / "old.md").exists()


def test_a_page_in_no_list_is_named_with_the_line_to_add(pages: ModuleType) -> None:
    start = "## Use\n\n- [Cloud](cloud.md): it\n"
    pages.check_lists(start, ["cloud.md"])
    with pytest.raises(pages.PageError, match=r"docs/new.md is in none of the lists of docs/README.md; .*\]\(new.md\)"):
        pages.check_lists(start, ["cloud.md", "new.md"])


def test_every_page_is_in_one_list(pages: ModuleType) -> None:
    names = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    pages.check_lists((ROOT / pages.INDEX).read_text(), names)


def test_links_of_all_pages_and_of_the_readme_exist(pages: ModuleType, tmp_path: Path) -> None:
    made = pages.Pages(ROOT, tmp_path)
    made.pages["README.md"] = "readme.md"
    for source in made.pages:
        made.relink((ROOT / source).read_text(), source)
    assert len(made.pages) > 30


def test_the_commands_are_those_of_the_help(reference: ModuleType) -> None:
    text = reference.write_commands(app)
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert {heading.split()[1] for heading in headings} == set(COMMANDS)
    launch = text.partition("## flambe-ans launch\n")[2].partition("\n## ")[0]
    assert "```text\nflambe-ans launch [OPTIONS] CLUSTER\n```" in launch
    assert "| `-y, --yes` | Do not ask for confirmation. |" in launch
    assert "| `-h, --help` | Show this message and exit. |" in launch
    assert "$ flambe-ans launch cluster.yaml" in launch


def test_roles_and_modules_have_all_their_options(reference: ModuleType) -> None:
    collection = reference.read_collection(ROOT)
    assert set(collection["role"]) == {path.parent.name for path in (ROOT / "roles").glob("*/README.md")}
    for role, spec in collection["role"].items():
        text = reference.add_variables((ROOT / f"roles/{role}/README.md").read_text(), role=role, spec=spec)
        options = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
        assert set(re.findall(r"^`(\w+)` \(", text, re.MULTILINE)) == set(options["options"])
        assert "| variable |" not in text
    plugins = reference.write_plugins(collection)
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    assert modules <= set(re.findall(r"^### (\w+)$", plugins, re.MULTILINE))
    assert not re.search(r"\b[A-Z]\(\w", plugins)  # Ansible's markup


def test_a_readme_without_its_table_is_refused(pages: ModuleType, reference: ModuleType) -> None:
    with pytest.raises(pages.PageError, match=r"roles/keys/README.md has 0 tables that start with .* not one"):
        reference.add_variables("# keys\n", role="keys", spec={"entry_points": {"main": {"options": {}}}})


def test_the_fields_are_those_of_the_table(reference: ModuleType) -> None:
    text = reference.expand_fields((ROOT / "docs/configuration.md").read_text())
    assert "| Field |" not in text
    for field in AWS_CLUSTER.fields:
        assert f"\n`{field.name}`\n: {field.doc}\n" in text


def test_text_of_others_is_escaped(reference: ModuleType) -> None:
    assert reference.escape("a `b_c` <d> *e* [f]") == r"a `b_c` \<d\> \*e\* \[f\]"
    assert reference.write_table(("a", "b"), [("x|y", "1\n2")]).splitlines()[2] == r"| x\|y | 1 2 |"


def test_broken_links_and_what_screen_readers_miss_are_found(site: Any, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#part">1</a><a href="b.html#gone">2</a><a href="c.html">3</a>'
        '<a href="#top">4</a><a href="https://example.com/x">5</a><img src="p.png" alt="P"><img src="p.png"><h3>B</h3>'
    )
    (tmp_path / "b.html").write_text('<p id="part">B</p>')
    (tmp_path / "p.png").touch()
    assert site("check").find_problems(tmp_path) == [
        "a.html: the picture p.png has no text for readers who do not see it",
        "a.html: a heading of level 3 follows one of level 1",
        "a.html: the link b.html#gone leads to no part of its page",
        "a.html: the link c.html leads to no file",
    ]
