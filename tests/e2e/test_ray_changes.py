"""Changes under a running cluster of current Ray: its release, the hosts' Python, lost hosts, and lack of memory.

The tests share the cluster of ``test_ray_runtime``; each leaves it with three live nodes and its first configuration.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from flambe_ansible.lab import LabInfo, cgroups, host, state
from tests.e2e import cloud
from tests.e2e.ray_clusters import PACKAGES, VERSION, RayCluster
from tests.e2e.test_ray_jobs import COUNT, find, submit, wait
from tests.python_builds import VERSION as BUILD
from tests.python_builds import write_build

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(1800)]

OLDER = "2.59.0"
# Starts of Ray by a launch; on a slow machine Ray itself gives up after 30 s, and systemd starts it again.
STARTS = "sudo journalctl -q -o cat -u flambe-ray.service | grep -E '^Started |Scheduled restart'"
MIRROR_PORT = 8000
RETRIED = """
import os, time, ray
ray.init(logging_level="ERROR")

@ray.remote(scheduling_strategy="SPREAD", num_cpus=1, max_retries=3)
def work(number):
    print("task", number, "on", os.uname().nodename, flush=True)
    time.sleep(30)
    return os.uname().nodename

print("results of", sorted(set(ray.get([work.remote(number) for number in range(4)]))))
"""
HUNGRY = """
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("1000")
print("hungry", flush=True)
blocks = []
while True:
    blocks.append(b"x" * (8 << 20))
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changes")
    for name, text in {"count.py": COUNT, "retried.py": RETRIED, "hungry.py": HUNGRY}.items():
        (folder / name).write_text(text)
    return folder


def test_a_factory_is_drained_before_it_is_removed(ray_cluster: RayCluster, work: Path) -> None:
    """A task on it prevents the removal until its end; it is not lost."""
    ray_cluster.call("resize", "3", "--yes")
    assert ray_cluster.wait_for_nodes(4)["state"] == "running"
    options = ["--workdir", work, "--name", "drained", "--env", "RAY_DEDUP_LOGS=0"]
    submit(ray_cluster, *options, "--", "python", "retried.py")
    name = ray_cluster.on("factory 2", "uname -n").strip()
    cloud.wait_until(lambda: f"on {name}" in ray_cluster.call("logs", "drained", code=None), "a task runs", 120)
    refused = ray_cluster.call("remove", "factory", "2", "--yes", "--timeout", "2", code=11)
    assert "Ray was not drained within 2 s; nothing was removed" in refused
    assert "e2e_ray_factory_2: " in refused
    ray_cluster.call("remove", "factory", "2", "--yes")
    assert "results of" in ray_cluster.call("logs", "drained", "--follow")
    assert ray_cluster.wait_for_nodes(3)["state"] == "running"


def count_starts(cluster: RayCluster) -> dict[str, int]:
    lines = {name: text.splitlines() for name, text in cluster.on_all(STARTS).items()}
    return {name: sum(1 if line.startswith("Started") else -1 for line in found) for name, found in lines.items()}


def set_shutdown_behavior(lab: LabInfo, instance: str, value: str) -> None:
    """Set what EC2 does with an instance whose host has shut itself down."""
    name = "instanceInitiatedShutdownBehavior"
    cloud.client(lab).modify_instance_attribute(InstanceId=instance, Attribute=name, Value=value)
    found = cloud.client(lab).describe_instance_attribute(InstanceId=instance, Attribute=name)
    assert found["InstanceInitiatedShutdownBehavior"]["Value"] == value


def test_a_lost_factory_rejoins_and_its_tasks_run_again(ray_cluster: RayCluster, work: Path, lab: LabInfo) -> None:
    settings = state.load(lab.name)
    assert settings is not None
    name = ray_cluster.on("factory 0", "uname -n").strip()
    outputs: list[str] = []
    options = ["--workdir", work, "--name", "retried", "--env", "RAY_DEDUP_LOGS=0", "--follow"]
    job = threading.Thread(target=lambda: outputs.append(submit(ray_cluster, *options, "--", "python", "retried.py")))
    job.start()
    cloud.wait_until(lambda: f"on {name}" in ray_cluster.call("logs", "retried", code=None), "a task runs", 120)
    instance = ray_cluster.first_launch["factories"][0]["instance_id"]
    set_shutdown_behavior(lab, instance, "stop")  # for EC2, a killed host has shut itself down
    try:
        host.kill(settings, instance)
        lost = ray_cluster.wait_for_nodes(2)
        assert lost["state"] != "running"
        cloud.wait_for(lab, [instance], "stopped")
        cloud.client(lab).start_instances(InstanceIds=[instance])
        assert ray_cluster.wait_for_nodes()["state"] == "running"
    finally:
        set_shutdown_behavior(lab, instance, "terminate")
    job.join()
    [output] = outputs
    assert "results of" in output
    started = re.findall(r"task (\d) on", output)
    assert sorted(set(started)) == ["0", "1", "2", "3"]
    assert len(started) > 4, output
    assert find(ray_cluster, "retried")["state"] == "succeeded"


