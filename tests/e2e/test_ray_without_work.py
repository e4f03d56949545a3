"""The automatic shutdown, with Ray running: idle hosts end, busy ones stay.

The first test ends the hosts of the cluster that all modules ``test_ray_*`` share, so this module is the last of them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible.ec2 import guard
from flambe_ansible.lab import LabInfo
from flambe_ansible.paths import collection, collections_root
from tests.e2e import cloud
from tests.e2e.ray_clusters import VERSION, RayCluster

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

HOSTS = ("orchestrator", "factory 0", "factory 1")
ENDED = {"shutting-down", "terminated"}
FACTORIES, ORCHESTRATOR = 6, 40  # idle seconds of the fast clock


def run_fast(cluster: RayCluster, **variables: Any) -> None:
    """Play the role on all hosts with a check every two seconds, and other variables."""
    inventory = cluster.folder / "inventory.json"
    inventory.write_text(cluster.call("inventory"))
    fast = {"idle_shutdown_interval": 2, "idle_shutdown_patience": 5, "idle_shutdown_cpu_percent": 90}
    (cluster.folder / "fast.yml").write_text(yaml.safe_dump({**fast, **variables}))
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), "--tags", "idle_shutdown"]
    argv += ["-e", f"@{cluster.folder}/fast.yml", str(collection() / "playbooks/site.yml")]
    environment = {**cluster.environment, "ANSIBLE_COLLECTIONS_PATH": str(collections_root())}
    done = subprocess.run(argv, env=environment, cwd=cluster.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def list_hosts(cluster: RayCluster) -> dict[str, dict[str, Any]]:
    """Return the hosts of the status by their short names."""
    status = cluster.document("status")
    return dict(zip(HOSTS, [status["orchestrator"], *status["factories"]], strict=False))


def wait_for(cluster: RayCluster, signals: dict[str, set[str]], *, seconds: float = 120) -> dict[str, dict[str, Any]]:
    """Wait until exactly these signals keep each of these hosts busy; return the idle states."""
    return cloud.ask_until(
        lambda: {name: host["idle"] for name, host in list_hosts(cluster).items()},
        lambda states: {name: {one["signal"] for one in states[name]["busy"]} for name in signals} == signals,
        f"hosts are kept busy by {signals}",
        seconds,
    )


def state_of(lab: LabInfo, instance: str) -> str:
    found: str = cloud.describe(lab, instance)[0]["State"]["Name"]
    return found


def test_idle_hosts_end_and_a_busy_one_stays(ray_cluster: RayCluster, lab: LabInfo) -> None:
    ids = {name: host["instance_id"] for name, host in list_hosts(ray_cluster).items()}
    assert ray_cluster.document("status")["ray"]["alive"] == 3
    ray_cluster.on("factory 1", "touch /tmp/busy")
    job = submit(ray_cluster)
    run_fast(
        ray_cluster,
        cluster_factories_idle_seconds=FACTORIES,
        cluster_orchestrator_idle_seconds=ORCHESTRATOR,
        idle_shutdown_command="test -e /tmp/busy",
    )
    # A job keeps all hosts, used or not: factory 0 asks the orchestrator at its end.
    wait_for(ray_cluster, {"orchestrator": {"ray"}, "factory 1": {"command"}})
    log = "sudo journalctl -q --no-pager -o cat -u flambe-idle-shutdown | grep stays; true"
    cloud.wait_until(lambda: f"Ray runs job {job}" in ray_cluster.on("factory 0", log), "factory 0 has asked", 120)
    ray_cluster.call("keep", "0.4m")
    assert "busy: idle_command exits with 0; kept until" in ray_cluster.call("status")
    kept = datetime.fromisoformat(list_hosts(ray_cluster)["factory 0"]["idle"]["kept_until"])
    ray_cluster.call("stop", "sleep")
    cloud.wait_until(lambda: state_of(lab, ids["factory 0"]) in ENDED, "factory 0 ended", 120)
    assert datetime.now(UTC) > kept
    assert state_of(lab, ids["orchestrator"]) == "running"
    end, shown = time.monotonic() + 120, ""
    # It was created with a timeout of -1, so it is stopped, not terminated.
    while state_of(lab, ids["orchestrator"]) != "stopped":
        assert time.monotonic() < end, shown
        shown = ray_cluster.call("status", code=None)
        time.sleep(5)
    assert state_of(lab, ids["factory 1"]) == "running"


def submit(cluster: RayCluster) -> str:
    """Submit a job that uses no CPU; return its id."""
    cluster.execute("submit", "--cluster", cluster.file, "--name", "sleep", "--", "sleep", "3600")
    found: str = cluster.document("jobs")["jobs"][0]["id"]
    return found


def test_a_host_that_no_launch_configures_ends(lab: LabInfo) -> None:
    script = guard.write_user_data(seconds=3, interval=1)
    [instance] = cloud.run(lab, UserData=script, InstanceInitiatedShutdownBehavior="terminate")
    cloud.wait_for(lab, [instance], "terminated", timeout=60)


@contextmanager
def launched(folder: Path, lab: LabInfo, name: str) -> Iterator[RayCluster]:
    """Launch a cluster of one factory that ends after five idle minutes."""
    (folder / name).mkdir()
    cluster = RayCluster(folder / name, lab)
    cluster.write(name=name, factories_num=1, runtime={"ray": VERSION}, orchestrator_timeout=0, factories_timeout=0)
    try:
        cluster.first_launch = cluster.launch()
        yield cluster
    finally:
        cluster.end()


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_fifteen_minutes_of_an_idle_and_of_a_busy_cluster(lab: LabInfo, tmp_path: Path) -> None:
    """Real time, all defaults: an idle cluster ends; one with a job that uses no CPU stays until the job has ended."""
    with ExitStack() as stack:
        busy, idle = (stack.enter_context(launched(tmp_path, lab, name)) for name in ("busy", "idle"))
        submit(busy)
        began = time.monotonic()
        hosts = {one: list_hosts(one).values() for one in (busy, idle)}
        ids = {one: [host["instance_id"] for host in found] for one, found in hosts.items()}
        cloud.wait_until(lambda: {state_of(lab, one) for one in ids[idle]} <= ENDED, "the idle cluster ended", 900)
        assert time.monotonic() - began > 240
        time.sleep(max(began + 900 - time.monotonic(), 0))
        assert {state_of(lab, one) for one in ids[busy]} == {"running"}
        assert busy.document("status")["ray"]["alive"] == 2
        busy.call("stop", "sleep")
        cloud.wait_until(lambda: {state_of(lab, one) for one in ids[busy]} <= ENDED, "the busy cluster ended", 900)
