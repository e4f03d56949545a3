# Copyright: the flambe-ansible contributors. MIT license.
"""What is wrong with the value of a role's variable, by its option in the argument specs and by its name."""

from __future__ import annotations

import datetime
import math
import re

_UNIT = r"[\w:.@\\-]+\.(?:service|socket|timer|target|mount|automount|path|scope|slice|swap|device)"
_LENGTH = 60  # characters of a value in a message
_PORTS = 65535
_KINDS = {
    str: "a string",
    bool: "a boolean",
    (int, float): "a number",
    list: "a list",
    dict: "a dictionary",
    datetime.date: "a date",
}
_NOUNS = {"list": "a list", "dict": "a dictionary", "bool": "true or false", "int": "a number", "float": "a number"}
# A pattern for the values of variables with this end of their name, and what is expected.
_PATTERNS = {
    "_unit": (r"[\w:.@\\-]+\.service", "the full name of a unit, such as my-ray.service"),
    "_unless_active": (_UNIT, "the full name of a unit, such as my-ray.service"),
    "_units": (_UNIT, "full names of units, such as my-ray.service"),
    "_python_version": (r"\d+(\.\d+){0,2}", 'a version in quotes, such as "3.12"'),
    "_python_fallback": (r"\d+(\.\d+){0,2}", 'a version in quotes, such as "3.12"'),
    "_python_accepted": (r"\d+\.\d+", 'versions in quotes, such as "3.12"'),
    "_sha256": (r"([0-9a-f]{64})?", 'the 64 hexadecimal digits of a SHA-256, or ""'),
    "_ends_at": (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", 'a time in UTC and in quotes, such as "2026-12-01T18:00:00Z"'),
}
_POSITIVE = ("_timeout", "_interval", "_count", "_limit")
_NOT_NEGATIVE = ("_grace", "_patience", "_percent", "_memory")
_HOSTS = ("_hosts", "_members", "_source", "ray_node_head")


def find_problem(name, option, default, value, inventory):
    """Return what is wrong with a value, and what would be right, in one line; "" if nothing is.

    Args:
        option: The variable's option in the argument specs.
        default: Its default; a value that equals it is right, unless the option is required.
        inventory: The names of all hosts of the inventory.
    """
    if value == default and isinstance(value, type(default)):
        wanted = option.get("required") and not value
        return "{} is empty; expected: {}".format(name, option["description"].rstrip(".")) if wanted else ""
    expected = find_wrong_type(name, option, value) or find_wrong_text(name, option, default, value)
    expected = expected or find_wrong_number(name, option, default, value) or find_unknown_host(name, value, inventory)
    if expected and has_secrets(option):
        return "{} has no valid value; expected {}".format(name, _NOUNS.get(option["type"], "a string"))
    return f"{name} is {show(value)}; expected {expected}" if expected else ""


def has_secrets(option):
    """Return whether a value, or a part of it, must not be shown."""
    return option.get("no_log", False) or any(map(has_secrets, option.get("options", {}).values()))


def find_wrong_type(name, option, value):
    """Return what is expected instead of a value of another type; texts that are no numbers are left to Ansible."""
    kind = option["type"]
    if value is None:
        return _NOUNS.get(kind, "a string")
    if kind == "list" and not isinstance(value, list):
        return f'a list, such as ["{value}"]' if is_short(value) else "a list"
    if kind == "list" and option.get("elements") in ("str", "path") and not all(map(is_text, value)):
        return "a list of strings: write each of them in quotes"
    if kind == "dict" and not isinstance(value, dict):
        return "a dictionary"
    if kind in ("int", "float") and isinstance(value, bool):
        return "a number"
    if kind in ("str", "path") and not is_text(value):
        return next((one[1] for end, one in _PATTERNS.items() if name.endswith(end)), "a string in quotes")
    return ""


def find_wrong_text(name, option, default, value):
    """Return what is expected instead of a path, unit, version or time of another form."""
    texts = [one for one in list_values(value) if isinstance(one, str) and (one or one != default)]
    if isinstance(default, str) and default.startswith("~/"):
        wrong = [one for one in texts if not re.match("~?/", one)]
        return f"an absolute path, or one that starts with ~/, such as {default}" if wrong else ""
    if "path" in (option["type"], option.get("elements")):
        wrong = [one for one in texts if not re.fullmatch(r"/[^\x00-\x1f]*", one) or not one.strip("/")]
        example = default or ("/usr/bin/python3" if name.endswith("_python") else "/opt/flambe")
        return f"an absolute path, such as {example}" if wrong else ""
    for end, (pattern, expected) in _PATTERNS.items():
        if name.endswith(end) and not all(re.fullmatch(pattern, one) for one in texts):
            return expected
    return ""


def find_wrong_number(name, option, default, value):
    """Return what is expected instead of a number that is out of range."""
    if name.endswith(("_port", "_ports")):
        return "" if all(0 < read_number(one) <= _PORTS for one in list_values(value)) else f"a port, 1 to {_PORTS}"
    if option["type"] not in ("int", "float"):
        return ""
    number, unlimited = read_number(value), f"{default} or " if default == -1 else ""
    if number == default or (unlimited and number == 0):
        return ""
    if name.endswith(_POSITIVE) and not (0 < number < math.inf):
        return f"{unlimited}a number above 0"
    return "a number from 0 on" if name.endswith(_NOT_NEGATIVE) and not (0 <= number < math.inf) else ""


def find_unknown_host(name, value, inventory):
    """Return what is expected instead of a name that the inventory lacks."""
    unknown = [one for one in list_values(value) if name.endswith(_HOSTS) and one not in inventory]
    return "names of hosts of the inventory, which has no {}".format(", ".join(map(str, unknown))) if unknown else ""


def is_text(value):
    """Return whether YAML read a value as it was written; without quotes, 3.10 becomes 3.1, and no becomes false."""
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def is_short(value):
    """Return whether a value is a text for a message."""
    return isinstance(value, str) and len(value) <= _LENGTH // 2 and '"' not in value


def list_values(value):
    """Return the values of a list or dictionary, else the value in a list."""
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]


def read_number(value):
    """Return a value as a number; NaN, which is in no range, if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def show(value):
    """Write a value and its type, shortened and without the passwords of URLs."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = " ".join(re.sub(r"://[^/\s@]+@", "://********@", text).split())
    text = text if len(text) <= _LENGTH else text[: _LENGTH - 3] + "..."
    kind = next((noun for known, noun in _KINDS.items() if isinstance(value, known)), type(value).__name__)
    return "null" if value is None else f"{text}, {kind}"
