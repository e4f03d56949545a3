"""Current Ray on hosts without an API: behind a bastion, with another user, one with a firewall of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import raw_hosts
from tests.e2e.commands import PROGRAM
from tests.e2e.raw_hosts import USER, RawHosts, ssh_argv
from tests.e2e.ray_clusters import VERSION

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(1800)]

BLOCK = (
    "sudo nft 'add table inet other; add chain inet other input { type filter hook input priority 0; }; "
    "add rule inet other input iif != lo tcp flags syn tcp dport { 6380-6385, 10002-19999 } drop'"
)
NODES = "import ray; ray.init(logging_level='ERROR'); print(sum(node['Alive'] for node in ray.nodes()), 'alive')"


@pytest.fixture(scope="module")
def hosts(lab_name: Callable[[str], str]) -> Iterator[RawHosts]:
    from flambe_ansible import lab as labs

    name = lab_name("rawray")
    try:
        yield raw_hosts.boot(labs.up(name), factories=3)
    finally:
        labs.down(name)


def run(folder: Path, *words: str, code: int = 0) -> str:
    """Run a command of flambe-ans; return stdout, with stderr after a failure."""
    argv = [PROGRAM, *words]
    environment = {**os.environ, "FLAMBE_ANS_STATE": str(folder / "state"), "COLUMNS": "80"}
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True}
    done = subprocess.run(argv, env=environment, text=True, check=False, cwd=folder, **pipes)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def test_all_hosts_join_or_are_named(hosts: RawHosts, tmp_path: Path) -> None:
    file = str(hosts.write(tmp_path / "cluster.yaml", name="rawray", more=f"runtime: {{ray: {VERSION}}}"))
    blocked = hosts.members[2]
    subprocess.run(ssh_argv(hosts, blocked, BLOCK), check=True)
    output = " ".join(run(tmp_path, "launch", file, "--yes", code=6).split())
    assert f"the head cannot connect to {blocked.inner}:6380 (rawray_factory_1)" in output
    assert "flambe-ray.service" in output  # lines of its log
    (tmp_path / "work").mkdir()
    job = ["submit", "--cluster", file, "--workdir", "work", "--follow", "--", "python", "-c", NODES]
    assert " alive\n" in run(tmp_path, *job)  # Ray may list the host that it cannot reach as alive for a moment

    subprocess.run(ssh_argv(hosts, blocked, "sudo nft delete table inet other"), check=True)
    document = json.loads(run(tmp_path, "launch", file, "--yes", "--json"))
    assert (document["state"], document["ray"]["alive"], document["ray"]["error"]) == ("running", 4, "")
    assert "4 alive" in run(tmp_path, *job)
    users = json.loads(run(tmp_path, "exec", file, "--json", "--", "systemctl show --value -p User flambe-ray"))
    assert {one["stdout"] for one in users.values()} == {f"{USER}\n"}
    assert set(json.loads(run(tmp_path, "launch", file, "--yes", "--json"))["changed"].values()) == {0}
