"""Convert errors of the YAML parser to messages with what is wrong and what is expected."""

from __future__ import annotations

import yaml

_TEXT = "and quotes around text with special characters"
_MISPLACED = ("this line does not fit the structure of the file", "key: value, with the same indentation for all keys")

# Part of the message of libyaml or PyYAML, our message, and what is expected.
_MEANINGS = (
    ("mapping values are not allowed", "a second ': ' in one value", "quotes around a value that contains ': '"),
    ("could not find expected ':'", "a key without ': '", "key: value"),
    (
        "found undefined alias",
        "an alias (*) without a matching anchor (&) above it",
        "quotes around a value that starts with *",
    ),
    ("found unexpected end of stream", "a quote that is not closed", "the closing quote"),
    ("expected ',' or ']'", "a list in [ ] that is not closed", f"a comma or ], {_TEXT}"),
    ("expected ',' or '}'", "a mapping in { } that is not closed", f"a comma or }}, {_TEXT}"),
    (
        "did not find expected '-' indicator",
        "this line does not belong to the list above",
        "a dash, or different indentation",
    ),
    ("expected <block end>, but found '-'", "a dash outside of a list", "the same indentation for all keys"),
    ("did not find expected key", *_MISPLACED),
    ("expected <block end>", *_MISPLACED),
    ("found unknown escape character", "an unknown escape in double quotes", "single quotes, or \\\\ for a backslash"),
    ("did not find expected <document start>", "text after the end of the document", "--- before another document"),
    ("found undefined tag handle", "a tag with an undeclared prefix", "a tag such as !AWSCluster"),
    ("node content", "a value is missing", "a value, and the closing bracket of the list or mapping"),
    ("found duplicate anchor", "an anchor (&) that is defined twice", "a different name"),
)


def describe(error: yaml.YAMLError, text: str) -> tuple[str, str, int, int]:
    """Describe a syntax error: what is wrong, what was expected (or ""), line and column from 1."""
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "not valid YAML")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return problem, "", 1, 1
    line, column = mark.line, mark.column
    if "cannot start any token" in problem:
        return (*_describe_character(text, line, column), line + 1, column + 1)
    context = getattr(error, "context_mark", None)
    if context is not None and ("end of stream" in problem or "expected ','" in problem):
        line, column = context.line, context.column  # point at the opening quote or bracket, not at the end of the file
    for part, meaning, expected in _MEANINGS:
        if part in problem:
            return meaning, expected, line + 1, column + 1
    return problem, "", line + 1, column + 1


def _describe_character(text: str, line: int, column: int) -> tuple[str, str]:
    lines = text.splitlines()
    character = lines[line][column : column + 1] if line < len(lines) else ""
    if character == "\t":
        return "a tab used for indentation", "spaces"
    return f"a value must not start with {character}", "quotes around it"
