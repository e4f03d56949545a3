"""JSON Schema (draft 7) of clusters' files for editors, generated from the table of fields.

Editors remove YAML tags before they validate: they compare the mapping with all kinds of clusters. A file's document of
extensions is compared with the same schema, since editors use one for all documents of a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flambe_ansible.validation import rules
from flambe_ansible.validation.reference import as_sentences
from flambe_ansible.validation.schema import Field, Kind, Schema

DRAFT = "http://json-schema.org/draft-07/schema#"
MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}

# The type of a field's value by its kind; a rule adds its limits.
KINDS: Mapping[Kind, Callable[[Field], dict[str, Any]]] = {
    Kind.STRING: lambda _field: TEXT,
    Kind.INTEGER: lambda _field: {"type": "integer"},
    Kind.NUMBER: lambda _field: {"type": "number"},
    Kind.BOOLEAN: lambda _field: {"type": "boolean"},
    Kind.PATH: lambda _field: TEXT,
    Kind.COMMANDS: lambda _field: TEXTS,
    Kind.TAGS: lambda _field: {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
    Kind.ADDRESS: lambda _field: {"anyOf": [TEXT, _pair()]},
    Kind.ADDRESSES: lambda _field: {"type": "array", "items": {"anyOf": [TEXT, _pair()]}, "minItems": 1},
    Kind.PACKAGES: lambda _field: TEXTS,
    Kind.AMOUNTS: lambda _field: {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
    Kind.OPTIONS: lambda field: {"anyOf": [_limit(TEXT, field), describe_fields(field.options)]},
    Kind.HOST_KEYS: lambda _field: {"type": "object", "additionalProperties": {"anyOf": [TEXT, TEXTS]}},
    Kind.ANY: lambda _field: {},
}


def describe_clusters(schemas: Iterable[Schema]) -> dict[str, Any]:
    """Return the JSON Schema of files with these kinds of clusters, and with a document of extensions."""
    named = {one.tag.lstrip("!"): one for one in schemas}
    definitions = {name: {"title": one.tag, **describe_fields(one.fields)} for name, one in named.items()}
    definitions["extensions"] = describe_extensions(unlike=["name"])
    return {
        "$schema": DRAFT,
        "title": "A cluster of flambe-ansible",
        "anyOf": [{"$ref": f"#/definitions/{name}"} for name in definitions],
        "definitions": definitions,
    }


def describe_extensions(*, unlike: Iterable[str]) -> dict[str, Any]:
    """Return the JSON Schema of a document of extensions; a mapping with one of the keys ``unlike`` is none."""
    return {
        "title": "extensions: module name to path, git URL or requirement",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": MODULE, "not": {"enum": list(unlike)}},
        "additionalProperties": TEXT,
    }


def describe_field(field: Field) -> dict[str, Any]:
    """Return the JSON Schema of a field's value.

    Raises:
        KeyError: Its kind has no JSON Schema.
    """
    described = KINDS[field.kind](field)
    if "anyOf" not in described:
        described = _limit(described, field)
    if field.nullable:
        described = {"anyOf": [*described.get("anyOf", [described]), {"type": "null"}]}
    default = {"default": field.default} if field.default is not None and _is_json(field.default) else {}
    return {**described, "description": f"{as_sentences(field)} Expected: {field.expected}.".strip(), **default}


def describe_fields(fields: Iterable[Field]) -> dict[str, Any]:
    """Return the JSON Schema of a mapping of these fields and no others."""
    return {
        "type": "object",
        "properties": {one.name: describe_field(one) for one in fields},
        "required": [one.name for one in fields if one.required],
        "additionalProperties": False,
    }


def _limit(described: Mapping[str, Any], field: Field) -> dict[str, Any]:
    """Add the limits of a field's rule, if it is one of choices, a pattern or a range."""
    match field.rule:
        case rules.Choice(choices):
            return {**described, "enum": list(choices)}
        case rules.Form(pattern):
            return {**described, "pattern": f"^({pattern.pattern})$"}
        case rules.Within(low, high):
            return {**described, "minimum": low, "maximum": high}
    return dict(described)


def _is_json(value: Any) -> bool:
    """Return whether JSON has this value; the default of a custom class can be any object."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _pair() -> dict[str, Any]:
    return {**TEXTS, "minItems": 2, "maxItems": 2}
