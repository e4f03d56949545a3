"""Connections to hosts of the lab, with sshd, systemd and sudo; their host keys come from the console."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flambe_ansible import inventory
from flambe_ansible.cluster.lab import LabCluster
from flambe_ansible.errors import BastionKeyError, HostConnectionError, HostKeyError, RemoteCommandError
from flambe_ansible.events import Event, Notice
from flambe_ansible.hosts import Host
from flambe_ansible.lab import LabInfo
from flambe_ansible.playbooks import run_playbook
from flambe_ansible.ssh import Connections, Progress, quote
from tests.e2e import cloud

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def cluster(lab: LabInfo) -> Iterator[LabCluster]:
    """Launch two hosts without any configuration."""
    cluster = LabCluster(name="ssh-test", lab=lab.name, factories_num=1)
    cluster.parse()
    cluster.load_all_instances()
    for host in cluster.hosts:
        cloud.wait_until(lambda host=host: cluster.expected_host_keys(host), f"{host.name}'s keys on its console", 60)  # type: ignore[misc]
    yield cluster
    cluster.terminate_instances()


@pytest.fixture
def hosts(cluster: LabCluster) -> list[Host]:
    return list(cluster.hosts)


@pytest.fixture
def make(cluster: LabCluster, tmp_path: Path) -> Callable[..., Connections]:
    """Make connections that trust the keys on the console."""

    def build(**options: object) -> Connections:
        known_hosts = tmp_path / "known hosts"
        key = Path(cluster.key)
        connections = Connections(username="ubuntu", key=key, known_hosts=known_hosts, **options)  # type: ignore[arg-type]
        for host in cluster.hosts:
            connections.trust(host, cluster.expected_host_keys(host) or [])
        return connections

    return build


def test_one_connection_is_used_for_all_commands(
    make: Callable[..., Connections], hosts: list[Host], tmp_path: Path
) -> None:
    with make(strict_host_keys=True) as connections:
        connections.wait(hosts, timeout=60)
        probes = connections.probe(hosts)
        assert {(probe.machine, probe.sudo, probe.rsync) for probe in probes.values()} == {("x86_64", True, True)}
        assert {probe.home for probe in probes.values()} == {"/home/ubuntu"}
        before = count_logins(connections, hosts[0])
        for number in range(5):
            assert connections.run(hosts[0], quote(["printf", "%s", f"$x '{number}"])).stdout == f"$x '{number}"
        (tmp_path / "play.yml").write_text(
            "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n    - ansible.builtin.ping:\n"
        )
        connection = {host.name: connections.ansible_variables(host) for host in hosts}
        played = run_playbook(
            str(tmp_path / "play.yml"),
            inventory=inventory.build(hosts, connection=connection, variables={"cluster_name": "c"}),
            log=tmp_path / "log",
        )
        assert {result.ok for result in played.values()} == {2}
        assert count_logins(connections, hosts[0]) == before
        folder = connections._folder
    assert folder is not None
    assert not folder.exists()


def test_a_static_inventory(
    make: Callable[..., Connections], cluster: LabCluster, hosts: list[Host], tmp_path: Path
) -> None:
    connections = make()
    static = Connections.static_variables(
        hosts, username="ubuntu", key=Path(cluster.key), known_hosts=connections.known_hosts
    )
    (tmp_path / "play.yml").write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n")
    played = run_playbook(
        str(tmp_path / "play.yml"),
        inventory=inventory.build(hosts, connection=static, variables={"cluster_name": "c"}),
        log=tmp_path / "log",
    )
    assert {result.ok for result in played.values()} == {1}


def test_errors_of_commands_include_command_and_output(make: Callable[..., Connections], hosts: list[Host]) -> None:
    host = hosts[1]
    with make() as connections:
        for code in (3, 255):
            with pytest.raises(RemoteCommandError) as caught:
                connections.run(host, f"echo out; echo why >&2; exit {code}")
            assert (caught.value.host, caught.value.returncode, caught.value.output) == (host.name, code, "out\nwhy")
        started = time.monotonic()
        with pytest.raises(RemoteCommandError, match="limit of 1 s"):
            connections.run(host, "sleep 4321", timeout=1)
        assert time.monotonic() - started < 120
        assert connections.run(host, "pgrep -fx 'sleep 4321'", check=False).returncode == 1
        assert connections.run(host, "cat", input=b"\xff\x00z").stdout == "�\0z"


def test_files_with_unusual_names(make: Callable[..., Connections], hosts: list[Host], tmp_path: Path) -> None:
    source = tmp_path / "out dir"
    source.mkdir()
    name = 'it\'s "$(touch pwned)" %h \\ é'
    (source / name).write_bytes(os.urandom(300_000))
    received: list[Progress] = []
    with make() as connections:
        connections.put(
            hosts[0], f"{source}/", "in dir/$(touch pwned)/", options=["--mkpath"], progress=received.append
        )
        connections.get(hosts[0], f"in dir/$(touch pwned)/{name}", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == (source / name).read_bytes()
        assert received[-1].percent == 100
        assert connections.run(hosts[0], "test -e pwned", check=False).returncode == 1
        with pytest.raises(RemoteCommandError, match="No such file"):
            connections.get(hosts[0], "/nowhere", tmp_path / "x")


def test_tunnel(make: Callable[..., Connections], hosts: list[Host]) -> None:
    with make() as connections, connections.tunnel(hosts[0], 22) as port:
        scanned = subprocess.run(
            ["ssh-keyscan", "-t", "ed25519", "-p", str(port), "127.0.0.1"], capture_output=True, text=True, check=True
        )
        assert scanned.stdout.split()[1:3] == next(
            key.split() for key in connections.trusted(hosts[0]) if key.startswith("ssh-ed25519")
        )


def test_a_wrong_key_is_refused(make: Callable[..., Connections], hosts: list[Host]) -> None:
    host = hosts[1]
    with make() as connections:
        connections.run(hosts[0], "true")
        logins = count_logins(connections, host)
        other = replace(host, instance_id="i-other")
        connections.trust(other, connections.trusted(hosts[0]))
    with make() as connections:
        with pytest.raises(HostKeyError, match=r"shows the key ssh-ed25519 SHA256:.* but the key of i-other is"):
            connections.wait([other], timeout=30)
        with pytest.raises(HostKeyError):
            connections.run(other, "touch /tmp/changed", input="a secret")
        assert connections.run(host, "test -e /tmp/changed", check=False).returncode == 1
        assert count_logins(connections, host) == logins + 1


def test_an_unknown_key(make: Callable[..., Connections], hosts: list[Host]) -> None:
    unknown = replace(hosts[0], instance_id="i-unknown")
    received: list[Event] = []
    with make(strict_host_keys=True) as connections, pytest.raises(HostKeyError, match="no trusted host key is known"):
        connections.wait([unknown], timeout=30)
    with make() as connections:
        connections.wait([unknown], timeout=30, observer=received.append)
        (notice,) = [event for event in received if isinstance(event, Notice)]
        assert notice.warning
        assert "SHA256:" in notice.message
        assert connections.trusted(unknown)


def test_a_wrong_user_fails_in_time(make: Callable[..., Connections], hosts: list[Host]) -> None:
    with make(login_patience=1.0) as connections:
        connections.username = "no-such-user"
        with pytest.raises(HostConnectionError, match=r"SSH login as .* with the key .* failed") as caught:
            connections.wait(hosts[:1], timeout=60)
        assert "ssh-add" in (caught.value.hint or "")


def test_a_lost_connection_is_opened_again(make: Callable[..., Connections], hosts: list[Host]) -> None:
    with make() as connections:
        connections.run(hosts[0], "true")
        process = connections._masters[hosts[0].place]._process
        assert process is not None
        process.kill()
        process.wait()
        assert connections.run(hosts[0], "echo back").stdout == "back\n"


def test_through_a_bastion(make: Callable[..., Connections], hosts: list[Host], tmp_path: Path) -> None:
    bastion, host = hosts
    with make(proxy_jump=f"ubuntu@{bastion.address}:22", strict_host_keys=True) as connections:
        with pytest.raises(BastionKeyError, match="the bastion's host key is not in your known_hosts"):
            connections.wait([host], timeout=30)
        connections.trust(replace(bastion, instance_id=bastion.address), connections.trusted(bastion))
        connections.wait([host], timeout=30)
        assert connections.run(host, "echo $SSH_CONNECTION").stdout.split()[0] == bastion.private_ip
        (tmp_path / "file").write_text("x")
        connections.put(host, tmp_path / "file", "via-bastion")
        shell = subprocess.run([*connections.argv(host), "cat", "via-bastion"], capture_output=True, check=True)
        assert shell.stdout == b"x"


def test_ctrl_c_ends_commands_and_keeps_connections(make: Callable[..., Connections], hosts: list[Host]) -> None:
    with make() as connections:
        connections.wait(hosts, timeout=60)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            threading.Thread(target=interrupt_once_they_run, args=("sleep 987",), daemon=True).start()
            connections.run_all(hosts, "sleep 987")
        assert time.monotonic() - started < 120
        before = [master._process for master in connections._masters.values()]
        assert {done.stdout for done in connections.run_all(hosts, "echo here").values()} == {"here\n"}
        assert [master._process for master in connections._masters.values()] == before


def interrupt_once_they_run(command: str) -> None:
    """Send SIGINT as soon as the ssh process of a command is running."""
    while command not in subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True, check=True).stdout:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)


def count_logins(connections: Connections, host: Host) -> int:
    """Count the accepted logins in sshd's journal."""
    command = "sudo -n journalctl --no-pager -o cat | grep -c 'Accepted publickey for ubuntu' || true"
    return int(connections.run(host, command).stdout)
