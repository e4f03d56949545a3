"""A commented file of a cluster, written from the table of its fields."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from flambe_ansible.validation import Field, Schema
from flambe_ansible.validation.reference import as_sentences

SCHEMA_FILE = "cluster.schema.json"  # written by `flambe-ans schema`
EDITOR_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}"
WIDTH = 110
_PLAIN = re.compile(r"[A-Za-z0-9~/][A-Za-z0-9@._/~+-]*")


def write_template(schema: Schema, values: Mapping[str, Any], *, head: Sequence[str] = ()) -> str:
    """Write a cluster's file: the given fields with their values, and all others as comments with their defaults.

    Args:
        schema: The fields.
        values: The values of fields, by name.
        head: Lines of the comment at the top.
    """
    given = [one for one in schema.fields if one.name in values]
    others = [one for one in schema.fields if one.name not in values]
    blocks = [
        "".join(f"# {line}".rstrip() + "\n" for line in head) + f"{EDITOR_LINE}\n",
        f"{schema.tag}\n",
        *(f"{_describe(one)}{one.name}: {write_value(values[one.name])}\n" for one in given),
        "# The other fields, with their defaults or what they may be. Remove the # to set one.\n",
        *(_describe(one) + _write_comment(one) for one in others),
    ]
    return "\n".join(blocks)


def write_value(value: Any) -> str:
    """Write plain data as YAML on one line; text is only quoted if it must be."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(write_value, value))}]"
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, ensure_ascii=False)


def _describe(field: Field) -> str:
    """Write what a field means as a comment."""
    lines = textwrap.wrap(as_sentences(field), WIDTH, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _write_comment(field: Field) -> str:
    """Write a field that is not set, and its options."""
    value = "" if field.default is None else f" {write_value(field.default)}"
    lines = [f"# {field.name}:{value}  # {field.expected}"]
    lines += [f"#   {option.name}:  # {option.expected}" for option in field.options]
    return "\n".join(lines) + "\n"
