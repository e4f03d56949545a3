"""The facts of a host are parsed, and unmet requirements are reported in one line."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flambe_ansible.errors import UnsupportedHostError
from flambe_ansible.ssh import probing
from flambe_ansible.ssh.probing import Probe

OUTPUT = """Welcome to a chatty login script
probe:cloud_init=2
probe:python=3.7.9 /usr/bin/python3
probe:python=3.11.2 /usr/local/bin/python3
probe:python=3.12.1 /usr/bin/python3.12
probe:machine=x86_64
probe:uid=1000
probe:sudo=yes
probe:rsync=yes
probe:os=ubuntu
probe:os_version=22.04
probe:os_name=Ubuntu 22.04.3 LTS
probe:home=/home/a=b
probe:cpus=8
probe:memory=16384
probe:gpus=1
probe:end=yes
"""
GOOD = Probe(
    python="/usr/local/bin/python3",
    python_version="3.11.2",
    machine="x86_64",
    sudo=True,
    rsync=True,
    os="ubuntu",
    os_version="22.04",
    os_name="Ubuntu 22.04.3 LTS",
    home="/home/a=b",
    cpus=8,
    memory=16384,
    gpus=1,
    cloud_init="degraded",
)


def test_parse() -> None:
    assert probing.parse(OUTPUT) == GOOD
    probing.require("h", GOOD)


def test_parse_empty_output() -> None:
    assert probing.parse("") == Probe()


@pytest.mark.parametrize(("code", "state"), [(0, "done"), (1, "error"), (2, "degraded"), (124, "unfinished")])
def test_cloud_init(code: int, state: str) -> None:
    assert probing.parse(f"probe:cloud_init={code}\n").cloud_init == state


@pytest.mark.parametrize(
    "system",
    [("debian", "12"), ("debian", "13"), ("debian", ""), ("ubuntu", "22.04"), ("ubuntu", "24.04"), ("ubuntu", "26.10")],
)
def test_supported_systems(system: tuple[str, str]) -> None:
    probing.require("h", replace(GOOD, os=system[0], os_version=system[1]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rsync": False}, ["no rsync", "apt-get install -y rsync"]),
        ({"python": ""}, ["no Python 3.8 or newer", "apt-get install -y python3"]),
        ({"python": "", "rsync": False}, ["apt-get install -y python3 rsync"]),
        ({"sudo": False}, ["no sudo without a password", "/etc/sudoers.d/"]),
        (
            {"sudo": False, "sudo_error": "sudo: a password is required"},
            ["no sudo without a password (sudo: a password is required)", "NOPASSWD:ALL"],
        ),
        (
            {"sudo": False, "sudo_error": "sudo: sorry, you must have a tty to run sudo"},
            ["sudo requires a terminal (sudo: sorry, you must have a tty to run sudo)", "Defaults:USER !requiretty"],
        ),
        ({"machine": "aarch64"}, ["aarch64", "x86_64"]),
        ({"os_version": "18.04", "os_name": "Ubuntu 18.04"}, ["Ubuntu 18.04", "22.04 or newer"]),
        ({"os": "debian", "os_version": "11", "os_name": "Debian 11"}, ["Debian 11", "Debian 12 or newer"]),
        ({"os": "fedora", "os_name": "Fedora 40"}, ["Fedora 40"]),
        ({"os": "", "os_name": ""}, ["an unknown system"]),
    ],
)
def test_refusals_have_one_line(changes: dict[str, str], words: list[str]) -> None:
    with pytest.raises(UnsupportedHostError) as caught:
        probing.require("c_factory_0", replace(GOOD, **changes))
    assert caught.value.host == "c_factory_0"
    assert caught.value.message.startswith("c_factory_0: ")
    assert "\n" not in caught.value.message
    for word in words:
        assert word in caught.value.message


def test_the_script_runs_locally() -> None:
    completed = subprocess.run(["sh", "-s"], input=probing.write_script(), capture_output=True, text=True, check=True)
    probe = probing.parse(completed.stdout)
    assert completed.stdout.rstrip().endswith("probe:end=yes")
    assert probe.machine
    assert probe.cpus > 0


def test_the_script_reports_the_message_of_sudo(tmp_path: Path) -> None:
    for name, line in {"sudo": "echo a lecture >&2; echo sudo: no tty >&2; exit 1", "id": "echo 1000"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    completed = subprocess.run(
        ["sh", "-s"], input=probing.write_script(), capture_output=True, text=True, check=True, env=environment
    )
    probe = probing.parse(completed.stdout)
    assert (probe.sudo, probe.sudo_error) == (False, "sudo: no tty")


def test_the_script_counts_the_gpus_that_nvidia_smi_lists(tmp_path: Path) -> None:
    line = "GPU 0: NVIDIA H200 (UUID: GPU-00000000-0000-0000-0000-000000000001)"  # of a real machine
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n[ $1 = -L ] && echo '{line}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-s"], input=probing.write_script(), capture_output=True, text=True, check=True, env=environment
    )
    assert probing.parse(done.stdout).gpus == 1


def test_a_program_runs_as_root_with_the_python_that_was_found(tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nshift; exec "$@"\n')
    sudo.chmod(0o755)
    program = "import sys\ntext = \"$HOME `id` \\\\ 'quoted'\"\nprint(sys.version_info >= (3, 8), text)"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    completed = subprocess.run(
        ["sh", "-s"],
        input=probing.write_script(program),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert probing.read_program_output(completed.stdout) == "True $HOME `id` \\ 'quoted'\n"
    assert probing.parse(completed.stdout).python


def test_without_a_program_nothing_follows_the_facts() -> None:
    completed = subprocess.run(["sh", "-s"], input=probing.write_script(), capture_output=True, text=True, check=True)
    assert probing.read_program_output(completed.stdout) == ""