def test_a_job_that_the_kernel_kills_for_lack_of_memory(ray_cluster: RayCluster, work: Path, lab: LabInfo) -> None:
    instance = ray_cluster.first_launch["orchestrator"]["instance_id"]
    [group] = [path for path in cgroups._groups(lab.name, instance) if (path / "memory.stat").exists()]
    fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    used = int(fields.get("total_rss") or fields["anon"])
    limit, unlimited = (
        ("memory.limit_in_bytes", "-1") if (group / "memory.limit_in_bytes").exists() else ("memory.max", "max")
    )
    (group / limit).write_text(str(used + (600 << 20)))
    try:
        output = submit(
            ray_cluster, "--workdir", work, "--name", "hungry", "--follow", "--", "python", "hungry.py", code=137
        )
    finally:
        (group / limit).write_text(unlimited)
    assert "killed by the kernel: the host is out of memory" in output
    job = find(ray_cluster, "hungry")
    assert (job["state"], job["reason"]) == ("failed", "killed by the kernel: the host is out of memory")
    assert ray_cluster.wait_for_nodes()["state"] == "running"


def test_a_new_release_and_a_package_converge_in_one_launch(ray_cluster: RayCluster, work: Path) -> None:
    ray_cluster.write(runtime={"ray": OLDER, "packages": PACKAGES})
    assert ray_cluster.launch()["ray"]["version"] == OLDER
    submit(ray_cluster, "--workdir", work, "--name", "older", "--", "python", "count.py")
    wait(ray_cluster, "older", "running")
    before = count_starts(ray_cluster)
    ray_cluster.write(runtime={"ray": VERSION, "packages": [*PACKAGES, "iniconfig==2.0.0"]})
    refused = " ".join(ray_cluster.call("launch", "--yes", code=11).split())
    assert f"ray changes from {OLDER} to {VERSION}" in refused
    assert "nothing was changed" in refused
    assert count_starts(ray_cluster) == before
    assert (find(ray_cluster, "older")["state"], ray_cluster.document("status")["ray"]["version"]) == ("running", OLDER)
    document = ray_cluster.launch("--force")
    assert (document["ray"]["version"], document["ray"]["alive"]) == (VERSION, 3)
    assert count_starts(ray_cluster) == {name: count + 1 for name, count in before.items()}
    assert find(ray_cluster, "older")["state"] == "failed"
    versions = ray_cluster.on_all("cd /opt/ray/venv/lib/python3*/site-packages && ls -d iniconfig-*")
    assert set(versions.values()) == {"iniconfig-2.0.0.dist-info\n"}
    assert set(ray_cluster.launch()["changed"].values()) == {0}
    assert count_starts(ray_cluster) == {name: count + 1 for name, count in before.items()}
    ray_cluster.write()
    ray_cluster.launch()


def test_a_python_that_differs_on_one_host_is_named_and_replaced_by_a_build_of_uv(
    ray_cluster: RayCluster, tmp_path: Path
) -> None:
    address = ray_cluster.first_launch["orchestrator"]["private_ip"]
    write_build(tmp_path, f"http://{address}:{MIRROR_PORT}")
    [archive] = tmp_path.glob("*.tar.gz")
    ray_cluster.send("factory 1", "/opt/other/build.tar.gz", archive.read_bytes())
    own = set(ray_cluster.on_all("/usr/bin/python3 -V").values()).pop().split()[1]
    before = count_starts(ray_cluster)
    ray_cluster.on(
        "factory 1", "cd /opt/other && sudo tar xzf build.tar.gz && sudo ln -s $PWD/python/bin/python3 /usr/local/bin"
    )
    ray_cluster.write(runtime={"ray": VERSION, "packages": [*PACKAGES, "iniconfig==2.0.0"]})
    refused = " ".join(ray_cluster.call("launch", "--yes", code=6).split())
    named = f"python3 is {own} on e2e_ray_factory_0, e2e_ray_orchestrator, {BUILD} on e2e_ray_factory_1"
    assert f"{named}, and Python 3.12 could not be installed" in refused
    assert "UV_PYTHON_INSTALL_MIRROR in /etc/environment" in refused
    assert (count_starts(ray_cluster), ray_cluster.document("status")["ray"]["alive"]) == (before, 3)

    for path in tmp_path.iterdir():
        ray_cluster.send("orchestrator", f"/srv/mirror/{path.name}", path.read_bytes())
    serve = f"python3 -m http.server --bind {address} {MIRROR_PORT}"
    ray_cluster.on(
        "orchestrator", f"sudo systemd-run --quiet --unit e2e-mirror -p WorkingDirectory=/srv/mirror {serve}"
    )
    line = f"UV_PYTHON_DOWNLOADS_JSON_URL=http://{address}:{MIRROR_PORT}/downloads.json"
    ray_cluster.on_all(f"echo {line} | sudo tee -a /etc/environment")
    ray_cluster.write(runtime={"ray": VERSION, "packages": PACKAGES, "python": BUILD})
    assert f"install Python {BUILD} (Python {BUILD} is missing on" in " ".join(
        ray_cluster.call("launch", "--yes").split()
    )
    assert set(ray_cluster.on_all("/opt/ray/venv/bin/python -V").values()) == {f"Python {BUILD}\n"}
    bases = ray_cluster.on_all("/opt/ray/venv/bin/python -c 'import sys; print(sys.base_prefix)'")
    assert all(base.startswith("/opt/ray/python/cpython-") for base in bases.values()), bases
    assert ray_cluster.document("status")["ray"]["alive"] == 3
    assert set(ray_cluster.launch()["changed"].values()) == {0}

    ray_cluster.on("orchestrator", "sudo systemctl stop e2e-mirror")
    ray_cluster.on_all("sudo sed -i /UV_PYTHON/d /etc/environment; sudo rm -f /usr/local/bin/python3")
    ray_cluster.write()
    assert ray_cluster.launch()["ray"]["alive"] == 3
    assert set(ray_cluster.on_all("/opt/ray/venv/bin/python -V").values()) == {f"Python {own}\n"}
