"""A cluster of hosts without an API: behind a bastion, with another user, one sshd on another port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flambe_ansible import SSHCluster
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.cluster.loading import load_cluster
from flambe_ansible.errors import (
    ClusterConfigurationError,
    HostConnectionError,
    HostKeyError,
    RemoteCommandError,
    UnsupportedHostError,
)
from flambe_ansible.events import Event, Notice, Status, StepEvent
from flambe_ansible.inventory import as_yaml
from flambe_ansible.lab import LabInfo
from flambe_ansible.launch.launch import LaunchResult
from flambe_ansible.ssh import known_hosts
from tests.e2e import cloud, images, raw_hosts
from tests.e2e.commands import PROGRAM
from tests.e2e.raw_hosts import USER, RawHosts

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]


@dataclass
class Launched:
    """The cluster that the tests share, and the result of its first launch."""

    hosts: RawHosts
    file: Path
    cluster: Cluster
    result: LaunchResult


@pytest.fixture(scope="module")
def hosts(lab: LabInfo, runtime_image: str, lab_name: Callable[[str], str]) -> Iterator[RawHosts]:
    from flambe_ansible import lab as labs

    name = lab_name("raw")
    try:
        made = labs.up(name)
        yield raw_hosts.boot(made, factories=2, layers=[images.copy_layer(lab, runtime_image, made)])
    finally:
        labs.down(name)


@pytest.fixture(scope="module")
def launched(hosts: RawHosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    folder = tmp_path_factory.mktemp("ssh-cluster")
    file = hosts.write(folder / "cluster.yaml", name="raw", more="setup_cmds: ['touch ~/was-set-up']")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAMBE_ANS_STATE", str(folder / "state"))
        with load_cluster(file) as cluster:
            yield Launched(hosts, file, cluster, cluster.run())


@pytest.fixture(autouse=True)
def _same_state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests that share the cluster share its state folder."""
    if "launched" in request.fixturenames:
        launched: Launched = request.getfixturevalue("launched")
        monkeypatch.setenv("FLAMBE_ANS_STATE", str(launched.file.parent / "state"))


