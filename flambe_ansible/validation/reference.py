"""Write the fields of a cluster as the tables of the documentation."""

from __future__ import annotations

import json
import re

from flambe_ansible.validation.schema import Field, Schema

_LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")  # to another page of docs/
HEADER = ("Field", "Default", "Allowed values", "Meaning", "If changed on a running cluster")


def as_text(schema: Schema) -> str:
    """Return a schema's fields as a Markdown table between the marks that delimit it in the documentation."""
    rows = [HEADER, ("---",) * len(HEADER)]
    for one in schema.fields:
        rows += [_as_row(one), *(_as_row(option, prefix=f"{one.name}.") for option in one.options)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    name = schema.tag.lstrip("!")
    return f"<!-- fields of {name} -->\n{table}<!-- end of {name} -->"


def as_sentences(field: Field) -> str:
    """Return what a field means, and how its default is determined, as text without Markdown."""
    note = f" Default: {field.default_note}." if field.default is None and field.default_note else ""
    return _LINK.sub(r"docs/\1", field.doc + note).replace("`", "")


def _as_row(field: Field, prefix: str = "") -> tuple[str, ...]:
    change = f"{field.change}: {field.change_note}" if field.change_note else str(field.change)
    return (f"`{prefix}{field.name}`", _describe_default(field), field.expected, field.doc, change)


def _describe_default(field: Field) -> str:
    if field.required:
        return "*required*"
    if field.default is not None:
        return f"`{json.dumps(field.default)}`"
    return field.default_note or "none"
