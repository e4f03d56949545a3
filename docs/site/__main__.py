"""Build the documentation as a site: ``python docs/site FOLDER``; the site is FOLDER/html. scripts/docs calls this."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path

import pages
import reference
from check import find_problems
from sphinx.cmd.build import main as run_sphinx

from flambe_ansible.cli.app import app

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent


def write_sources(folder: Path) -> bool:
    """Write all pages for Sphinx; return whether the folder had pages of an earlier build that are gone."""
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
    further = {"Reference": [(title, name) for name, (title, _) in generated.items()]}
    roles = {"": [(role, f"roles/{role}") for role in sorted(collection["role"])]}
    changes = {
        pages.INDEX: lambda text: text + pages.write_navigation(pages.read_lists(start), further=further),
        "docs/roles.md": lambda text: text + pages.write_navigation(roles, further={}),
        "docs/configuration.md": reference.expand_fields,
        **{
            f"roles/{role}/README.md": partial(reference.add_variables, role=role, spec=spec)
            for role, spec in collection["role"].items()
        },
    }
    for source in made.pages:
        made.copy(source, change=changes.get(source, str))
    for name, (_, text) in generated.items():
        made.write(f"{name}.md", text)
    made.write_shown()
    return made.remove_others()


def main() -> int:
    """Write the sources, run Sphinx, and check all links of the result; return the exit code."""
    folder = Path(sys.argv[1]).resolve()
    sources, html, cache = folder / "source", folder / "html", folder / "cache"
    try:
        if write_sources(sources):
            shutil.rmtree(html, ignore_errors=True)
            shutil.rmtree(cache, ignore_errors=True)
    except pages.PageError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    code = run_sphinx(["-W", "--keep-going", "-q", "-c", str(HERE), "-d", str(cache), str(sources), str(html)])
    if code:
        print("error: a class that is not found belongs in API of docs/site/reference.py", file=sys.stderr)
    problems = find_problems(html) if code == 0 else []
    for line in problems:
        print(line, file=sys.stderr)
    if code or problems:
        shutil.rmtree(cache, ignore_errors=True)  # else the next build would not repeat the warnings
        return 1
    print(f"Built {html / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