def run_cli(*argv: str, code: int = 0, seconds: float = 300) -> str:
    done = subprocess.run(
        [PROGRAM, *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_ray_runs_on_all_hosts_as_their_user(launched: Launched) -> None:
    assert isinstance(launched.cluster, SSHCluster)
    assert launched.cluster.provider == "ssh"
    assert [host.name for host in launched.result.hosts] == ["raw_orchestrator", "raw_factory_0", "raw_factory_1"]
    assert launched.result.ray.addresses == {one.inner for one in launched.hosts.members}
    assert launched.result.created == ()
    output = launched.cluster.connections.run_all(
        launched.cluster.hosts, "id -un; test -e ~/was-set-up; systemctl show --value -p User flambe-ray"
    )
    assert {answer.stdout for answer in output.values()} == {f"{USER}\n{USER}\n"}
    assert launched.cluster.check_ray_cluster()
    assert launched.cluster.is_ray_cluster_up()
    assert launched.cluster.cluster_has_key()
    assert [one.name for one in launched.cluster.existing_ray_cluster()] == [
        "raw_factory_0",
        "raw_factory_1",
        "raw_orchestrator",
    ]


def test_the_hosts_are_reachable_only_through_the_bastion(launched: Launched, tmp_path: Path) -> None:
    text = launched.file.read_text().replace("proxy_jump:", "# proxy_jump:")
    file = tmp_path / "direct.yaml"
    lines = [line for line in text.splitlines() if launched.hosts.bastion.outer not in line or "proxy" in line]
    file.write_text("\n".join(lines) + "\n")
    with load_cluster(file) as direct, pytest.raises(HostConnectionError, match=r"no SSH at|cannot connect"):
        direct.attach(timeout=2)


def test_the_hosts_reach_each_other_by_the_names_of_the_inventory(launched: Launched) -> None:
    orchestrator = launched.cluster.orchestrator
    assert orchestrator is not None
    for one in (*launched.hosts.members[1:], launched.hosts.members[0]):
        assert orchestrator.run(f"ssh -o BatchMode=yes {one.inner} id -un").stdout == f"{USER}\n"
    assert orchestrator.run("ssh -o BatchMode=yes raw_factory_1 id -un").stdout == f"{USER}\n"


def test_a_wrong_key_is_refused_before_anything_is_sent(launched: Launched, tmp_path: Path) -> None:
    wrong = launched.hosts.members[2].inner
    file = launched.hosts.write(tmp_path / "cluster.yaml", name="other", wrong=[wrong])
    with load_cluster(file) as cluster, pytest.raises(HostKeyError, match=f"other_factory_1: the host at {wrong}") as e:
        cluster.load_all_instances()
        cluster.connect()
    assert "host_keys" in (e.value.hint or "")
    assert e.value.exit_code == 5


def test_a_bastion_with_an_unknown_key_is_refused(launched: Launched, tmp_path: Path) -> None:
    file = launched.hosts.write(tmp_path / "cluster.yaml", name="stranger")
    lines = [line for line in file.read_text().splitlines() if not line.startswith(f"  {launched.hosts.bastion.outer}")]
    file.write_text("\n".join(lines) + "\n")
    with load_cluster(file) as cluster, pytest.raises(HostConnectionError, match="bastion's host key is not in") as e:
        cluster.attach()
    assert launched.hosts.jump in (e.value.hint or "")


def test_a_private_address_of_another_host_is_reported(launched: Launched, tmp_path: Path) -> None:
    first = launched.hosts.members[0]
    text = launched.file.read_text().replace(
        f"orchestrator_ip: {first.inner}", f"orchestrator_ip: [{first.inner}, 10.9.9.9]"
    )
    (tmp_path / "cluster.yaml").write_text(text)
    with (
        load_cluster(tmp_path / "cluster.yaml") as cluster,
        pytest.raises(UnsupportedHostError, match=r"raw_orchestrator: 10\.9\.9\.9 ") as e,
    ):
        cluster.load_all_instances()
        cluster.connect()
    assert first.inner in (e.value.hint or "")


def test_names_are_resolved_on_the_orchestrator(launched: Launched, tmp_path: Path) -> None:
    orchestrator = launched.cluster.orchestrator
    assert orchestrator is not None
    first, second, third = launched.hosts.members
    orchestrator.run(f"grep -q node-two /etc/hosts || echo '{second.inner} node-two' | sudo -n tee -a /etc/hosts")
    text = launched.file.read_text().replace("name: raw", "name: named")
    text = text.replace(f"  - {second.inner}\n", f"  - [{second.inner}, node-two]\n")
    text = text.replace(f"orchestrator_ip: {first.inner}", f"orchestrator_ip: [{first.inner}, localhost.localdomain]")
    text = text.replace("localhost.localdomain", f"ip-{first.outer.replace('.', '-')}")
    (tmp_path / "cluster.yaml").write_text(text)
    orchestrator.run(f"sudo -n sed -i 's/^{first.outer} /127.0.1.1 /' /etc/hosts")
    with load_cluster(tmp_path / "cluster.yaml") as cluster:
        assert cluster.find_hosts()[1].private_ip == "node-two"
        cluster.load_all_instances()
        cluster.connect()
        assert [host.private_ip for host in cluster.hosts] == [first.inner, second.inner, third.inner]
        assert [host.private_ip for host in cluster.find_hosts()] == [first.inner, second.inner, third.inner]
    assert load_cluster(tmp_path / "cluster.yaml").status().ray_alive == 3


def test_the_command_line_works_and_terminates_nothing(launched: Launched) -> None:
    assert '"state": "running"' in run_cli("status", str(launched.file), "--json")
    assert run_cli("ssh", str(launched.file), "factory", "1", "--", "id -un").strip() == USER
    refused = run_cli("down", str(launched.file), "--yes", code=3)
    assert "are not managed by flambe-ans; nothing was changed" in refused
    with pytest.raises(ClusterConfigurationError):
        launched.cluster.terminate_instances()
    launched.cluster.rollback_env()
    assert launched.cluster.check_ray_cluster()


def test_the_static_inventory_goes_through_the_bastion(launched: Launched, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(as_yaml(launched.cluster.inventory()))
    ansible = Path(sys.executable).parent / "ansible"
    argv = [str(ansible), "all", "-i", str(inventory), "-m", "ansible.builtin.raw", "-a", "id -un"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.count(f"\n{USER}\n") == 3


def test_content_is_uploaded_once_and_copied_to_all_hosts(launched: Launched, tmp_path: Path) -> None:
    cluster = launched.cluster
    received: list[Event] = []
    folder, file = tmp_path / "my data", tmp_path / "a:b 'quoted'.txt"
    folder.mkdir()
    (folder / "large").write_bytes(bytes(11 * 1024 * 1024))
    (folder / "old").write_text("gone soon")
    file.write_text("small")
    (folder / "link out").symlink_to("../outside")
    (tmp_path / "outside").write_text("out")
    (tmp_path / "link").symlink_to("outside")
    content = {"data": str(folder), "text/file": str(file), "link": str(tmp_path / "link"), "pypi": "requests>=2"}
    cluster.observer = received.append
    try:
        placed = cluster.send_local_content(content, "~/sent here", all_hosts=True)
        (folder / "old").unlink()
        cluster.send_local_content({"data": str(folder)}, "sent here", all_hosts=True)
    finally:
        cluster.observer = lambda _event: None
    home = cluster.get_orch_home_path()
    assert placed == {
        "data": f"{home}/sent here/data__my data",
        "text/file": f"{home}/sent here/text_file__a:b 'quoted'.txt",
        "link": f"{home}/sent here/link__link",
        "pypi": "requests>=2",
    }
    command = "cd && find 'sent here' -type f -printf '%P %s\\n' | sort"
    expected = "data__my data/large 11534336\ndata__my data/link out 3\nlink__link 3\ntext_file__a:b 'quoted'.txt 5\n"
    answers = cluster.connections.run_all(cluster.hosts, command)
    assert {name: answer.stdout for name, answer in answers.items()} == dict.fromkeys(answers, expected)
    assert any(isinstance(event, Notice) and "(11 MB)" in event.message for event in received)
    assert [event.status for event in received if isinstance(event, StepEvent)][-1] is Status.OK
    assert all("quoted" not in event.message for event in received if isinstance(event, Notice))


def test_folders_are_created_found_and_removed(launched: Launched) -> None:
    cluster = launched.cluster
    cluster.create_dirs(["work dir/results", "-dash"])
    orchestrator = cluster.orchestrator
    assert orchestrator is not None
    orchestrator.run("echo 1 > 'work dir/results/.hidden'; echo 2 > 'work dir/results/two'")
    cluster.factories[0].run("touch 'work dir/results/own'")
    cluster.rsync_orch("work dir/results")
    assert cluster.factories[1].run("ls -A 'work dir/results'").stdout.split() == [".hidden", "two"]
    assert "own" in cluster.factories[0].run("ls 'work dir/results'").stdout
    assert cluster.existing_dir("work dir/results")
    assert not cluster.existing_dir("work dir/nothing")
    cluster.remove_dir("work dir/results")
    assert cluster.connections.run_all(cluster.hosts, "ls -A 'work dir/results'")["raw_factory_0"].stdout == ""
    cluster.remove_dir("work dir", content_only=False, all_hosts=False)
    assert cluster.existing_dir("work dir")
    cluster.remove_dir("work dir", content_only=False)
    assert not cluster.existing_dir("work dir")
    cluster.remove_dir("-dash", content_only=False)
    for path in ("", "/", "~/", "..", "a/../..", "/etc", "."):
        with pytest.raises(ClusterConfigurationError, match="not a path below the home folder"):
            cluster.remove_dir(path)


def test_a_factory_that_refuses_a_copy_is_reported(launched: Launched) -> None:
    cluster = launched.cluster
    cluster.create_dirs(["closed"])
    orchestrator = cluster.orchestrator
    assert orchestrator is not None
    orchestrator.run("echo 1 > closed/one")
    cluster.factories[1].run("rm -rf closed && touch closed")
    with pytest.raises(RemoteCommandError, match="raw_factory_1: no copy from the orchestrator: ") as caught:
        cluster.rsync_orch("closed")
    assert caught.value.host == "raw_factory_1"
    cluster.factories[1].run("rm closed")
    cluster.rsync_orch("closed")
    assert cluster.factories[1].run("cat closed/one").stdout == "1\n"


def test_resources_and_environment(launched: Launched) -> None:
    cluster = launched.cluster
    resources = cluster.get_max_resources()
    assert resources == {"cpu": cluster.factories[0].num_cpus(), "gpu": 0}
    assert resources["cpu"] >= 1
    assert cluster.contains_gpu_factories() is False
    environment = cluster.get_remote_env(lambda: "me")
    assert environment.orchestrator_ip == launched.hosts.members[0].inner
    assert environment.factories_ips == [one.inner for one in launched.hosts.members[1:]]
    assert (environment.user, environment.local_user) == (USER, "me")
    assert cluster.connections.run(cluster.hosts[0], f"test -r {environment.key} && echo ok").stdout == "ok\n"


def test_a_second_launch_changes_nothing(launched: Launched) -> None:
    result = launched.cluster.run()
    assert {name: host.changed for name, host in result.playbook.items()} == dict.fromkeys(result.playbook, 0)


@pytest.mark.timeout(900)
def test_the_example_runs_and_all_hosts_are_ready_afterwards(launched: Launched) -> None:
    cluster, secrets = launched.cluster, ROOT / "examples/experiment/secrets.ini"
    argv = ["submit", str(ROOT / "examples/experiment.yaml"), "--cluster", str(launched.file), "--yes", "--follow"]
    output = run_cli(*argv, "--secrets", str(secrets), seconds=800)
    assert "Experiment ended successfully" in output
    run = cloud.ask_until(cluster.get_run, lambda run: not run.settling, "Ray was restarted after the run", 300)
    assert run.stages == dict.fromkeys(["dataset", "model", "train", "evaluate"], "succeeded")
    # flambe stops Ray on factories as the user ubuntu, which does not exist on these hosts.
    assert cluster.status().ray_alive == 3
    assert len(cluster.hosts) == 3  # as before the prompt
    raylets = cluster.connections.run_all(cluster.hosts, "pgrep -cx raylet")
    assert [answer.stdout.strip() for answer in raylets.values()] == ["1"] * 3


def test_the_example_provider_runs_on_the_hosts(launched: Launched, tmp_path: Path) -> None:
    example, hosts = ROOT / "examples" / "provider", launched.hosts
    lines = [f"{one.inner}\n" for one in hosts.members if one.port == 22]
    (tmp_path / "hosts.txt").write_text("".join(lines))
    text = (example / "cluster.yaml").read_text().replace("inventory_file: .", f"inventory_file: {example}")
    text = text.replace("username: ubuntu", f"username: {USER}\nproxy_jump: {hosts.jump}")
    (tmp_path / "cluster.yaml").write_text(text.replace("~/.ssh/id_ed25519", str(hosts.info.key)))
    with load_cluster(tmp_path / "cluster.yaml") as cluster:
        known_hosts.replace(cluster.known_hosts, hosts.bastion.outer, hosts.bastion.keys)
        result = cluster.run()
    assert [host.name for host in result.hosts] == ["mine_orchestrator", "mine_factory_0"]
    again = load_cluster(tmp_path / "cluster.yaml")
    assert [host.private_ip for host in again.find_hosts()] == [line.strip() for line in lines]
    assert again.status().ray_alive == 2
    assert "are not managed by flambe-ans" in run_cli("down", str(tmp_path / "cluster.yaml"), "--yes", code=3)
