"""The facts of a host are parsed, and unmet requirements are reported in one line."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flambe_ansible import gpus
from flambe_ansible.errors import UnsupportedHostError
from flambe_ansible.gpus import GpuState, HostGpus
from flambe_ansible.ssh import probing
from flambe_ansible.ssh.probing import Probe
from tests import nvidia_smi

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
probe:gpus={"state": "ok", "error": "", "gpus": [], "visible": 2, "cards": null}
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
    gpus=HostGpus(state=GpuState.OK, visible=2),
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


def run_script(folder: Path, program: str = "", **commands: str) -> str:
    """Run the script with these commands first on the path; sudo runs its arguments."""
    for name, text in {"sudo": '#!/bin/sh\nshift; exec "$@"\n', **commands}.items():
        (folder / name.replace("_", "-")).write_text(text)
        (folder / name.replace("_", "-")).chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    script = probing.write_script(program)
    return subprocess.run(
        ["sh", "-s"], input=script, capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_the_script_lists_the_gpus(tmp_path: Path) -> None:
    found = probing.parse(run_script(tmp_path, nvidia_smi=nvidia_smi.write_script())).gpus
    assert (found.state, str(found)) == (GpuState.OK, "1 x NVIDIA H200, 140 GiB, driver 580.159.04")


@pytest.mark.parametrize(("card", "by_python"), [("exit 1", False), ("exit 0", True)])
def test_a_host_without_a_trace_of_nvidia_starts_no_python_for_its_gpus(
    card: str, by_python: bool, tmp_path: Path
) -> None:
    """``grep`` looks for NVIDIA's devices on the PCI bus."""
    output = run_script(tmp_path, grep=f"#!/bin/sh\n{card}\n")
    assert ('"cards"' in output) is by_python
    assert probing.parse(output).gpus == HostGpus(state=GpuState.NONE)


def test_nvidia_smi_is_found_in_the_folders_of_the_program() -> None:
    names: dict[str, str] = {"__name__": "nvidia_smi"}
    exec(gpus.read_program(), names)
    assert f'PATH="$PATH:{names["PATH"]}"' in probing.write_script()


def test_a_slow_nvidia_smi_delays_nothing_else(tmp_path: Path) -> None:
    """It answers only after the program has run."""
    waits = f"until [ -e {tmp_path}/done ]; do sleep 0.05; done"
    program = f"open({str(tmp_path / 'done')!r}, 'w').close(); print('checked')"
    output = run_script(tmp_path, program, nvidia_smi=nvidia_smi.write_script(first=waits))
    assert len(probing.parse(output).gpus.gpus) == 1
    assert probing.read_program_output(output) == "checked\n"


def test_a_program_runs_as_root_with_the_python_that_was_found(tmp_path: Path) -> None:
    program = "import sys\ntext = \"$HOME `id` \\\\ 'quoted'\"\nprint(sys.version_info >= (3, 8), text)"
    output = run_script(tmp_path, program)
    assert probing.read_program_output(output) == "True $HOME `id` \\ 'quoted'\n"
    assert probing.parse(output).python


def test_without_a_program_nothing_follows_the_facts() -> None:
    completed = subprocess.run(["sh", "-s"], input=probing.write_script(), capture_output=True, text=True, check=True)
    assert probing.read_program_output(completed.stdout) == ""


@pytest.mark.parametrize("has_program", [False, True])
def test_a_command_runs_at_the_same_time_as_the_program(tmp_path: Path, has_program: bool) -> None:
    """Each waits for the other; the output of the command comes last."""
    until = "until test -e b; do sleep 0.01; done; " * has_program
    command = f"cd '{tmp_path}'; touch a; {until}echo asked; echo no >&2"
    program = f"""
import os, time
os.chdir({str(tmp_path)!r})
open("b", "w").close()
while not os.path.exists("a"):
    time.sleep(0.01)
print("{{}}")
"""
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    sudo.chmod(0o755)
    done = subprocess.run(
        ["sh", "-s"],
        input=probing.write_script(program * has_program, command),
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert probing.read_answer(done.stdout) == "asked\n"
    assert probing.read_program_output(done.stdout).strip() == "{}" * has_program
    assert probing.parse(done.stdout).python
    assert probing.read_answer(OUTPUT) == ""
