"""The examples in the roles' READMEs, exactly as printed. Role tests play each of them on hosts of a lab."""

from __future__ import annotations

import re

from flambe_ansible.paths import collection


def read_example(role: str, language: str = "yaml") -> str:
    """Return the example in the README of a role."""
    text = (collection() / "roles" / role / "README.md").read_text()
    [example] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(example)


def join_examples(*roles: str) -> str:
    """Return one playbook with the plays of several examples."""
    return "".join(map(read_example, roles))
