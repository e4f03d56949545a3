"""The documented and the accepted options of every module."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.paths import collection, collections_root

MODULES = sorted(path.stem for path in (collection() / "plugins/modules").glob("*.py"))


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """The documentation that ansible-doc shows."""
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-doc"), "--json", *(f"flambe.cluster.{name}" for name in MODULES)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections_root())},
        capture_output=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Accepted(Exception):  # noqa: N818
    """Contains the argument_spec of a module."""


def simplify(options: dict[str, Any], nested: str) -> dict[str, Any]:
    """Keep what documentation and argument_spec have in common."""
    keys = ("type", "elements", "required", "default", "choices")
    return {
        name: {
            **{key: option[key] for key in keys if option.get(key) not in (None, False, [], {})},
            "nested": simplify(option.get(nested, {}), nested),
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("name", MODULES)
def test_documented_options_are_the_accepted_ones(
    name: str, documented: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"ansible_collections.flambe.cluster.plugins.modules.{name}")

    def accept(argument_spec: dict[str, Any], **_: object) -> None:
        raise Accepted(argument_spec)

    monkeypatch.setattr(module, "AnsibleModule", accept)
    with pytest.raises(Accepted) as caught:
        module.main()
    document = documented[f"flambe.cluster.{name}"]["doc"]
    assert simplify(document["options"], "suboptions") == simplify(caught.value.args[0], "options")
    assert document["attributes"]["check_mode"]["support"] == "full"


@pytest.mark.parametrize("name", MODULES)
def test_options_with_secrets_are_not_logged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"ansible_collections.flambe.cluster.plugins.modules.{name}")

    def accept(argument_spec: dict[str, Any], **_: object) -> None:
        raise Accepted(argument_spec)

    monkeypatch.setattr(module, "AnsibleModule", accept)
    with pytest.raises(Accepted) as caught:
        module.main()
    secret = {option: spec for option, spec in caught.value.args[0].items() if option in {"token", "index_url"}}
    assert [option for option, spec in secret.items() if not spec.get("no_log")] == []
