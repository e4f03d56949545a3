"""Measure how launches grow with the number of real hosts: 64 hosts of the lab against 4, in one run.

    sudo python benchmarks/hosts64.py [HOSTS ...] [--rounds N]

The clusters have `runtime: none`: keys, the idle shutdown, and nothing installed, so that memory suffices. For each
number of hosts it measures the first launch, warm launches, a launch after one host was damaged, `status`, `exec`, and
`down`, and checks their outcomes. The hosts share this machine's processors, so that elapsed times grow with the number
of hosts there, too; the floor, a parallel cold `ssh HOST python3 -c 1`, shows by how much. The processor time is that
of the command and its processes (ssh, Ansible) on this side alone. It starts its own lab, and removes it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ray_up import Hosts
from timing import Cluster, lab, load, print_table, report

FLOOR = "floor: ssh HOST python3 -c 1"
STEPS = ("first launch", FLOOR, "warm launch", "launch, one host damaged", "status", "exec -- true", "down")
DAMAGE = "rm ~/.ssh/config ~/ray_bootstrap_key.pem"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("hosts", type=int, nargs="*", default=[4, 64])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = {}
    with lab(hosts=max(options.hosts) + 16) as name, tempfile.TemporaryDirectory() as folder:
        for hosts in options.hosts:
            found[hosts] = measure(Path(folder), name, hosts, rounds=options.rounds)
    few, many = min(found), max(found)
    head = ["", f"{few} hosts", f"{many} hosts", f"{many} / {few}", f"processor time here, {many} hosts"]
    rows = []
    for step in STEPS:
        took, used = zip(*(found[hosts][step] for hosts in (few, many)), strict=True)
        elapsed, spent = took[-1] / took[0], used[-1] / (used[0] or 1.0)
        processor = f"{used[-1]:.1f} s, {spent:.1f} x" if used[-1] else ""
        rows.append([step, *(f"{one:.1f} s" for one in took), f"{elapsed:.1f}", processor])
    print_table(head, rows)


def measure(folder: Path, lab_name: str, hosts: int, *, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the elapsed seconds of each step, and those of the processor."""
    cluster = Cluster(folder, f"bench{hosts}")
    cluster.write("LabCluster", {"lab": lab_name, "factories_num": hosts - 1, "runtime": "none"})
    found: dict[str, tuple[float, float]] = {}

    def take(step: str, *command: str, rounds: int = 1) -> None:
        elapsed, spent = zip(*(cluster.measure(*command) for _ in range(rounds)), strict=True)
        found[step] = statistics.median(elapsed), statistics.median(spent)
        report(f"{hosts} hosts, {step}: {found[step][0]:.1f} s, processor {found[step][1]:.1f} s (load {load()})")

    try:
        take("first launch", "launch", "--yes")
        plain = Hosts(cluster, f"/var/lib/flambe-ansible/labs/{lab_name}/key.pem")
        found[FLOOR] = statistics.median(plain.run_all("python3 -c 1") for _ in range(rounds)), 0.0
        take("warm launch", "launch", "--yes", rounds=rounds)
        check(cluster.document("launch", "--yes"), hosts, changed=[])
        last = f"{hosts - 2}"
        cluster.call("ssh", "factory", last, "--", DAMAGE)
        take("launch, one host damaged", "launch", "--yes")
        cluster.call("ssh", "factory", last, "--", "test -s ~/.ssh/config && test -s ~/ray_bootstrap_key.pem")
        check(cluster.document("launch", "--yes"), hosts, changed=[])
        take("status", "status", rounds=rounds)
        take("exec -- true", "exec", "--", "true", rounds=rounds)
        names = cluster.document("exec", "--", "hostname")
        if len(names) != hosts or any(one["returncode"] for one in names.values()):
            raise SystemExit(f"exec: {names}")
    finally:
        take("down", "down", "--yes")
    return found


def check(document: dict[str, object], hosts: int, *, changed: Sequence[str]) -> None:
    """Check that a launch brought all hosts to their state, and changed only these."""
    listed = document["factories"]
    ready = 1 + len(listed) if isinstance(listed, list) else 0
    counts = document["changed"]
    found = [name for name, count in counts.items() if count] if isinstance(counts, dict) else None
    if ready != hosts or document["failed"] or found != list(changed):
        raise SystemExit(f"launch: {ready} of {hosts} hosts, failed {document['failed']}, changed {found}")


if __name__ == "__main__":
    main()
