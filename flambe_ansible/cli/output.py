"""The output streams of a command: text for people, and one JSON document for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from flambe_ansible import control_codes
from flambe_ansible.cli.render.words import wrap, wrap_command
from flambe_ansible.cli.starting import Started
from flambe_ansible.events import Event, Notice

PLAIN_WIDTH = 120  # columns if the stream is not a terminal


class PlainConsole(Console):
    """A console without control codes of the text, which may come from a host.

    Lines do not end with blanks, except on a terminal. It raises an error if its stream is closed; rich would exit with
    code 1.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does; only rich's own control codes remain."""
        rendered = super().render(renderable, options)
        segments = (
            Segment(text if control else control_codes.strip(text), style, control) for text, style, control in rendered
        )
        return segments if self.file.isatty() else _trim_lines(segments)

    def on_broken_pipe(self) -> None:
        """Re-raise the error that is being handled."""
        raise


def _trim_lines(segments: Iterable[Segment]) -> Iterable[Segment]:
    """Remove the blanks at the end of lines, which fill the last column of a table; a line without an end is kept."""
    held: list[Segment] = []  # blanks that may be the end of a line
    for text, style, control in segments:
        trimmed = re.sub(r" +(?=\n)", "", text)
        if trimmed.startswith("\n"):
            held.clear()
        shown = trimmed if control else trimmed.rstrip(" ")
        if shown:
            yield from held
            held.clear()
            yield Segment(shown, style, control)
        if shown != trimmed:
            held.append(Segment(trimmed[len(shown) :], style))
    yield from held


def make_console(stream: IO[str]) -> Console:
    """Make a console that prints text unchanged: no markup, no emoji, no highlighting."""
    width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return PlainConsole(file=stream, markup=False, highlight=False, emoji=False, width=width)


def write_output(stream: IO[str], text: str, clean: control_codes.OutputFilter, *, final: bool = False) -> None:
    """Write output of a host: unchanged to a file or pipe, without dangerous control codes to a terminal."""
    stream.write(clean(text, final=final) if stream.isatty() else text)
    stream.flush()


def print_line(console: Console, text: Text) -> None:
    """Print a line: on a terminal it is wrapped at words, elsewhere it stays one line."""
    for line in wrap(console, text) if console.file.isatty() else [text]:
        console.print(line, soft_wrap=True)


def print_command(console: Console, line: Text) -> None:
    """Print a command to paste: on a terminal its lines are continued with a backslash, elsewhere it stays one line."""
    for one in wrap_command(console, line) if console.file.isatty() else [line]:
        console.print(one, soft_wrap=True)


@dataclass
class Output:
    """The two streams of one command."""

    json: bool = False  # print one JSON document on stdout and nothing else
    debug: bool = False  # show the traceback of an error
    command: str = ""  # the command line, as the user can paste it
    next_command: str = ""  # what to run after an error without a hint
    cluster_file: str = ""  # the cluster's configuration, as the user gave it; it replaces CLUSTER in hints
    started: Started = field(default_factory=Started)  # connections to the hosts of the cluster's file
    errors: Console = field(default_factory=lambda: make_console(sys.stderr))
    _stdout: Console = field(default_factory=lambda: make_console(sys.stdout))
    _shown: dict[Notice, None] = field(default_factory=dict)  # in order

    @property
    def console(self) -> Console:
        """The console for text: stdout, or stderr if stdout gets a document."""
        return self.errors if self.json else self._stdout

    @property
    def can_ask(self) -> bool:
        """Whether a terminal is attached that can answer a question."""
        return sys.stdin is not None and sys.stdin.isatty() and self.console.file.isatty()

    @property
    def is_live(self) -> bool:
        """Whether a table can be redrawn in place."""
        return self.console.file.isatty() and self.console.is_interactive

    def say(self, text: object = "", *, style: str | None = None) -> None:
        """Print a line of text."""
        print_line(self.console, Text(str(text), style=style or ""))

    def say_command(self, command: str) -> None:
        """Print a command to paste."""
        print_command(self.console, Text(command))

    def ask(self, question: str) -> bool:
        """Ask a yes-no question. An empty answer and the end of the input mean no."""
        *lines, last = wrap(self.console, Text(f"{question} [y/N]"))
        for line in lines:
            self.console.print(line, soft_wrap=True)
        self.console.print(last, end=" ", soft_wrap=True)
        self.console.file.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def show_notice(self, event: Event, *, console: Console | None = None) -> None:
        """Print a notice, once, on stderr by default. An observer: other events are ignored."""
        if not isinstance(event, Notice) or event in self._shown:
            return
        self._shown[event] = None
        label, style = ("warning: ", "bold yellow") if event.warning else ("note: ", "cyan")
        print_line(console or self.errors, Text.assemble((label, style), event.message))

    @property
    def notices(self) -> list[str]:
        """The notices that were shown."""
        return [notice.message for notice in self._shown]

    def write_document(self, document: Any) -> None:
        """Print the JSON document."""
        text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
        text = re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)  # json escapes those below 0x20
        self._stdout.file.write(text + "\n")
        self._stdout.file.flush()
