"""The commands in the documentation: each is accepted by the parser of its command."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click
from click.testing import CliRunner

from flambe_ansible.cli.app import COMMANDS, app
from flambe_ansible.cli.output import Output

ROOT = Path(__file__).parents[3]
PAGES = [*(ROOT / "docs").glob("*.md"), *(ROOT / "roles").glob("*/README.md"), ROOT / "README.md"]
COMMAND = re.compile(r"\s*(?:\$ )?(?:sudo )?(?:[\w~./-]*/)?(flambe-ans [a-z].*)")
END = re.compile(r"\s+#.*| (?:[>|;]|&&|2>).*")  # a comment, or a further command of the shell


def find_commands(text: str) -> Iterator[tuple[int, str]]:
    """Yield the commands in the blocks of code of a page, with their lines."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*```", line):
            fenced = not fenced
        elif (fenced or line.startswith("    ")) and (found := COMMAND.fullmatch(line)):
            yield number, END.sub("", found[1])


def parse(command: str) -> str:
    """Return what the parser does not accept, or ""."""
    found: click.Command = app
    parent = click.Context(app, info_name="flambe-ans", obj=Output(), **app.context_settings)
    name, *words = shlex.split(command)
    while isinstance(found, click.Group) and words:
        name = words.pop(0)
        child = found.get_command(parent, name)
        if child is None:
            return f"no command {name}"
        found = child
    try:
        found.make_context(name, words, parent=parent)
    except click.exceptions.Exit:  # --help
        return ""
    except click.UsageError as e:
        return e.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_are_accepted(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("aws-policy.json", "flambe_ansible/ec2/aws-policy.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    commands = [one for one in find_commands(page.read_text()) if "COMMAND" not in one[1]]
    refused = {f"{page.name}:{line}: {command}": problem for line, command in commands if (problem := parse(command))}
    assert refused == {}


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("flambe-ans lunch cluster.yaml", "no command lunch"),
        ("flambe-ans launch cluster.yaml --yess", "No such option"),
        ("flambe-ans launch", "Missing argument"),
        ("flambe-ans lab fault remove", "no command remove"),
    ],
)
def test_a_wrong_command_is_found(command: str, problem: str) -> None:
    assert problem in parse(command)
    assert list(find_commands(f"# A\n\n    $ sudo {command}   # text\n")) == [(3, command)]


def list_commands(command: click.Command, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and all commands below it, with their names."""
    yield " ".join(names), command
    for name, below in (command.commands if isinstance(command, click.Group) else {}).items():
        yield from list_commands(below, *names, name)


@pytest.mark.parametrize(("name", "command"), [pytest.param(*one, id=one[0] or "all") for one in list_commands(app)])
def test_the_examples_of_a_help_text_are_one_line_in_a_narrow_terminal(name: str, command: click.Command) -> None:
    done = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80"}, catch_exceptions=False)
    lines = [line.strip() for line in done.output.splitlines()]
    assert max(map(len, lines)) <= 80
    examples = [one for one in (command.epilog or "").split("\n\n") if one.startswith("$ ")]
    assert examples
    assert [one for one in examples if one not in lines] == []


def find(words: list[str]) -> click.Command:
    """Return the command that is called by these words."""
    found: click.Command = app
    for word in words:
        assert isinstance(found, click.Group)
        child = found.get_command(click.Context(found), word)
        assert child is not None, word
        found = child
    return found


def test_the_table_of_commands_has_all_of_them_with_their_options() -> None:
    table = (ROOT / "docs/cli.md").read_text().partition("\n## Commands\n")[2].partition("\n\n`doctor`")[0]
    rows = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    named = {}
    for row in rows:
        words = list(itertools.takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]*", word), row.split()))
        named[" ".join(words)] = find(words)
        options = {name for one in named[" ".join(words)].params for name in one.opts}
        assert set(re.findall(r"--[a-z-]{2,}", row)) <= options, row
    assert {words.split()[0] for words in named} == set(COMMANDS)
