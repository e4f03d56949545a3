"""Compare a launch with `ray up`: the same hosts, the same Ray, one after the other in each round.

    sudo python benchmarks/ray_up.py --ray PATH [--factories N] [--rounds N]

The hosts are those of a lab. Ray is installed on them before (`runtime: ray`), as on hosts of a baked image. `ray up`
uses its provider `local`: SSH to given addresses. PATH is a `ray` command on this machine of the same version. Both
start with hosts on which no Ray runs, and without their own files from an earlier launch; the time ends when Ray's API
on the head reports all nodes alive. Warm is the same command again, and nothing is to do. The floor is a parallel cold
`ssh HOST python3 -c 1`. Start it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from timing import Cluster, lab, load, median, print_table, report, run

VENV = "/opt/ray/venv"
RECEIPT = "/var/lib/flambe-cluster/receipt.json"
# Leaves the part of the installation in the receipt, as `flambe-ans bake` does.
CUT = f"""
import json
receipt = json.load(open("{RECEIPT}"))
receipt["roles"] = {{"python_env": receipt["roles"]["python_env"]}}
json.dump(receipt, open("{RECEIPT}", "w"))
"""
# What a launch and `ray up` leave on a host, without the installation.
CLEAN = f"""
sudo systemctl disable --now flambe-ray.service >/dev/null 2>&1
{VENV}/bin/ray stop --force >/dev/null 2>&1
[ ! -e {RECEIPT} ] || sudo python3 -c {shlex.quote(CUT)}
sudo rm -rf /tmp/ray /etc/systemd/system/flambe-ray.service* /opt/ray/bin \\
  ~/ray_bootstrap_* ~/.ssh/config ~/.ssh/known_hosts ~/.ssh/flambe_peers.sh ~/.ray
sudo systemctl daemon-reload
"""
RAY_STATE = "ray"  # the folder in which `ray up` records what it sent to which host
START = f"{VENV}/bin/ray start --disable-usage-stats"
NODES = 'curl -s -H "Authorization: Bearer $(cat ~/.ray/auth_token 2>/dev/null)" http://127.0.0.1:8265/api/v0/nodes'


class Hosts:
    """The hosts of a cluster, with plain ssh."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        status = cluster.document("status")
        self.addresses = [host["private_ip"] for host in (status["orchestrator"], *status["factories"])]
        self._key = key

    def argv(self, address: str, command: str) -> list[str]:
        """Build an ssh command; the lab is on this machine, so host keys are not checked."""
        unchecked = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return ["ssh", "-i", self._key, "-o", "BatchMode=yes", *unchecked, f"ubuntu@{address}", command]

    def run_all(self, command: str) -> float:
        """Run a command on all hosts at once; return its seconds."""
        started = time.monotonic()
        running = [subprocess.Popen(self.argv(one, command), stdout=subprocess.DEVNULL) for one in self.addresses]
        for process in running:
            process.wait()
        return time.monotonic() - started

    def count_alive(self) -> int:
        """Ask Ray on the head for the number of live nodes; 0 if it does not answer."""
        done = subprocess.run(self.argv(self.addresses[0], NODES), capture_output=True, text=True, check=False)
        try:
            rows = json.loads(done.stdout)["data"]["result"]["result"]
        except (ValueError, KeyError, TypeError):
            return 0
        return sum(row["state"] == "ALIVE" for row in rows)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ray", required=True)
    parser.add_argument("--factories", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    version = run([options.ray, "--version"])[1].split()[-1]
    with lab(hosts=options.factories + 4) as name, tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), "bench")
        runtime: dict[str, Any] = {"ray": version}
        cluster.write("LabCluster", {"lab": name, "factories_num": options.factories, "runtime": runtime})
        try:
            report(f"installed in {cluster.time('launch', '--yes'):.0f} s")
            rows = measure(cluster, name, options)
        finally:
            cluster.call("down", "--yes")
    print(f"Ray {version}, 1 + {options.factories} hosts, medians of {options.rounds}, load average {load()}\n")
    print_table(["", "`ray up`", "flambe-ans", "ratio"], rows)


