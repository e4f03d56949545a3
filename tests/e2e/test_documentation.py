"""The documentation's site: built by its script, and opened in a browser, on a phone and a desktop, light and dark."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import browser

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build/docs/html"
# Elements that a reader of this window cannot see whole: cut at its right edge, without a scroll bar.
CUT = """
[...document.querySelectorAll('article *')].filter(one => {
  if (one.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let up = one; up.tagName != 'ARTICLE'; up = up.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(up).overflowX)) return false;
  return true;
}).map(one => one.outerHTML.slice(0, 120))
"""
NOT_LOADED = "[...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => one.src)"
# The colours of the text and of a link, and the background of the page.
COLOURS = """
[document.querySelector('article p'), document.querySelector('article a'), document.body]
  .map((one, at) => getComputedStyle(one)[at < 2 ? 'color' : 'backgroundColor'])
"""


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    """Build the site as a person does, and open a browser."""
    done = subprocess.run([ROOT / "scripts/docs"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    with browser.start() as opened:
        yield opened


def show(page: browser.Page, name: str, *, width: int, theme: str) -> None:
    page.set_theme(theme)
    page.open(f"file://{SITE}/{name}", width=width)


def test_every_page_fits_a_phone_and_its_pictures_load(page: browser.Page) -> None:
    names = [str(path.relative_to(SITE)) for path in sorted(SITE.rglob("*.html"))]
    assert {"index.html", "commands.html", "roles/ray_node.html", "files/examples/lab.yaml.html"} <= set(names)
    problems: dict[str, Any] = {}
    for name in names:
        show(page, name, width=390, theme="light")
        if found := page.evaluate(CUT) + page.evaluate(NOT_LOADED):
            problems[name] = found
    assert problems == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast_and_the_navigation_is_there(page: browser.Page, theme: str) -> None:
    show(page, "index.html", width=1280, theme=theme)
    text, link, background = (find_luminance(one) for one in page.evaluate(COLOURS))
    assert (background > 0.5) == (theme == "light")
    for colour in (text, link):
        assert (max(colour, background) + 0.05) / (min(colour, background) + 0.05) >= 4.5
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate("document.querySelector('.sidebar-tree a').getBoundingClientRect().left") >= 0
    show(page, "index.html", width=390, theme=theme)
    assert page.evaluate("document.querySelector('.nav-overlay-icon').getBoundingClientRect().width") > 0


def find_luminance(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG defines it: https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
