"""One host in the Python API, with shells on this machine in place of ssh."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.fleet.instance import Instance
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Completed, Connections
from tests.unit.fleets import make_connections

HEAD = Host(name="a_orchestrator", role=Role.ORCHESTRATOR, private_ip="10.0.0.1")


def make_instance(shell: str, home: Path) -> Instance:
    """Make a host whose login shell runs this script before each command, like a profile."""
    connections = create_autospec(Connections, instance=True)

    def run(_host: Host, command: str, *, input: str = "", **_options: Any) -> Completed:  # noqa: A002
        argv = ["sh", "-c", f"{shell}\n{command}"]
        done = subprocess.run(argv, input=input, env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, capture_output=True,
                              text=True, check=False)  # fmt: skip
        if done.returncode:
            raise RemoteCommandError("failed", host="a", command=command, returncode=done.returncode)
        return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    connections.run.side_effect = run
    return Instance(HEAD, lambda: connections)


@pytest.mark.parametrize("profile", ["", "echo Welcome", "printf 'no line end'", "echo 8; echo 2"])
def test_output_of_a_profile_is_removed(tmp_path: Path, profile: str) -> None:
    instance = make_instance(profile, tmp_path)
    assert instance.ask("echo one; echo two") == "one\ntwo\n"
    assert instance.get_home_path() == str(tmp_path)


def test_a_profile_that_starts_another_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RemoteCommandError, match="a_orchestrator: the user's login shell did not run a command"):
        make_instance("exec true", tmp_path).ask("echo one")


def test_a_script_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RemoteCommandError):
        make_instance("", tmp_path).ask("exit 3")


def test_devices() -> None:
    found = make_connections("8\n")
    assert Instance(HEAD, lambda: found).num_cpus() == 8
    gpu = {"name": "T4", "uuid": "", "memory": 16384, "driver": "", "capability": "7.5", "mig": False}
    gpus = [{**gpu, "index": index, "mig_devices": []} for index in range(2)]
    listed = make_connections(json.dumps({"state": "ok", "error": "", "gpus": gpus, "visible": 1}))
    instance = Instance(HEAD, lambda: listed)
    assert (instance.num_gpus(), instance.contains_gpu(), instance.get_gpus().gpus[0].memory) == (2, True, 16384)


@pytest.mark.parametrize("answer", ["", json.dumps({"state": "timeout", "error": "late", "gpus": [], "visible": 0})])
def test_a_number_of_gpus_that_is_not_known_is_an_error(answer: str) -> None:
    found = make_connections(answer)
    with pytest.raises(RemoteCommandError, match=r"a_orchestrator: (late|its GPUs could not be read)"):
        Instance(HEAD, lambda: found).num_gpus()


def test_send_copies_the_content_of_a_folder(tmp_path: Path) -> None:
    found = make_connections()
    instance = Instance(HEAD, lambda: found)
    (tmp_path / "file").touch()
    for local in (tmp_path, f"{tmp_path}/", tmp_path / "file"):
        instance.send(local, "there")
    assert [call.args[1:] for call in found.put.call_args_list] == [
        (f"{tmp_path}/", "there"),
        (f"{tmp_path}/", "there"),
        (tmp_path / "file", "there"),
    ]
