"""Checks of a built site: every link inside it, and what screen readers need."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Page(HTMLParser):
    """What a page links to, and where it can be linked to."""

    path: Path
    links: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    level: int = 0  # of the latest heading

    def __post_init__(self) -> None:
        """Read the page."""
        super().__init__()
        self.feed(self.path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links, the ids, and what screen readers need: texts of pictures, levels of headings."""
        found = dict(attrs)
        self.ids.update(filter(None, (found.get("id"), found.get("name") if tag == "a" else None)))
        self.links += [value for key in ("href", "src") if (value := found.get(key)) and tag != "base"]
        if re.fullmatch("h[1-6]", tag):
            if int(tag[1]) > self.level + 1:
                self.problems.append(f"a heading of level {tag[1]} follows one of level {self.level}")
            self.level = int(tag[1])
        if tag == "img" and not found.get("alt"):
            self.problems.append(f"the picture {found.get('src')} has no text for readers who do not see it")


def find_problems(html: Path) -> list[str]:
    """Return a line for each link inside the site that leads nowhere, and for each other problem of a page."""
    found = {path: Page(path) for path in sorted(html.rglob("*.html"))}
    problems = []
    for page in found.values():
        name = page.path.relative_to(html)
        problems += [f"{name}: {one}" for one in page.problems]
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            if not target.is_file():
                problems.append(f"{name}: the link {link} leads to no file")
            elif parts.fragment and target in found and unquote(parts.fragment) not in found[target].ids:
                problems.append(f"{name}: the link {link} leads to no part of its page")
    return problems