def measure(cluster: Cluster, name: str, options: argparse.Namespace) -> list[list[str]]:
    """Return the rows of the table."""
    key = str(Path("/var/lib/flambe-ansible/labs", name, "key.pem"))
    hosts = Hosts(cluster, key)
    ray_up = make_ray_up(options.ray, cluster.folder, hosts.addresses, key)
    found: dict[str, list[float]] = {}

    def take(way: str, **values: float) -> None:
        for what, seconds in values.items():
            found.setdefault(f"{way} {what}", []).append(seconds)
        report(f"{way}: {', '.join(f'{what} {seconds:.1f} s' for what, seconds in values.items())}")

    def start_ray(*more: str) -> float:
        return run([*ray_up, *more], environment=quiet(cluster.folder))[0]

    def launch() -> float:
        return cluster.time("launch", "--yes")

    for _ in range(options.rounds):
        hosts.run_all(CLEAN)
        shutil.rmtree(cluster.folder / RAY_STATE, ignore_errors=True)
        command, alive = time_until_alive(hosts, start_ray)
        no_restart = start_ray("--no-restart")
        warm, warm_alive = time_until_alive(hosts, start_ray, restarts=True)
        take("ray", command=command, alive=alive, no_restart=no_restart, warm=warm, warm_alive=warm_alive)
        hosts.run_all(CLEAN)
        command, alive = time_until_alive(hosts, launch)
        take("ours", command=command, alive=alive, warm=launch())
    floor = median(lambda: hosts.run_all("python3 -c 1"), options.rounds)
    hosts.run_all(CLEAN)
    starts = time_starts(hosts)
    middle = {key: sorted(values)[len(values) // 2] for key, values in found.items()}
    return [
        row("cold, until the command returns", middle["ray command"], middle["ours command"]),
        row("cold, until all nodes are alive", middle["ray alive"], middle["ours alive"]),
        ["of it Ray's own start, head then workers", f"{starts:.1f} s", f"{starts:.1f} s", ""],
        row("warm, until the command returns", middle["ray warm"], middle["ours warm"]),
        row("warm, until all nodes are alive", middle["ray warm_alive"], middle["ours warm"]),
        row("warm, `ray up --no-restart` (the head alone)", middle["ray no_restart"], middle["ours warm"]),
        row("floor: parallel cold `ssh HOST python3 -c 1`", floor, floor),
    ]


def row(what: str, theirs: float, ours: float) -> list[str]:
    """Make one row."""
    return [what, f"{theirs:.1f} s", f"{ours:.1f} s", f"{ours / theirs:.2f}"]


def time_until_alive(hosts: Hosts, start: Callable[[], float], *, restarts: bool = False) -> tuple[float, float]:
    """Start a cluster; return the seconds until the command returned, and until all nodes were alive.

    If the command restarts a Ray that runs, its nodes count only after the command has returned.
    """
    taken: list[float] = []
    started = time.monotonic()
    thread = threading.Thread(target=lambda: taken.append(start()))
    thread.start()
    if restarts:
        thread.join()
    while hosts.count_alive() != len(hosts.addresses):
        if time.monotonic() - started > 300:
            raise SystemExit(f"{hosts.count_alive()} of {len(hosts.addresses)} nodes are alive after 300 s")
        time.sleep(0.2)
    all_alive = time.monotonic() - started
    thread.join()
    return taken[0], all_alive


def time_starts(hosts: Hosts) -> float:
    """Start Ray without a tool: the head, then all workers at once; return the seconds until all are alive."""
    head, *workers = hosts.addresses
    started = time.monotonic()
    run(hosts.argv(head, f"{START} --head --num-cpus=0 --port=6379 --node-ip-address={head}"))
    joins = [
        subprocess.Popen(
            hosts.argv(one, f"{START} --address={head}:6379 --node-ip-address={one}"), stdout=subprocess.DEVNULL
        )
        for one in workers
    ]
    for join in joins:
        join.wait()
    while hosts.count_alive() != len(hosts.addresses):
        time.sleep(0.2)
    return time.monotonic() - started


def make_ray_up(ray: str, folder: Path, addresses: Sequence[str], key: str) -> list[str]:
    """Write the configuration of `ray up`; return the command."""
    stop = f"{VENV}/bin/ray stop"
    # Version 2 of the autoscaler counts the head as one of this provider's workers, and starts one too few.
    head = f"RAY_enable_autoscaler_v2=0 {START} --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml"
    config = {
        "cluster_name": "bench",
        "provider": {"type": "local", "head_ip": addresses[0], "worker_ips": list(addresses[1:])},
        "auth": {"ssh_user": "ubuntu", "ssh_private_key": key},
        "min_workers": len(addresses) - 1,
        "max_workers": len(addresses) - 1,
        "head_start_ray_commands": [stop, head],
        "worker_start_ray_commands": [stop, f"{START} --address=$RAY_HEAD_IP:6379"],
    }
    file = folder / "ray.yaml"
    file.write_text(json.dumps(config))
    return [ray, "up", "-y", "--no-config-cache", str(file)]


def quiet(folder: Path) -> dict[str, str]:
    """Return the environment of `ray up`: own folders, and no questions."""
    return {**os.environ, "HOME": str(folder), "RAY_TMPDIR": str(folder / RAY_STATE), "RAY_USAGE_STATS_ENABLED": "0"}


if __name__ == "__main__":
    main()
