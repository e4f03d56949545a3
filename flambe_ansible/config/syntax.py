"""What the YAML parser says, in words that tell what to write instead."""

from __future__ import annotations

import yaml

_TEXT = "and quotes around text with special characters"

# A part of libyaml's (or PyYAML's) message, what it means, what would be right.
_MEANINGS = (
    ("mapping values are not allowed", "a second ': ' in one value", "quotes around a value that contains ': '"),
    ("could not find expected ':'", "a key without ': '", "key: value"),
    ("found undefined alias", "an alias (*) without its anchor (&) above", "quotes around a value that begins with *"),
    ("found unexpected end of stream", "a quote that is not closed", "the closing quote"),
    ("did not find expected ',' or ']'", "a list in [ ] that is not closed", f"a comma or ], {_TEXT}"),
    ("expected ',' or ']'", "a list in [ ] that is not closed", f"a comma or ], {_TEXT}"),
    ("did not find expected ',' or '}'", "a mapping in { } that is not closed", f"a comma or }}, {_TEXT}"),
    ("expected ',' or '}'", "a mapping in { } that is not closed", f"a comma or }}, {_TEXT}"),
    ("did not find expected '-' indicator", "a line that does not belong to this list", "a dash, or other indentation"),
    ("expected <block end>, but found '-'", "a dash where no list is", "the same indentation for all keys"),
    (
        "did not find expected key",
        "a line that does not fit here",
        "key: value, with the same indentation for all keys",
    ),
    ("expected <block end>", "a line that does not fit here", "key: value, with the same indentation for all keys"),
    ("found unknown escape character", "an unknown escape in double quotes", "single quotes, or \\\\ for a backslash"),
    ("did not find expected <document start>", "text after the end of the document", "--- before another document"),
    ("found undefined tag handle", "a tag whose prefix is not declared", "a tag such as !AWSCluster"),
    ("expected the node content", "a value is missing", "a value, and what closes the bracket before it"),
    ("did not find expected node content", "a value is missing", "a value, and what closes the bracket before it"),
    ("found duplicate anchor", "an anchor (&) that is used twice", "another name"),
)


def describe(error: yaml.YAMLError, text: str) -> tuple[str, str, int, int]:
    """Describe a syntax error.

    Returns:
        What is wrong, what was expected (or ""), line and column from 1.
    """
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "this is no YAML")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return problem, "", 1, 1
    line, column = mark.line, mark.column
    if "cannot start any token" in problem:
        return (*_describe_character(text, line, column), line + 1, column + 1)
    context = getattr(error, "context_mark", None)
    if context is not None and ("end of stream" in problem or "expected ','" in problem):
        line, column = context.line, context.column  # where it was opened says more than where the file ends
    for part, meaning, expected in _MEANINGS:
        if part in problem:
            return meaning, expected, line + 1, column + 1
    return problem, "", line + 1, column + 1


def _describe_character(text: str, line: int, column: int) -> tuple[str, str]:
    lines = text.splitlines()
    character = lines[line][column : column + 1] if line < len(lines) else ""
    if character == "\t":
        return "a tab used for indentation", "spaces"
    return f"a value may not begin with {character}", "quotes around it"
