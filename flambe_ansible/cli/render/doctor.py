"""The results of checks: one line each, with what to do about it below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from flambe_ansible.cli.render.words import count, wrap
from flambe_ansible.findings import Finding, Level

SCHEMA = 1  # the version of the JSON document
STYLES = {Level.OK: "green", Level.NOTE: "yellow", Level.FAILED: "bold red"}
_INDENT = 8  # the column of the text


def render_finding(console: Console, finding: Finding) -> list[Text]:
    """Write a finding as lines; on a terminal they are wrapped below their text."""
    lines: list[Text] = []
    for row in _list_rows(finding):
        first, *rest = _lay_out(console, f"{row['check']}: {row['message']}")
        lines += [Text.assemble((finding.level.ljust(_INDENT), STYLES[finding.level]), first[_INDENT:]), *rest]
        if row["remedy"]:
            lines += _lay_out(console, f"{'expected' if row['field'] else 'remedy'}: {row['remedy']}")
    return lines


def summarize(findings: Sequence[Finding]) -> Text:
    """Summarize all findings in one line."""
    problems = sum(len(finding.problems) for finding in findings)
    if problems:
        return Text(f"{count(problems, 'problem')}: a launch would fail", style="bold red")
    notes = sum(len(finding.notes) for finding in findings)
    return Text("No problem found" + (f", {count(notes, 'note')}" if notes else ""), style="bold")


def describe_findings(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the documented JSON document."""
    return {
        "schema": SCHEMA,
        "ok": all(finding.level is not Level.FAILED for finding in findings),
        "checks": [{"level": str(finding.level), **row} for finding in findings for row in _list_rows(finding)],
    }


def _list_rows(finding: Finding) -> Iterator[dict[str, str]]:
    """List what a finding has to say: its problems, its notes, or the fact."""
    for problem in finding.problems:
        place = f"{problem.file}:{problem.line}:{problem.column}: " if problem.line else ""
        meant = f"did you mean {problem.suggestion}?" if problem.suggestion else ""
        yield {
            "check": finding.check,
            "message": f"{place}{problem.message}",
            "remedy": "; ".join(filter(None, (problem.expected, meant))),
            "field": problem.field,
        }
    for note in finding.notes:
        yield {"check": finding.check, "message": note, "remedy": finding.remedy, "field": ""}
    if finding.level is Level.OK and finding.fact:
        yield {"check": finding.check, "message": finding.fact, "remedy": "", "field": ""}


def _lay_out(console: Console, text: str) -> list[Text]:
    line = Text(" " * _INDENT + text)
    return wrap(console, line) if console.file.isatty() else [line]
