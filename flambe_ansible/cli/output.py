"""Where the command line writes: people read one stream, programs the other."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from flambe_ansible.events import Event, Notice

PLAIN_WIDTH = 120  # columns if the stream is not a terminal


class PlainConsole(Console):
    """A console that raises an error if its stream is closed; rich would exit with code 1."""

    def on_broken_pipe(self) -> None:
        """Re-raise the error that is being handled."""
        raise  # noqa: PLE0704 - called from rich's except block


def make_console(stream: IO[str]) -> Console:
    """Make a console that prints text unchanged: no markup, no emoji, no highlighting."""
    width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return PlainConsole(file=stream, markup=False, highlight=False, emoji=False, width=width)


@dataclass
class Output:
    """The two streams of one command.

    Attributes:
        json: Whether stdout gets one JSON document and nothing else.
        debug: Whether errors show their traceback.
        next_command: What to run after an error that does not know better, or "".
    """

    json: bool = False
    debug: bool = False
    next_command: str = ""
    command: str = ""
    errors: Console = field(default_factory=lambda: make_console(sys.stderr))
    _stdout: Console = field(default_factory=lambda: make_console(sys.stdout))
    _heard: list[Notice] = field(default_factory=list)

    @property
    def console(self) -> Console:
        """The console that people read: stdout, or stderr where stdout belongs to a document."""
        return self.errors if self.json else self._stdout

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer a question."""
        return sys.stdin is not None and sys.stdin.isatty() and self.console.file.isatty()

    @property
    def is_live(self) -> bool:
        """Whether a table can be redrawn in place."""
        return self.console.file.isatty() and self.console.is_interactive

    def say(self, text: object = "", *, style: str | None = None) -> None:
        """Print a line for people; long lines stay one line."""
        self.console.print(text, style=style, soft_wrap=True)

    def ask(self, question: str) -> bool:
        """Ask a yes-no question; no is the default, and what the end of the input means."""
        self.console.print(f"{question} [y/N] ", end="", soft_wrap=True)
        self.console.file.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def hear(self, event: Event, *, console: Console | None = None) -> None:
        """Be the observer that shows what the user should read, once, and nothing else; on stderr by default."""
        if not isinstance(event, Notice) or event in self._heard:
            return
        self._heard.append(event)
        label, style = ("warning: ", "bold yellow") if event.warning else ("note: ", "cyan")
        (console or self.errors).print(Text.assemble((label, style), event.message), soft_wrap=True)

    @property
    def notices(self) -> list[str]:
        """What the user was told."""
        return [notice.message for notice in self._heard]

    def write_document(self, document: Any) -> None:
        """Print the one JSON document."""
        text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
        self._stdout.file.write(text + "\n")
        self._stdout.file.flush()
