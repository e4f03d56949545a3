"""IAM policies: read from a file, and evaluated for single actions; pure functions except for reading.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from flambe_ansible.errors import LabUsageError

_STATEMENT_KEYS = {"Sid", "Effect", "Action", "NotAction", "Resource", "Condition"}
_IF_EXISTS = "IfExists"
# The operators, each with whether a value of the request matches one of the policy.
_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringNotEquals": str.__eq__,
    "StringLike": lambda value, wanted: _matches(wanted, value),
    "StringNotLike": lambda value, wanted: _matches(wanted, value),
    "ForAllValues:StringLike": lambda value, wanted: _matches(wanted, value),
    "ArnLike": lambda value, wanted: _matches(wanted, value),
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
}
# Keys that the lab gives a value, in lower case; those with a slash are followed by a tag's key.
CONDITION_KEYS = (
    "aws:requestedregion",
    "aws:requesttag/",
    "aws:resourcetag/",
    "cloudwatch:alarmactions",
    "ec2:createaction",
    "ec2:region",
    "ec2:resourcetag/",
    "iam:awsservicename",
    "kms:grantisforawsresource",
)


@dataclass(frozen=True)
class Need:
    """An action on a resource that a request needs; ``context`` has the condition keys in lower case."""

    action: str  # such as "ec2:RunInstances"
    resource: str = "*"  # an ARN
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """One statement of a policy."""

    allows: bool
    actions: tuple[str, ...]
    negated: bool  # the actions are those of NotAction
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]  # operator, key in lower case, values

    def applies(self, need: Need) -> bool:
        """Return whether the statement is about this action on this resource, in its context."""
        named = any(_matches(pattern.lower(), need.action.lower()) for pattern in self.actions)
        return (
            named != self.negated
            and any(_matches(pattern, need.resource) for pattern in self.resources)
            and all(_holds(condition, need.context) for condition in self.conditions)
        )


@dataclass(frozen=True)
class Policy:
    """An identity-based policy."""

    statements: tuple[Statement, ...]

    def explain_denial(self, need: Need) -> str:
        """Return why an action is denied, as AWS words it; "" if it is allowed."""
        found = [statement for statement in self.statements if statement.applies(need)]
        if any(not statement.allows for statement in found):
            return "with an explicit deny in an identity-based policy"
        return "" if found else f"because no identity-based policy allows the {need.action} action"


def read_file(path: Path) -> Policy:
    """Read a policy from a JSON file.

    Raises:
        LabUsageError: It is not a policy, or it has elements that the lab does not evaluate; one line with the
            position.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabUsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return parse(text, name=str(path))


def parse(text: str, *, name: str = "policy") -> Policy:
    """Parse a policy; ``name`` is the file's name, for messages."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise LabUsageError(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
    statements = document.get("Statement") if isinstance(document, dict) else None
    if isinstance(statements, dict):
        statements = [statements]
    try:
        return Policy(tuple(_read_statement(one) for one in _read_statements(statements)))
    except _FlawError as flaw:
        raise LabUsageError(f"{name}:{_locate(text, flaw.word)}: {flaw}") from flaw


class _FlawError(ValueError):
    """Something that the lab does not evaluate; ``word`` is its text in the file."""

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self.word = word


def _read_statements(statements: Any) -> list[Any]:
    if not isinstance(statements, list) or not statements:
        raise _FlawError("Statement", "a policy needs a list of statements")
    return statements


def _read_statement(document: Any) -> Statement:
    """Read a statement."""
    if not isinstance(document, dict):
        raise _FlawError("Statement", "a statement must be an object")
    for key in document:
        if key not in _STATEMENT_KEYS:
            raise _FlawError(
                key, f"the lab does not evaluate {key}; expected one of {', '.join(sorted(_STATEMENT_KEYS))}"
            )
    if document.get("Effect") not in ("Allow", "Deny"):
        raise _FlawError(str(document.get("Effect", "Effect")), "Effect must be Allow or Deny")
    if ("Action" in document) == ("NotAction" in document) or "Resource" not in document:
        raise _FlawError(str(document.get("Sid", "Effect")), "a statement needs Action or NotAction, and Resource")
    conditions = document.get("Condition", {})
    if not isinstance(conditions, dict) or not all(isinstance(one, dict) for one in conditions.values()):
        raise _FlawError("Condition", "Condition must be an object of objects")
    return Statement(
        allows=document["Effect"] == "Allow",
        actions=_read_actions(document.get("Action", document.get("NotAction"))),
        negated="NotAction" in document,
        resources=_read_list(document["Resource"]),
        conditions=tuple(
            _read_condition(operator, key, values)
            for operator, pairs in conditions.items()
            for key, values in pairs.items()
        ),
    )


def _read_actions(value: Any) -> tuple[str, ...]:
    """Read actions, each a service's prefix and a name."""
    actions = _read_list(value)
    for action in actions:
        if action != "*" and not re.fullmatch(r"[\w-]+:[\w*?]+", action):
            raise _FlawError(action, f"{action!r} is not an action; expected one such as ec2:RunInstances")
    return actions


def _read_condition(operator: str, key: str, values: Any) -> tuple[str, str, tuple[str, ...]]:
    """Read one condition."""
    if operator.removesuffix(_IF_EXISTS) not in _OPERATORS:
        known = ", ".join(_OPERATORS)
        raise _FlawError(operator, f"the lab does not evaluate the operator {operator}; expected one of {known}")
    if not any(key.lower().startswith(one) if one.endswith("/") else key.lower() == one for one in CONDITION_KEYS):
        raise _FlawError(key, f"the lab does not evaluate the condition key {key}")
    return operator, key.lower(), _read_list(values)


def _read_list(value: Any) -> tuple[str, ...]:
    """Read a text or a list of texts; the truth values of Bool are texts, too."""
    values = value if isinstance(value, list) else [value]
    texts = [str(one).lower() if isinstance(one, bool) else one for one in values]
    for one in texts:
        if not isinstance(one, str) or not one:
            raise _FlawError(str(one), f"{one!r} must be a text")
        if "${" in one:
            raise _FlawError(one, f"the lab does not evaluate the variable in {one!r}")
    return tuple(texts)


def _holds(condition: tuple[str, str, tuple[str, ...]], context: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a condition holds for the context of a request."""
    operator, key, wanted = condition
    name = operator.removesuffix(_IF_EXISTS)
    negated = "Not" in name
    values = context.get(key)
    if not values:
        return negated or operator.endswith(_IF_EXISTS) or name.startswith("ForAllValues:")
    matched = (any(_OPERATORS[name](value, one) for one in wanted) for value in values)
    return (all(matched) if name.startswith("ForAllValues:") else any(matched)) != negated


def _matches(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern with ``*`` and ``?``."""
    return _compile(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    words = {"*": ".*", "?": "."}
    return re.compile("".join(words.get(letter) or re.escape(letter) for letter in pattern), re.DOTALL)


def _locate(text: str, word: str) -> str:
    """Return line and column of a word in a text, ``1:1`` if it is not there."""
    start = max(text.find(json.dumps(word)), 0)
    before = text[:start]
    return f"{before.count(chr(10)) + 1}:{start - before.rfind(chr(10))}"
