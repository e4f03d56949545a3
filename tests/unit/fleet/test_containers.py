"""Containers on a host: the scripts run for real on this machine, with programs ``docker`` and ``sudo`` that record."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.errors import ClusterConfigurationError, RemoteCommandError
from flambe_ansible.fleet import containers
from flambe_ansible.fleet.containers import Container, ContainerOptions, Containers
from flambe_ansible.hosts import Host, Role

HOST = Host(name="a_orchestrator", role=Role.ORCHESTRATOR, private_ip="10.0.0.7", public_ip="192.0.2.7")
SECRET = 'it\'s $(a) "secret" # %'
DOCKER = """#!/usr/bin/python3
import json, pathlib, sys

here = pathlib.Path(__file__).parent
words = sys.argv[1:]
files = [word.partition("=")[2] for word in words if word.startswith("--env-file=")]
given = [open(name).read() for name in files]
with open(here / "calls", "a") as calls:
    calls.write(json.dumps([words, given]) + "\\n")
answers = json.loads((here / "answers.json").read_text())
code, output, errors = answers.get(words[0], [0, "", ""])
print(output, end="")
print(errors, end="", file=sys.stderr)
sys.exit(code)
"""
SUDO = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'


class Machine:
    """This machine as the host: what ``docker`` answers by its subcommand, and its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("docker", DOCKER), ("sudo", SUDO)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.answer()

    def answer(self, **answers: tuple[int, str, str]) -> None:
        (self.folder / "answers.json").write_text(json.dumps(answers))
        (self.folder / "calls").write_text("")

    def ask(self, script: str) -> str:
        argv = ["/bin/sh", "-s"]
        env = {"PATH": f"{self.folder}:/usr/bin:/bin"}
        done = subprocess.run(argv, input=script, env=env, capture_output=True, text=True, check=False)
        assert SECRET not in " ".join(argv)
        if done.returncode:
            output = done.stdout + done.stderr
            raise RemoteCommandError("failed", host=HOST.name, command="sh", returncode=done.returncode, output=output)
        return done.stdout

    @property
    def calls(self) -> list[tuple[list[str], list[str]]]:
        return [tuple(json.loads(line)) for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def commands(self) -> list[str]:
        return [" ".join(words) for words, _ in self.calls]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def found(machine: Machine) -> Containers:
    return Containers(host=HOST, ask=machine.ask, home=lambda: "/home/ml")


def arguments(**options: Any) -> list[str]:
    return ContainerOptions(image="tiny", **options).arguments(HOST, "/home/ml")


def test_a_container_is_created_started_and_described(machine: Machine, found: Containers) -> None:
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}], "81/tcp": None}
    machine.answer(create=(0, "abc\n", "Pulling\n"), inspect=(0, f'"/web" {json.dumps(ports)}\n', ""))
    options = ContainerOptions(
        image="tiny", command="serve 'a b' $x", ports=["8080:80"], env={"TOKEN": SECRET, "N": "1"}, name="web"
    )
    assert found.start(options) == Container(id="abc", name="web", ports={"80/tcp": "127.0.0.1:8080"})
    words = ["create", "--name=web", "--publish=127.0.0.1:8080:80", "--env-file=/dev/stdin", "--", "tiny"]
    assert machine.calls[0] == ([*words, "serve", "a b", "$x"], [f"TOKEN={SECRET}\nN=1\n"])
    assert machine.commands[1] == "start abc"
    assert SECRET not in " ".join(machine.commands)


def test_a_container_that_does_not_start_is_removed(machine: Machine, found: Containers) -> None:
    problem = "Error response from daemon: Bind for 127.0.0.1:80 failed: port is already allocated\n"
    machine.answer(create=(0, "abc\n", ""), start=(1, "", f"{problem}Error: failed to start containers: abc\n"))
    with pytest.raises(
        RemoteCommandError, match=r"^a_orchestrator: docker run tiny failed: .*port is already"
    ) as caught:
        found.start(ContainerOptions(image="tiny"))
    assert machine.commands == ["create -- tiny", "start abc", "rm --force abc"]
    assert caught.value.returncode == 1


@pytest.mark.parametrize(
    ("errors", "problem", "hint"),
    [
        ("/bin/sh: 1: docker: not found", "Docker is not installed", "docker: true"),
        ("Cannot connect to the Docker daemon at unix:///x. Is it running?", "Docker does not run", "systemctl"),
        (
            "permission denied while trying to connect to the Docker daemon socket",
            "not in group docker",
            "docker: true",
        ),
        ("write /var/lib/docker/tmp/x: no space left on device", "the disk is full", "prune"),
        ("sudo: a password is required", "needs sudo without a password", None),
        ("docker: Error response from daemon: no such image: x.\nSee 'docker run --help'.", "no such image: x.", None),
    ],
)
def test_what_docker_prints_becomes_one_line(errors: str, problem: str, hint: str | None) -> None:
    text, help_text = containers.explain(f"Welcome\n{errors}\n")
    assert problem in text
    assert "\n" not in text
    assert (hint or "") in (help_text or "")


@pytest.mark.parametrize(
    ("port", "published"),
    [
        (8080, "127.0.0.1:8080:8080"),
        ("8080:80", "127.0.0.1:8080:80"),
        ("0:80", "127.0.0.1:0:80"),
        ("53:53/udp", "127.0.0.1:53:53/udp"),
        ("private:8080:80", "10.0.0.7:8080:80"),
        ("0.0.0.0:8080:80", "0.0.0.0:8080:80"),
        ("[::1]:8080:80", "[::1]:8080:80"),
    ],
)
def test_ports_are_published_on_the_loopback_by_default(port: int | str, published: str) -> None:
    assert arguments(ports=[port])[0] == f"--publish={published}"


