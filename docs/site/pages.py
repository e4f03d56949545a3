"""The pages that exist as files: their copies for Sphinx, with links that lead to other pages of the site.

The files are written for a git host, which shows them in their folders. On the site ``docs/README.md`` is the start
page, whose lists are also the navigation; a role's README is its page, and other files that a page links to are shown
as code.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

INDEX = "docs/README.md"
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
_PICTURES = (".png", ".svg")
_FENCE = re.compile(r"\s*(```+|~~~+)")
_ITEM = re.compile(r"- \[([^\]]+)\]\(([^)]+)\)")
_LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".py": "python", ".ini": "ini", ".json": "json", ".toml": "toml"}
_GENERATED = ("__pycache__", "build", "dist")


class PageError(Exception):
    """A page cannot be made from a file; the message has the file and the remedy."""


@dataclass
class Pages:
    """The pages of the site by the files of the repository.

    Attributes:
        repo: The root of the repository.
        folder: Where Sphinx reads them.
        pages: The path of a page in ``folder``, by the path of its file in ``repo``.
        shown: The same for files and folders that are linked, and are shown as code.
        written: The pages that this build has written.
    """

    repo: Path
    folder: Path
    pages: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    written: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Find the files that are pages."""
        docs = {f"docs/{path.name}": path.name for path in (self.repo / "docs").glob("*.md")}
        roles = {
            f"roles/{path.parent.name}/README.md": f"roles/{path.parent.name}.md"
            for path in (self.repo / "roles").glob("*/README.md")
        }
        self.pages = {**docs, **roles, INDEX: "index.md", "CHANGELOG.md": "changelog.md"}

    def write(self, page: str, text: str) -> None:
        """Write a page, unless it is the same: Sphinx reads again what is newer."""
        path = self.folder / page
        self.written.add(path)
        if not path.is_file() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def copy(self, source: str, *, change: Callable[[str], str] = str) -> None:
        """Write the page of a file, with its links changed, and then its text."""
        self.write(self.pages[source], change(self.relink((self.repo / source).read_text(), source)))

    def remove_others(self) -> bool:
        """Remove the pages of earlier builds that this one did not write; return whether there were any."""
        others = set(self.folder.rglob("*.md")) - self.written
        for path in others:
            path.unlink()
        return bool(others)

    def relink(self, text: str, source: str) -> str:
        """Return the text of a file with links that are right for its page; code is unchanged.

        Raises:
            PageError: A link leads to a file that does not exist.
        """
        lines, fence = [], ""
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            mark = _FENCE.match(line)
            if mark and (not fence or mark[1].startswith(fence)):
                fence = "" if fence else mark[1]
            code = fence or mark or line.startswith("    ")
            change = partial(self._relink, source=source, line=number)
            lines.append(line if code else _LINK.sub(change, line))
        return "".join(lines)

    def _relink(self, link: re.Match[str], *, source: str, line: int) -> str:
        target, anchor = link[1], link[2] or ""
        if ":" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (self.repo / path).exists():
            raise PageError(f"{source}:{line}: the link {target} leads to {path}, which does not exist")
        page = self.pages.get(path) or self._show(path)
        return f"]({posixpath.relpath(page, posixpath.dirname(self.pages[source]) or '.')}{anchor})"

    def _show(self, path: str) -> str:
        """Return the page that shows a file or a folder of the repository, or the copy of a picture."""
        if not path.endswith(_PICTURES):
            self.shown[path] = f"files/{path}.md"
            return self.shown[path]
        target = self.folder / "pictures" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.repo / path, target)
        return f"pictures/{path}"

    def write_shown(self) -> None:
        """Write the pages of linked files and folders."""
        for path, page in self.shown.items():
            here = self.repo / path
            files = [one for one in sorted(here.rglob("*")) if one.is_file()] if here.is_dir() else [here]
            parts = [f"---\norphan: true\n---\n# `{path}`\n"]
            for one in files:
                folders = one.relative_to(self.repo).parts
                if any(part in _GENERATED or part.endswith(".egg-info") for part in folders):
                    continue
                heading = f"\n## `{one.relative_to(here)}`\n" if here.is_dir() else ""
                parts.append(f"{heading}\n````{_LANGUAGES.get(one.suffix, 'text')}\n{one.read_text()}````\n")
            self.write(page, "".join(parts))


def read_lists(text: str) -> dict[str, list[tuple[str, str]]]:
    """Return the lists of the start page: heading -> (title, link) of each item."""
    lists: dict[str, list[tuple[str, str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif item := _ITEM.match(line):
            lists.setdefault(heading, []).append((item[1], item[2]))
    return lists


def check_lists(text: str, names: list[str]) -> None:
    """Check that each page of ``docs/`` is once in the lists of the start page.

    Raises:
        PageError: A page is missing, or is there twice.
    """
    listed = [link for items in read_lists(text).values() for _, link in items]
    for name in names:
        if listed.count(name) != 1:
            count = "in two lists" if name in listed else "in none of the lists"
            raise PageError(
                f"docs/{name} is {count} of {INDEX}; one has to have it, as `- [Title]({name}): what it has`"
            )


def write_navigation(lists: dict[str, list[tuple[str, str]]], *, further: dict[str, list[tuple[str, str]]]) -> str:
    """Return the lists of the start page as Sphinx's navigation; ``further`` pages follow those of their heading."""
    parts = []
    for heading, items in lists.items():
        shown = [*items, *further.get(heading, [])]
        lines = [f"{title.replace('`', '')} <{_strip(link)}>" for title, link in shown]
        caption = f":caption: {heading}\n" if heading else ""
        parts.append("\n```{toctree}\n:hidden:\n" + caption + "\n" + "\n".join(lines) + "\n```\n")
    return "".join(parts)


def _strip(link: str) -> str:
    """Return the name of the page of a link, as Sphinx writes it."""
    return "changelog" if link == "../CHANGELOG.md" else link.removesuffix(".md")
