"""The documentation lists each call to AWS, and the policy allows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "aws.md"
API = Path(__file__).parents[3] / "flambe_ansible" / "ec2" / "api.py"
WITHOUT_PERMISSION = {"GetCallerIdentity"}


def _find_calls() -> set[str]:
    text = API.read_text()
    names = re.findall(r"\b(?:ec2|cloudwatch|ssm|sts)\.(\w+)\(", text)
    names += re.findall(r'get_paginator\("(\w+)"\)', text)
    return {"".join(word.capitalize() for word in name.split("_")) for name in names} - {"GetPaginator"}


def test_the_policy_allows_exactly_the_calls() -> None:
    policy = json.loads(re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])  # type: ignore[index]
    actions = [one["Action"] for one in policy["Statement"]]
    allowed = {name for one in actions for name in ([one] if isinstance(one, str) else one)}
    needed = _find_calls() - WITHOUT_PERMISSION
    assert {name.partition(":")[2] for name in allowed} == needed | {"CreateServiceLinkedRole"}


def test_the_table_lists_each_call() -> None:
    table = PAGE.read_text().partition("### Calls")[2].partition("\n## ")[0]
    assert _find_calls() <= set(re.findall(r"`(?:\w+:)?(\w+)`", table))
