"""Build the documentation as a site: ``python docs/site FOLDER``; the site is FOLDER/html. scripts/docs calls this."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pages
import reference
from check import find_broken_links
from sphinx.cmd.build import main as run_sphinx

from flambe_ansible.cli.app import app

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent


def write_sources(folder: Path) -> None:
    """Write all pages for Sphinx; those of files that are gone are removed."""
    made = pages.Pages(REPO, folder)
    start = (REPO / pages.INDEX).read_text()
    names = sorted(path.name for path in (REPO / "docs").glob("*.md") if path.name != "README.md")
    pages.check_lists(start, names)
    collection = reference.read_collection(REPO)
    generated = {
        "commands": ("Commands and options", reference.write_commands(app)),
        "python": ("Python classes", reference.write_python()),
        "modules": ("Modules and plugins", reference.write_plugins(collection)),
    }
    for name, (_, text) in generated.items():
        made.write(f"{name}.md", text)
    further = {"Reference": [(title, name) for name, (title, _) in generated.items()]}
    made.copy(pages.INDEX, extra=pages.write_navigation(pages.read_lists(start), further=further))
    roles = sorted(made.pages[source] for source in made.pages if source.startswith("roles/"))
    made.copy("docs/roles.md", extra=pages.write_navigation({"": [(Path(one).stem, one) for one in roles]}, further={}))
    for name in names:
        if name != "roles.md":
            made.copy(f"docs/{name}")
    made.copy("CHANGELOG.md")
    for role in collection["role"]:
        source = f"roles/{role}/README.md"
        text = made.relink((REPO / source).read_text(), source)
        made.write(made.pages[source], reference.add_variables(text, collection["role"][role]))
    made.write_shown()


def main() -> int:
    """Write the sources, run Sphinx, and check all links of the result; return the exit code."""
    folder = Path(sys.argv[1]).resolve()
    sources, html, cache = folder / "source", folder / "html", folder / "cache"
    try:
        write_sources(sources)
    except pages.PageError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    code = run_sphinx(["-W", "--keep-going", "-n", "-q", "-c", str(HERE), "-d", str(cache), str(sources), str(html)])
    broken = find_broken_links(html) if code == 0 else []
    for line in broken:
        print(line, file=sys.stderr)
    if code or broken:
        shutil.rmtree(cache, ignore_errors=True)  # else the next build would not repeat the warnings
        return 1
    print(f"Built {html / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
