"""Jobs on a cluster with ``runtime: ray``: commands, from their submission to restarts of Ray and of the host.

The tests share the cluster of ``test_ray_runtime`` and run in their order; each leaves it with three live nodes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.lab import LabInfo
from tests.e2e import cloud
from tests.e2e.commands import PROGRAM
from tests.e2e.ray_clusters import PACKAGES, VERSION, RayCluster

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray"
SECRET = "pl4nted-s3cret"
COUNT = "import time\nfor second in range(600):\n    print('second', second, flush=True)\n    time.sleep(1)\n"
ASK = """
import os, urllib.request
request = urllib.request.Request(os.environ["RAY_ADDRESS"] + "/api/jobs/")
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    print(error.code)
request.add_header("Authorization", "Bearer " + open(os.environ["RAY_AUTH_TOKEN_PATH"]).read())
print(urllib.request.urlopen(request).status)
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working folder with a few programs."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "count.py").write_text(COUNT)
    (folder / "fail.py").write_text("print('one')\nraise SystemExit('no such learning rate')\n")
    (folder / "helper.py").write_text("import os\ndef look():\n    return os.uname().nodename, os.environ['KEY']\n")
    (folder / "tasks.py").write_text(
        "import ray, helper\nfrom ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On\n"
        "ray.init(logging_level='ERROR')\ntask = ray.remote(helper.look)\n"
        "nodes = [node['NodeID'] for node in ray.nodes() if node['Alive'] and node['Resources'].get('CPU')]\n"
        "answers = [task.options(scheduling_strategy=On(node, soft=False)).remote() for node in nodes]\n"
        "print(sorted(set(ray.get(answers))))\n"
    )
    return folder


