"""The digest of what a baked image has."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.fleet.player import Player
from flambe_ansible.launch import baking
from flambe_ansible.runtimes import Runtime, RuntimeVersion, make_runtime
from flambe_ansible.sources import Requirements
from tests.unit.fleets import make_connections, make_fleet

VERSION = RuntimeVersion(version="2.60.0", requirements=Requirements(lines=("ray[default]==2.60.0", "numpy")))


def make_recipe(
    runtime: Runtime | None = None,
    version: RuntimeVersion = VERSION,
    *,
    username: str = "ubuntu",
    setup_cmds: Sequence[str] | None = None,
    nvidia_driver: str = "require",
    docker: bool = False,
) -> str:
    chosen = runtime or make_runtime("ray")
    return baking.make_recipe(
        chosen,
        version,
        username=username,
        setup_cmds=setup_cmds,
        nvidia_driver=nvidia_driver,
        docker=docker,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"runtime": make_runtime("flambe"), "version": RuntimeVersion(version="0.4.18")},
        {"runtime": make_runtime({"name": "ray", "python": "3.12"})},
        {"runtime": make_runtime({"name": "ray", "index_url": "https://example.com/simple"})},
        {"version": replace(VERSION, requirements=Requirements(lines=("ray[default]==2.60.0",)))},
        {
            "version": replace(
                VERSION, requirements=Requirements(lines=VERSION.requirements.lines, constraints=("a<2",))
            )
        },
        {"username": "admin"},
        {"setup_cmds": ["true"]},
        {"nvidia_driver": "install"},
        {"docker": True},
    ],
)
def test_what_is_installed_changes_the_recipe(changes: dict[str, Any]) -> None:
    assert make_recipe(**changes) not in ("", make_recipe())


def test_the_tools_of_this_machine_do_not_change_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = make_recipe()
    (tmp_path / "uv").write_text("another uv")
    monkeypatch.setattr("flambe_ansible.runtimes.ray.find_uv", lambda: str(tmp_path / "uv"))
    assert make_recipe() == before


def test_a_wheel_counts_by_its_content(tmp_path: Path) -> None:
    def write(folder: str, text: str) -> RuntimeVersion:
        wheel = tmp_path / folder / "mine-1.0-py3-none-any.whl"
        wheel.parent.mkdir()
        wheel.write_text(text)
        return replace(VERSION, requirements=replace(VERSION.requirements, wheels=(wheel,)))

    same = make_recipe(version=write("a", "one")), make_recipe(version=write("b", "one"))
    assert same[0] == same[1] not in (make_recipe(), make_recipe(version=write("c", "two")))


def test_hosts_without_runtime_have_a_recipe_only_with_setup_commands() -> None:
    plain, nothing = make_runtime("none"), RuntimeVersion()
    assert make_recipe(plain, nothing) == ""
    assert make_recipe(plain, nothing, setup_cmds=["true"])


def test_the_image_gets_a_receipt_of_the_runtime_alone() -> None:
    connections = make_connections()
    player = Player(fleet=make_fleet(connections), variables=lambda: {"flambe_version": "0.4.18"}, logs=Path())
    baking.seal(player, make_runtime("flambe"))
    sent = [call.kwargs["input"].splitlines()[-1] for call in connections.run.call_args_list]
    number = len(player.fleet.hosts)
    assert sent[:number] == ["keep([])"] * number
    written = [ast.literal_eval(line.removeprefix("write")) for line in sent[number:]]
    assert [list(roles) for roles, *_ in written] == [["flambe"]] * number
    assert len({launch for _roles, _user, launch, *_ in written}) == 1
    baking.seal(player, make_runtime("none"))
    assert connections.run.call_args.kwargs["input"].splitlines()[-1].startswith("write({}, ")