@pytest.mark.parametrize(
    ("volume", "mounted"),
    [
        ("~/my data:/data", "type=bind,source=/home/ml/my data,target=/data"),
        ("data/in:/data:ro", "type=bind,source=/home/ml/data/in,target=/data,readonly"),
        ("~:/home", "type=bind,source=/home/ml,target=/home"),
        (".:/home", "type=bind,source=/home/ml,target=/home"),
        ("/a,b:/c", 'type=bind,"source=/a,b",target=/c'),
        ("cache:/data:rw", "type=volume,source=cache,target=/data"),
    ],
)
def test_volumes_are_paths_or_names(volume: str, mounted: str) -> None:
    assert arguments(volumes=[volume])[0] == f"--mount={mounted}"


@pytest.mark.parametrize(
    ("gpus", "value"), [("all", "all"), (2, "2"), ([0, "GPU-3ff1"], '"device=0,GPU-3ff1"'), (True, "all")]
)
def test_gpus(gpus: Any, value: str) -> None:
    assert arguments(gpus=gpus)[0] == f"--gpus={value}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ports": "8080"}, "ports: expected a list, not '8080'"),
        ({"ports": {8080: 80}}, "ports: expected a list"),
        ({"ports": ["80:x"]}, "ports: expected .*not '80:x'"),
        ({"ports": ["70000:80"]}, "ports: expected .*not '70000:80'"),
        ({"ports": ["1.2.3:8080:80"]}, "needs an IP address, not '1.2.3'"),
        ({"volumes": ["/data"]}, "volumes: expected .*not '/data'"),
        ({"volumes": ["~/x:/data:rx"]}, "volumes: expected"),
        ({"gpus": 0}, 'gpus: expected "all"'),
        ({"gpus": [";"]}, 'gpus: expected "all"'),
        ({"name": "a b"}, "name: 'a b' is not a valid name"),
        ({"image": ""}, "image: expected the name of an image"),
        ({"image": "--privileged"}, "image: expected the name of an image"),
        ({"env": {"a b": "x"}}, "env: 'a b' is not a valid name"),
        ({"env": {"A": "s3cret\nmore"}}, "env: the value of A must be a text of one line"),
        ({"env": {"A": 5}}, "env: the value of A must be a text"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    machine: Machine, found: Containers, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClusterConfigurationError, match=message) as caught:
        found.start(ContainerOptions(**{"image": "tiny", **options}))
    assert "s3cret" not in str(caught.value)
    assert machine.calls == []


def test_all_containers_are_stopped_and_removed(machine: Machine, found: Containers) -> None:
    found.remove_all()
    assert machine.commands == ["ps --all --quiet --no-trunc"]
    machine.answer(ps=(0, "a\nb\n", ""))
    found.remove_all()
    assert machine.commands[1:] == ["stop a b", "rm --force a b"]


def test_a_container_that_ended_meanwhile_is_no_error(machine: Machine, found: Containers) -> None:
    machine.answer(ps=(0, "", ""), rm=(1, "", "Error: No such container: a\n"))
    found._remove(["a"])
    machine.answer(ps=(0, "a\n", ""), rm=(1, "", "Error response from daemon: device is busy\n"))
    with pytest.raises(RemoteCommandError, match="docker rm failed: device is busy"):
        found._remove(["a"])


def test_containers_of_an_image(machine: Machine, found: Containers) -> None:
    machine.answer(ps=(0, "a\n", ""))
    found.remove_by_image("my image:1")
    assert machine.calls[0][0] == ["ps", "--all", "--quiet", "--no-trunc", "--filter=ancestor=my image:1"]
    with pytest.raises(ClusterConfigurationError, match="is empty"):
        found.remove_by_image("")


@pytest.mark.parametrize(
    ("command", "removed"),
    [("tensorboard --logdir", ["a"]), ("--logdir x", ["a"]), ("sh", ["b"]), ("absent", []), ("logdir.x", [])],
)
def test_containers_by_command(machine: Machine, found: Containers, command: str, removed: Sequence[str]) -> None:
    lines = 'a "tensorboard" ["--logdir","x"]\nb "/bin/sh" null\n'
    machine.answer(ps=(0, "a\nb\n", ""), inspect=(0, lines, ""))
    found.remove_by_command(command)
    assert [one for one in machine.commands if one.startswith("rm")] == [f"rm --force {one}" for one in removed]


def test_an_empty_command_is_refused_because_it_matches_all(machine: Machine, found: Containers) -> None:
    with pytest.raises(ClusterConfigurationError, match="would match all"):
        found.remove_by_command(" ")
    assert machine.calls == []


def test_docker_is_found_and_answers(machine: Machine, found: Containers) -> None:
    assert (found.is_installed(), found.is_running()) == (True, True)
    machine.answer(ps=(1, "", "permission denied"))
    assert (found.is_installed(), found.is_running()) == (True, False)
    (machine.folder / "docker").unlink()
    assert found.is_installed() is False


def test_variables_of_the_role(tmp_path: Path) -> None:
    assert containers.role_variables(tmp_path, ["A"], enabled=False, nvidia=True, timeout=5) == {}
    assert containers.role_variables(tmp_path, ["DOCKER"], enabled=True, nvidia=False, timeout=5) == {
        "cluster_docker": True,
        "cluster_containers_nvidia": False,
        "cluster_containers_timeout": 5,
        "cluster_containers_logins_src": str(tmp_path),
        "cluster_containers_logins_sections": ["DOCKER"],
    }
