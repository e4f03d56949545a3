"""Measure what a launch costs this machine per host, with simulated hosts: processor time and memory.

    python benchmarks/scale.py [HOSTS ...]

The hosts answer from data (tests/unit/scale/simulation.py): no ssh and no ansible-playbook is started. Each number of
hosts is measured in a separate process. The first launch plays the playbook (without Ansible), and the second one
verifies the hosts; then come plan, status and inventory, and 100 frames of the live table.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.unit.scale.simulation import HOLDS, Simulation, draw_frames, make_cluster

HOSTS = (4, 64, 256, 1000)


def main() -> None:
    """Measure, and print a table."""
    if len(sys.argv) == 3 and sys.argv[1] == "--one":
        measure(int(sys.argv[2]))
        return
    print("| hosts | first launch | warm launch | plan | status | inventory | 100 frames | memory |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for hosts in map(int, sys.argv[1:] or HOSTS):
        subprocess.run([sys.executable, __file__, "--one", str(hosts)], check=True)


def measure(hosts: int) -> None:
    """Print one row: milliseconds of processor time per host, and MB of memory at most."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        os.environ["FLAMBE_ANS_STATE"] = f"{folder}/state"
        simulation = Simulation()
        simulation.install(patch)
        cluster = make_cluster(Path(folder, "cluster"), hosts)
        with cluster:
            row = [take(cluster.run, hosts)]
            simulation.answer = HOLDS
            row += [take(work, hosts) for work in (cluster.run, cluster.plan, cluster.status, cluster.inventory)]
        row.append(take(lambda: draw_frames(hosts, 100), hosts))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"| {hosts} | {' | '.join(f'{one:.2f} ms' for one in row)} | {memory} MB |", flush=True)


def take(work: Callable[[], object], hosts: int) -> float:
    """Return the milliseconds of processor time per host, of this process and its children."""
    before = time.process_time()
    work()
    return (time.process_time() - before) * 1000 / hosts


if __name__ == "__main__":
    main()