def submit(cluster: RayCluster, *words: Any, code: int = 0, user: str = "", env: dict[str, str] | None = None) -> str:
    """Submit a job, as another user if one is named; return both outputs."""
    environment = {**cluster.environment, **(env or {})}
    if user:
        environment["FLAMBE_ANS_STATE"] = str(cluster.folder / user)
    argv = [str(word) for word in (PROGRAM, "submit", "--cluster", cluster.file, *words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    done = subprocess.run(argv, env=environment, text=True, check=False, **pipes)
    assert done.returncode == code, done.stdout
    return done.stdout


def find(cluster: RayCluster, name: str) -> dict[str, Any]:
    """Return the newest job of a name."""
    jobs: list[dict[str, Any]] = cluster.document("jobs")["jobs"]
    return next(job for job in jobs if job["name"] == name)


def wait(cluster: RayCluster, name: str, state: str, *, seconds: float = 120) -> dict[str, Any]:
    """Wait until a job has a state."""
    return cloud.ask_until(lambda: find(cluster, name), lambda job: job["state"] == state, f"{name} {state}", seconds)


def test_the_example_runs_on_the_factories_and_its_curves_are_shown(ray_cluster: RayCluster, tmp_path: Path) -> None:
    command = ["python", "train.py", "--trials", "8", "--steps", "2"]
    output = submit(ray_cluster, "--workdir", EXAMPLE, "--name", "example", "--follow", "--", *command)
    [line] = [line for line in output.splitlines() if line.startswith("8 trials on ")]
    assert len(line.split(", ")) == 2, output
    job = find(ray_cluster, "example")
    assert (job["state"], job["exit_code"], job["command"]) == ("succeeded", 0, command)
    ray_cluster.call("pull", tmp_path)
    assert (tmp_path / job["id"] / "results" / "trials.csv").read_text().count("\n") == 9
    assert len(list((tmp_path / "ray_results").rglob("events.out.tfevents.*"))) == 8
    cloud.wait_until(
        lambda: f"digits-{job['id']}" in ray_cluster.on("orchestrator", "curl -s http://127.0.0.1:49556/data/runs"),
        "TensorBoard shows the trials",
        timeout=60,
    )


def test_tasks_on_all_factories_have_the_files_and_the_variables(ray_cluster: RayCluster, work: Path) -> None:
    options = ["--workdir", work, "--env", "KEY", "--name", "tasks", "--follow"]
    output = submit(ray_cluster, *options, "--", "python", "tasks.py", env={"KEY": SECRET})
    [line] = [line for line in output.splitlines() if line.startswith("[(")]
    assert line.count(f"'{SECRET}'") == 2  # one of each factory
    job = find(ray_cluster, "tasks")
    assert job["env"] == ["KEY"]
    assert SECRET not in json.dumps(job)
    hidden = (
        f"! sudo grep -rlF {SECRET} ~/.flambe /tmp/ray /var/log --include='*.json' --include='*.log' --include='*.out'"
    )
    ray_cluster.on("orchestrator", f"rm -rf {job['log']} && {hidden}")


def test_a_failed_and_a_killed_job_have_their_reasons(ray_cluster: RayCluster, work: Path) -> None:
    output = submit(ray_cluster, "--workdir", work, "--follow", "--", "python", "fail.py", code=1)
    assert "exit code 1; last line: no such learning rate" in output
    submit(ray_cluster, "--workdir", work, "--name", "killed", "--", "python", "count.py")
    wait(ray_cluster, "killed", "running")
    ray_cluster.on("orchestrator", "pkill -KILL -f '^python count.py'")
    job = wait(ray_cluster, "killed", "failed")
    assert (job["exit_code"], job["reason"]) == (137, "killed by signal 9 (SIGKILL)")
    assert "second 0" in ray_cluster.call("logs", "killed")


def test_two_users_run_jobs_at_once(ray_cluster: RayCluster, work: Path) -> None:
    for user in ("one", "two"):
        submit(ray_cluster, "--workdir", work, "--name", user, "--", "python", "count.py", user=user)
    for user in ("one", "two"):
        wait(ray_cluster, user, "running")
    refused = submit(ray_cluster, "--workdir", work, "--name", "one", "--", "python", "count.py", code=11)
    assert "a job named one is running" in refused
    ray_cluster.write(runtime={"ray": VERSION, "packages": [*PACKAGES, "humanize"]})
    assert "and this launch would end it; nothing was changed" in ray_cluster.call("launch", "--yes", code=11)
    ray_cluster.write()
    assert "several jobs are running" in ray_cluster.call("stop", code=11)
    assert ray_cluster.document("stop", "one")["job"]["state"] == "stopped"
    assert ray_cluster.document("stop")["job"]["name"] == "two"


def test_a_job_that_cannot_run_is_refused(ray_cluster: RayCluster, work: Path) -> None:
    assert "command not found: no-such-tool" in submit(ray_cluster, "--workdir", work, "--", "no-such-tool", code=11)
    hold = "exec 3<>/run/lock/flambe-cluster.lock && flock -x 3 && echo held && sleep 600"
    argv = [PROGRAM, "ssh", str(ray_cluster.file), "--", f"touch /run/lock/flambe-cluster.lock; {hold}"]
    with subprocess.Popen(argv, env=ray_cluster.environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        output = submit(ray_cluster, "--workdir", work, "--", "python", "count.py", code=11)
        ray_cluster.on("orchestrator", "pkill -f 'sleep 600'", code=None)
    assert "the cluster is reserved by" in output


def test_the_tunnel_gives_ray_tools_an_address_and_the_token(ray_cluster: RayCluster) -> None:
    assert ray_cluster.call("tunnel", "--", sys.executable, "-c", ASK).splitlines() == ["401", "200"]


def test_a_job_is_failed_after_a_restart_of_ray(ray_cluster: RayCluster, work: Path) -> None:
    submit(ray_cluster, "--workdir", work, "--name", "restarted", "--", "python", "count.py")
    wait(ray_cluster, "restarted", "running")
    ray_cluster.on("orchestrator", "sudo systemctl restart flambe-ray")
    job = wait(ray_cluster, "restarted", "failed")
    assert job["reason"] == "Ray was stopped or restarted while it ran (flambe-ray.service)"
    ray_cluster.wait_for_nodes()


def test_records_and_logs_survive_a_reboot(ray_cluster: RayCluster, work: Path, lab: LabInfo) -> None:
    submit(ray_cluster, "--workdir", work, "--name", "rebooted", "--", "python", "count.py")
    wait(ray_cluster, "rebooted", "running")
    instance = ray_cluster.document("status")["orchestrator"]["instance_id"]
    boot = ray_cluster.on("orchestrator", "cat /proc/sys/kernel/random/boot_id")
    cloud.client(lab).reboot_instances(InstanceIds=[instance])
    cloud.wait_until(
        lambda: (
            ray_cluster.on("orchestrator", "cat /proc/sys/kernel/random/boot_id", code=None) not in ("", boot)
            and ray_cluster.on("orchestrator", "true", code=None) == ""
        ),
        "the orchestrator rebooted",
    )
    job = find(ray_cluster, "rebooted")
    assert (job["state"], job["reason"]) == ("failed", "the host was shut down or rebooted while it ran")
    assert "second 0" in ray_cluster.call("logs", job["id"])
    assert find(ray_cluster, "example")["state"] == "succeeded"
    ray_cluster.wait_for_nodes()
    assert "one\n" in submit(ray_cluster, "--workdir", work, "--follow", "--", "python", "fail.py", code=1)
