"""Containers on the hosts of a lab, with Docker of the distribution: methods, ports and tunnels.

The tests share one cluster and run in their order. No registry is used: the image is made of a folder of this machine.
"""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible import load_cluster
from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.fleet.instance import Instance
from flambe_ansible.lab import LabInfo
from tests.e2e.commands import Commands

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

SECRET = "c0ntainer-$(secret) 'and' blanks"
# The first process of a container ignores SIGTERM by default, and would be given ten seconds to end.
WAIT = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.1; done"
SERVE = ["/bin/busybox", "sh", "-c", f"/bin/busybox httpd -p 80 -h /www; {WAIT}"]


# Run a container, and print the id of the engine.
RUN = (
    "sudo apt-get install -q -y busybox-static >/dev/null && tar -C / -c bin/busybox | docker import - tiny >/dev/null"
    " && docker run --rm tiny /bin/busybox echo runs && docker info --format '{{.ID}}'"
)


class Boxes(Commands):
    """A cluster without a runtime, and commands on it."""

    def __init__(self, folder: Path, lab: LabInfo, *, name: str = "boxes") -> None:
        super().__init__(folder)
        self.lab = lab
        self.name = name
        (folder / "image/www").mkdir(parents=True)
        (folder / "image/www/index.html").write_text("served from a container\n")

    def write(self, *, docker: bool) -> None:
        self.file.write_text(
            f"!LabCluster\nname: {self.name}\nlab: {self.lab.name}\nfactories_num: 1\nruntime: none\n"
            f"docker: {json.dumps(docker)}\n"
        )

    def call(self, command: str, *arguments: str) -> str:
        return self.execute(command, self.file, *arguments).stdout

    def launch(self) -> dict[str, Any]:
        return dict(json.loads(self.call("launch", "--yes", "--json")))

    @contextmanager
    def following(self, *words: str) -> Iterator[Mapping[str, Any]]:
        """Run a command that stays open, and return the document that it prints first."""
        with self.start(words[0], self.file, *words[1:], "--json", stdin=None, stderr=None) as process:
            assert process.stdout
            try:
                text = ""
                while not text.endswith("\n}\n"):
                    text += process.stdout.readline()
                yield json.loads(text)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()


