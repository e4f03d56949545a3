"""Measure how launches grow with the number of real hosts: 64 hosts of the lab against 4, in one run.

    sudo python benchmarks/hosts64.py [HOSTS ...] [--rounds N]

The clusters have `runtime: none`: keys, the idle shutdown, and nothing installed, so that memory suffices. For each
number of hosts it measures the first launch, warm launches, a launch after one host was damaged, `status`, `exec`, and
`down`, and checks their outcomes. The last column is the ratio of the largest number of hosts to the smallest one. It
starts its own lab, and removes it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from timing import Cluster, lab, load, median, print_table, report

STEPS = ("first launch", "warm launch", "launch, one host damaged", "status", "exec -- true", "down")
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
    head = ["", *(f"{hosts} hosts" for hosts in found), f"{many} / {few}"]
    rows = [[step, *(f"{found[hosts][step]:.1f} s" for hosts in found)] for step in STEPS]
    print_table(head, [[*row, f"{found[many][row[0]] / found[few][row[0]]:.1f}"] for row in rows])


def measure(folder: Path, lab_name: str, hosts: int, *, rounds: int) -> dict[str, float]:
    """Return the seconds of each step."""
    cluster = Cluster(folder, f"bench{hosts}")
    cluster.write("LabCluster", {"lab": lab_name, "factories_num": hosts - 1, "runtime": "none"})
    found: dict[str, float] = {}

    def take(step: str, seconds: float) -> None:
        found[step] = seconds
        report(f"{hosts} hosts, {step}: {seconds:.1f} s (load average {load()})")

    try:
        take("first launch", cluster.time("launch", "--yes"))
        take("warm launch", median(lambda: cluster.time("launch", "--yes"), rounds))
        check(cluster.document("launch", "--yes"), hosts, changed=[])
        last = f"{hosts - 2}"
        cluster.call("ssh", "factory", last, "--", DAMAGE)
        take("launch, one host damaged", cluster.time("launch", "--yes"))
        cluster.call("ssh", "factory", last, "--", "test -s ~/.ssh/config && test -s ~/ray_bootstrap_key.pem")
        check(cluster.document("launch", "--yes"), hosts, changed=[])
        take("status", median(lambda: cluster.time("status"), rounds))
        take("exec -- true", median(lambda: cluster.time("exec", "--", "true"), rounds))
        names = cluster.document("exec", "--", "hostname")
        if len(names) != hosts or any(one["returncode"] for one in names.values()):
            raise SystemExit(f"exec: {names}")
    finally:
        take("down", cluster.time("down", "--yes"))
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
