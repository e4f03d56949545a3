"""Hosts of a large cluster read the names and host keys of the others from one host, with the ssh of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_peers, cluster_ssh, files

HOSTS = [
    {
        "name": f"node-{index}",
        "names": [f"10.0.0.{index}", f"node-{index}", f"host-{index}"],
        "host_keys": [f"ssh-ed25519 AAAA{index}"],
    }
    for index in range(1, 5)
]
NAMES = [str(host["name"]) for host in HOSTS]
OPTIONS = [("IdentityFile", "~/ray_bootstrap_key.pem")]


class Home:
    """The folder ~/.ssh of node-2, whose ssh reads from node-1; that answers with the files of its own ~/.ssh."""

    def __init__(self, folder: Path) -> None:
        self.ssh = folder / "home" / ".ssh"
        self.ssh.mkdir(parents=True)
        known = cluster_ssh.known_lines(HOSTS, NAMES, [])
        (folder / "source" / ".ssh").mkdir(parents=True)
        for name, lines in (("known_hosts", known), ("config", cluster_ssh.config_lines(known, "ml", OPTIONS))):
            text = files.with_block(f"# mine, {name}\n", cluster_ssh.BLOCK, lines)
            (folder / "source" / ".ssh" / name).write_text(text)
        own = cluster_ssh.known_lines(HOSTS[:2], NAMES[:2], [])
        config = cluster_peers.config_lines(cluster_ssh.config_lines(own, "ml", OPTIONS))
        self.config = self.ssh / "config"
        self.config.write_text(files.with_block("", cluster_ssh.BLOCK, config).replace("~/.ssh", str(self.ssh)))
        (self.ssh / cluster_peers.SCRIPT).write_text(cluster_peers.write_script("node-1", own, "ml"))
        self.calls = folder / "calls"
        fake = folder / "bin" / "ssh"
        fake.parent.mkdir()
        fake.write_text(
            f'#!/bin/sh\necho "$@" >>{self.calls}\nfor last do :; done\ncd {folder}/source && eval "$last"\n'
        )
        fake.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}", "SHELL": "/bin/sh"}

    def resolve(self, name: str) -> dict[str, str]:
        """Return how the real ssh connects to a name."""
        argv = ["/usr/bin/ssh", "-G", "-F", str(self.config), name]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=True)
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    def count_calls(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_source_and_the_host_itself_are_known(home: Home) -> None:
    assert home.resolve("node-1")["hostname"] == "10.0.0.1"
    assert home.resolve("host-2")["hostname"] == "10.0.0.2"
    assert home.count_calls() == 0


def test_another_host_is_read_from_the_source_once(home: Home) -> None:
    found = home.resolve("node-4")
    assert (found["hostname"], found["user"]) == ("10.0.0.4", "ml")
    assert found["userknownhostsfile"].endswith("flambe_peers.known_hosts")
    known = (home.ssh / cluster_peers.CACHE[0]).read_text()
    assert "10.0.0.4,node-4,host-4 ssh-ed25519 AAAA4 node-4\n" in known
    assert "mine" not in known
    assert home.resolve("host-3")["hostname"] == "10.0.0.3"
    assert home.count_calls() == 1
    assert "-o StrictHostKeyChecking=yes" in home.calls.read_text()
    assert sorted(one.name for one in home.ssh.iterdir()) == sorted(
        ["config", cluster_peers.SCRIPT, *cluster_peers.CACHE]
    )


def test_hosts_outside_of_the_cluster_are_unchanged(home: Home) -> None:
    found = home.resolve("git.example.org")
    assert found["hostname"] == "git.example.org"
    assert "flambe_peers" not in found["userknownhostsfile"]
    assert found["user"] != "ml"


def test_a_source_that_does_not_answer_leaves_the_configuration_usable(home: Home) -> None:
    (home.ssh.parent.parent / "bin" / "ssh").write_text("#!/bin/sh\nexit 255\n")
    assert home.resolve("node-4")["hostname"] == "node-4"
    assert home.resolve("node-1")["hostname"] == "10.0.0.1"


def test_without_the_lines_of_the_source_there_is_no_script() -> None:
    assert cluster_peers.write_script("node-1", [], "ml") == ""


def test_another_port_of_the_source() -> None:
    known = cluster_ssh.known_lines([{**HOSTS[0], "port": 2222}], NAMES[:1], [])
    assert " -p 2222 " in cluster_peers.write_script("node-1", known, "ml")


def test_the_cache_is_removed_and_the_script_if_it_is_not_needed(home: Home) -> None:
    home.resolve("node-4")
    cluster_peers.forget(str(home.ssh))
    assert sorted(one.name for one in home.ssh.iterdir()) == ["config", cluster_peers.SCRIPT]
    cluster_peers.forget(str(home.ssh), script=True)
    assert [one.name for one in home.ssh.iterdir()] == ["config"]