@pytest.fixture(scope="module")
def boxes(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
    made = Boxes(tmp_path_factory.mktemp("boxes"), lab)
    made.write(docker=False)
    yield made
    made.call("down", "--yes")


@pytest.fixture
def cluster(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the running cluster in the Python API."""
    monkeypatch.setenv("FLAMBE_ANS_STATE", boxes.environment["FLAMBE_ANS_STATE"])
    monkeypatch.setenv("HOME", boxes.environment["HOME"])
    with load_cluster(boxes.file) as found:
        found.attach()
        yield found


def make_image(host: Instance, folder: Path) -> None:
    """Import an image with one program and the files of a folder."""
    host.send(folder / "image", "image")
    host.run("sudo apt-get install -q -y busybox-static")
    host.run("mkdir -p image/bin && cp /bin/busybox image/bin/ && tar -C image -c . | sudo docker import - tiny")


def docker(host: Instance, *words: str) -> str:
    return host.run(" ".join(["sudo", "docker", *words])).stdout


def test_1_docker_is_installed_by_a_method(boxes: Boxes, request: pytest.FixtureRequest) -> None:
    boxes.launch()
    cluster = request.getfixturevalue("cluster")
    [factory] = cluster.factories
    assert not cluster.is_docker_installed()
    with pytest.raises(RemoteCommandError, match=r"boxes_factory_0: docker run tiny failed: Docker is not installed$"):
        factory.run_container("tiny")
    assert not factory.is_docker_running()
    factory.install_docker()
    assert (factory.is_docker_installed(), factory.is_docker_running()) == (True, True)
    assert not cluster.is_docker_installed()


def test_2_a_launch_installs_it_on_the_other_host(boxes: Boxes) -> None:
    boxes.write(docker=True)
    changed = boxes.launch()["changed"]
    assert (changed["boxes_factory_0"], changed["boxes_orchestrator"] > 0) == (0, True)
    again = boxes.launch()
    assert (again["created"], set(again["changed"].values())) == ([], {0})
    answers = json.loads(boxes.call("exec", "--json", "--", "docker version --format '{{.Server.Os}}'; id -nG"))
    assert all(one["stdout"].startswith("linux\n") and "docker" in one["stdout"].split() for one in answers.values())


def test_3_a_container_on_a_factory_gets_its_secrets_and_files(boxes: Boxes, cluster: Any) -> None:
    [factory] = cluster.factories
    assert cluster.is_docker_installed()
    assert cluster.is_docker_running()
    cluster.fleet.on_each(lambda host: make_image(host, boxes.folder))
    factory.create_dirs(["out"])
    script = 'printf "%s|" "$TOKEN" "$MORE" >/out/result; ' + WAIT
    started = factory.run_container(
        "tiny",
        ["/bin/busybox", "sh", "-c", script, "a 'quoted' $word"],
        volumes=["~/out:/out", "image/www:/www:ro"],
        env={"TOKEN": SECRET, "MORE": "#2"},
        name="worker",
    )
    assert (started.name, started.ports) == ("worker", {})
    found = json.loads(docker(factory, "inspect", started.id))[0]
    assert found["State"]["Running"]
    assert found["Args"][-1] == "a 'quoted' $word"
    assert [mount["RW"] for mount in sorted(found["Mounts"], key=lambda one: one["Destination"])] == [True, False]
    assert found["HostConfig"]["LogConfig"]["Config"] == {"max-file": "5", "max-size": "50m"}
    assert factory.run("cat out/result").stdout == f"{SECRET}|#2|"
    logged = factory.run("sudo journalctl --no-pager | grep -c c0ntainer; :").stdout
    assert logged.strip() == "0"


def test_4_what_cannot_be_started_leaves_nothing(cluster: Any) -> None:
    [factory] = cluster.factories
    factory.run_container("tiny", SERVE, ports=["8200:80"], name="first")
    with pytest.raises(RemoteCommandError, match="port is already allocated"):
        factory.run_container("tiny", SERVE, ports=["8200:80"], name="second")
    with pytest.raises(RemoteCommandError, match=r'Conflict\. The container name "/first" is already in use'):
        factory.run_container("tiny", SERVE, name="first")
    with pytest.raises(RemoteCommandError, match="Docker cannot use a GPU of this host"):
        factory.run_container("tiny", SERVE, gpus="all", name="third")
    with pytest.raises(RemoteCommandError, match=r"failed: .*/home/ubuntu/absent"):
        factory.run_container("tiny", SERVE, volumes=["~/absent:/data"], name="fourth")
    assert sorted(docker(factory, "ps", "-a", "--format", "{{.Names}}").split()) == ["first", "worker"]


def test_5_a_port_of_the_orchestrator_is_reached_through_a_tunnel(boxes: Boxes, cluster: Any) -> None:
    head, [factory] = cluster.orchestrator, cluster.factories
    started = cluster.run_container("tiny", SERVE, ports=["8123:80"], name="site")["boxes_orchestrator"]
    assert started.ports == {"80/tcp": "127.0.0.1:8123"}
    shared = head.run_container("tiny", SERVE, ports=["private:8124:80"])
    assert shared.ports == {"80/tcp": f"{head.private_host}:8124"}
    fetch = f"curl -sS -m 5 http://{head.private_host}"
    assert factory.run(f"{fetch}:8124/").stdout == "served from a container\n"
    assert factory.run(f"{fetch}:8123/", check=False).returncode == 7  # refused
    for command in ("open", "tunnel"):
        with boxes.following(command, "--port", "8123") as document:
            address = f"http://127.0.0.1:{document['ports']['8123']}/"
            answer = urllib.request.urlopen(address, timeout=10).read()
        assert answer == b"served from a container\n"
    curl = 'curl -sS "http://127.0.0.1:$FLAMBE_ANS_PORT_8123/"'
    assert boxes.call("tunnel", "--port", "8123", "--", "sh", "-c", curl) == "served from a container\n"


def test_6_containers_are_removed_by_image_by_command_and_all(cluster: Any) -> None:
    [factory] = cluster.factories
    docker(factory, "tag", "tiny", "other")
    factory.clean_container_by_command("httpd -p 80")
    assert docker(factory, "ps", "-a", "--format", "{{.Names}}") == "worker\n"
    factory.clean_container_by_command("httpd -p 80")
    factory.clean_container_by_image("absent")
    factory.run_container("tiny", ["/bin/busybox", "true"], name="ended")
    factory.clean_container_by_image("tiny")
    assert docker(factory, "ps", "-aq") == ""
    cluster.run_container("tiny", ["/bin/busybox", "sh", "-c", WAIT], all_hosts=True)
    cluster.clean_containers()
    cluster.clean_containers()
    assert {docker(host, "ps", "-aq") for host in (factory, cluster.orchestrator)} == {""}


@pytest.mark.long
def test_7_containers_run_on_hosts_of_an_image_with_docker(boxes: Boxes, tmp_path: Path) -> None:
    """Each of its hosts has an engine with an id of its own, and control groups for containers."""
    baked = json.loads(boxes.call("bake", "--yes", "--json"))
    assert [one["runtime"] for one in baked["images"]] == ["Docker"]
    other = Boxes(tmp_path, boxes.lab, name="more-boxes")
    other.write(docker=True)
    try:
        assert other.launch()["changed"]["more-boxes_factory_0"] > 0
        assert set(other.launch()["changed"].values()) == {0}
        outputs = [one["stdout"] for one in json.loads(other.call("exec", "--json", "--", RUN)).values()]
        assert [output.splitlines()[0] for output in outputs] == ["runs", "runs"]
        assert len(set(outputs)) == 2
    finally:
        other.call("down", "--yes")
        boxes.call("bake", "--remove", *baked["made"], "--yes")


def test_7_an_engine_that_does_not_run_is_named_and_started(boxes: Boxes, cluster: Any) -> None:
    head = cluster.orchestrator
    head.run("sudo systemctl stop docker.socket docker.service")
    assert (head.is_docker_installed(), head.is_docker_running(), cluster.is_docker_running()) == (True, False, False)
    with pytest.raises(RemoteCommandError, match="docker run tiny failed: Docker does not run"):
        head.run_container("tiny")
    head.start_docker()
    assert head.is_docker_running()
    head.run("sudo systemctl disable --now docker.service docker.socket")
    boxes.launch()
    assert head.is_docker_running()
