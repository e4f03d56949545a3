"""Check values against a schema."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.validation.schema import Field, Flaw, Kind, Schema, clean, format_path, show, suggest

KINDS: dict[Kind, tuple[type, ...]] = {
    Kind.STRING: (str,),
    Kind.INTEGER: (int, float),
    Kind.NUMBER: (int, float),
    Kind.BOOLEAN: (bool,),
    Kind.PATH: (str, os.PathLike),
    Kind.COMMANDS: (list, tuple),
    Kind.TAGS: (dict, Mapping),
    Kind.ADDRESS: (str, list, tuple),
    Kind.ADDRESSES: (list, tuple),
    Kind.HOST_KEYS: (dict, Mapping),
    Kind.PACKAGES: (list, tuple),
    Kind.AMOUNTS: (dict, Mapping),
    Kind.OPTIONS: (str, dict, Mapping),
    Kind.ANY: (object,),
}


def check_arguments(schema: Schema, values: Mapping[str, Any], *, also: Collection[Field] = ()) -> dict[str, Any]:
    """Check a constructor's arguments; arguments that are not in the schema are ignored.

    The fields in ``also`` replace those of the schema with the same name, for subclasses. Whole numbers are returned as
    int (``volume_size=100.`` becomes 100). ``ClusterConfigurationError`` holds all problems, each with its field.
    """
    fields = schema.by_name | {one.name: one for one in also}
    known = {name: value for name, value in values.items() if name in fields}
    flaws = find_flaws(replace(schema, fields=tuple(fields.values())), known)
    if flaws:
        raise ClusterConfigurationError.of([as_problem(flaw, file=schema.tag.lstrip("!")) for flaw in flaws])
    return {**values, **{name: normalize(fields[name], value) for name, value in known.items()}}


def find_flaws(schema: Schema, values: Mapping[str, Any], *, invalid: Collection[str] = ()) -> list[Flaw]:
    """Find all flaws in the values of a schema's fields; rules that need an ``invalid`` field are skipped."""
    flaws: list[Flaw] = []
    wrong = set(invalid)
    right = {one.name: one.default for one in schema.fields if not one.required}
    for one in schema.fields:
        replaced = values.get(schema.instead.get(one.name, "")) is not None and values.get(one.name) is None
        if one.name in wrong or one.name not in values or replaced:
            continue
        found = check_field(one, values[one.name])
        flaws.extend(found)
        right[one.name] = normalize(one, values[one.name]) if not found else None
        wrong.update([one.name] if found else [])
    for rule in schema.cross_rules:
        read = (*rule.needs, *rule.reads)
        if not wrong.intersection(read) and all(right.get(name) is not None for name in rule.needs):
            flaws.extend(_complete(schema.by_name[str(flaw.path[0])], flaw, prefix=()) for flaw in rule.check(right))
    return flaws


def check_field(field: Field, value: Any) -> list[Flaw]:
    """Check a value by its field's kind and rule."""
    if value is None:
        flaws = [] if field.nullable else [Flaw(message="has no value")]
    else:
        flaws = _check_kind(field, value) or _check_options(field, value) or field.rule(value)
    return [_complete(field, flaw, prefix=(field.name,)) for flaw in flaws]


def normalize(field: Field, value: Any) -> Any:
    """Convert a valid number to its field's type: int for whole numbers, float for other numbers."""
    if value is None or field.kind not in (Kind.INTEGER, Kind.NUMBER):
        return value
    return int(value) if field.kind is Kind.INTEGER else float(value)


def as_problem(flaw: Flaw, *, file: str, line: int = 0, column: int = 0) -> Problem:
    """Convert a flaw to a problem of a file or a class."""
    path = format_path(flaw.path)
    return Problem(
        file=file,
        line=line,
        column=column,
        message=clean(f"{path} {flaw.message}" if path else flaw.message),
        expected=clean(flaw.expected),
        suggestion=clean(flaw.suggestion),
        field=path,
    )


def _check_options(field: Field, value: Any) -> list[Flaw]:
    """Check the keys and values of a mapping of options."""
    if field.kind is not Kind.OPTIONS or isinstance(value, str):
        return []
    known = {one.name: one for one in field.options}
    flaws = []
    for name, content in value.items():
        if name in known:
            flaws += check_field(known[name], content)
        else:
            meant = suggest(str(name), known)
            expected = "" if meant else f"one of {', '.join(known)}"
            flaws.append(
                Flaw(message="is unknown", expected=expected, suggestion=meant, path=(str(name),), at_key=True)
            )
    return flaws


def _check_kind(field: Field, value: Any) -> list[Flaw]:
    number = field.kind in (Kind.INTEGER, Kind.NUMBER)
    if not isinstance(value, KINDS[field.kind]) or (number and isinstance(value, bool)):
        shown = show(value) if field.kind is not Kind.COMMANDS else f"a {type(value).__name__}"
        return [Flaw(message=f"is {shown}")]
    if field.kind is Kind.INTEGER and isinstance(value, float) and not value.is_integer():
        return [Flaw(message=f"is {value}")]
    return []


def _complete(field: Field, flaw: Flaw, *, prefix: tuple[str | int, ...]) -> Flaw:
    return replace(flaw, path=prefix + flaw.path, expected=flaw.expected or field.expected)
