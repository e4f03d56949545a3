"""Text from hosts on a terminal and in files."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.output import Output, make_console, write_output
from flambe_ansible.control_codes import OutputFilter

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
COLOUR = "\x1b[31mred\x1b[0m"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_messages_and_tables_have_no_control_codes_of_their_text(stream: io.StringIO) -> None:
    table = Table("name")
    table.add_row(f"job{CLIPBOARD}\x9b6n")
    console = make_console(stream)
    console.print(table)
    console.print(Text(f"failed: {CLIPBOARD}{COLOUR}", style="bold"))
    text = stream.getvalue()
    assert not [code for code in ("\x1b]", "\x9b", "\x1b[31m") if code in text]
    assert "failed: " in text
    assert "red" in text
    assert "job" in text


def test_output_of_a_host_is_unchanged_in_a_file_and_harmless_on_a_terminal() -> None:
    file, terminal = io.StringIO(), Terminal()
    for stream in (file, terminal):
        write_output(stream, f"{CLIPBOARD}{COLOUR}\n", OutputFilter())
    assert file.getvalue() == f"{CLIPBOARD}{COLOUR}\n"
    assert terminal.getvalue() == f"{COLOUR}\n"


def test_a_document_has_no_control_codes(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=True).write_document({"name": f"{CLIPBOARD}\x9b6n ü"})
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == {"name": f"{CLIPBOARD}\x9b6n ü"}
