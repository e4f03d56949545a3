"""The rule for the user's tags on AWS resources.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions: 50 tags, keys of 1 to 128
characters, values of 0 to 256, no key or value that starts with ``aws:``; EC2 allows any character.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flambe_ansible.validation.schema import Flaw, show

OWN_TAGS = ("creator", "Name", "Purpose", "Cluster-Name", "Role")
BUDGET_TAG = "Flambe-Budget"  # of clusters with a budget
ANY_CASE = ("creator", "name")  # seed 004: refused in any case, although AWS tags are case-sensitive
MAX_TAGS = 50 - len(OWN_TAGS)
MAX_KEY = 128
MAX_VALUE = 256


def tags(value: Mapping[Any, Any]) -> list[Flaw]:
    """Check the number of tags, and each key and value."""
    flaws = []
    if len(value) > MAX_TAGS:
        expected = f"at most {MAX_TAGS}: AWS allows 50, and the cluster sets {len(OWN_TAGS)} itself"
        flaws.append(Flaw(message=f"has {len(value)} tags", expected=expected))
    for key, content in value.items():
        flaw = _check_key(key) or _check_value(key, content)
        if flaw:
            flaws.append(flaw)
    return flaws


def _check_key(key: Any) -> Flaw | None:
    if not isinstance(key, str):
        return Flaw(message=f"has the key {show(key)}, which is not text", path=(str(key),), at_key=True)
    if key.casefold() in ANY_CASE or key in (*OWN_TAGS, BUDGET_TAG):
        expected = "another key"
        return Flaw(message="is a tag that the cluster sets itself", expected=expected, path=(key,), at_key=True)
    if key.casefold().startswith("aws:"):
        expected = "a key that does not start with aws:"
        return Flaw(message="is reserved by AWS", expected=expected, path=(key,), at_key=True)
    if not 1 <= len(key) <= MAX_KEY or not key.strip():
        expected = f"1 to {MAX_KEY} characters"
        return Flaw(
            message=f"has a key of {len(key)} characters", expected=expected, path=(key,) if key else (), at_key=True
        )
    return None


def _check_value(key: str, content: Any) -> Flaw | None:
    if not isinstance(content, str):
        return Flaw(message=f"is {show(content)}, which is not text", expected="text", path=(key,))
    if len(content) > MAX_VALUE:
        expected = f"at most {MAX_VALUE}"
        return Flaw(message=f"has {len(content)} characters", expected=expected, path=(key,))
    if content.casefold().startswith("aws:"):
        expected = "a value that does not start with aws:"
        return Flaw(message=f"is {show(content)}, which is reserved by AWS", expected=expected, path=(key,))
    return None
