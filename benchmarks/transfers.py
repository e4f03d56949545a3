"""Compare copies from the orchestrator to the factories as a tree with copies from the orchestrator alone.

    sudo python benchmarks/transfers.py [FACTORIES ...] [--size MB] [--rate MBIT] [--rounds N]

Each host of a lab sends at most so much (tc, token bucket), as hosts with slow links do; so the processors of this
machine matter little. The ways run one after the other in each round, with a new file each. "alone" has 8 copies at a
time, all from the orchestrator. It starts its own lab, and removes it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from timing import Cluster, lab, load, print_table, report

from flambe_ansible import load_cluster
from flambe_ansible.fleet import copying

TREE = {"_FROM_ORCHESTRATOR": copying._FROM_ORCHESTRATOR, "_SERVING": copying._SERVING}
LIMIT = "sudo tc qdisc replace dev $(ip route get 192.0.2.1 | sed 's/.* dev //; s/ .*//; q') root tbf"
LIMIT += " rate {rate}mbit burst 32kb latency 100ms"
ALONE = {"_FROM_ORCHESTRATOR": 8, "_SERVING": 0}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("factories", type=int, nargs="*", default=[4, 8, 16])
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--rate", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    rows = []
    with lab(hosts=max(options.factories) + 1) as name, tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), "bench")
        os.environ |= {"FLAMBE_ANS_STATE": f"{folder}/state", "HOME": folder}
        for factories in options.factories:
            cluster.write("LabCluster", {"lab": name, "factories_num": factories, "runtime": "none"})
            cluster.call("launch", "--yes")
            cluster.call("exec", "--", LIMIT.format(rate=options.rate))
            tree, alone = measure(cluster, options.size, options.rounds)
            rows.append([str(factories), f"{alone:.1f} s", f"{tree:.1f} s", f"{alone / tree:.1f} x"])
        cluster.call("down", "--yes")
    print_table(["factories", "from the orchestrator alone", "as a tree", "ratio"], rows)


def measure(cluster: Cluster, size: int, rounds: int) -> tuple[float, float]:
    """Return the seconds of a copy as a tree, and from the orchestrator alone."""
    found: dict[int, list[float]] = {0: [], 1: []}
    with load_cluster(cluster.file) as loaded:
        loaded.attach()
        for number in range(rounds):
            for way, values in enumerate((TREE, ALONE)):
                folder = f"data-{number}-{way}"
                make = f"mkdir -p {folder} && head -c {size}M /dev/urandom > {folder}/file"
                loaded.fleet.connections.run(loaded.fleet.head, make)
                for name, value in values.items():
                    setattr(copying, name, value)
                started = time.monotonic()
                loaded.fleet.copy_to_factories([folder], mirror=True)
                found[way].append(time.monotonic() - started)
                report(f"{len(loaded.fleet.factories)} factories, {values}: {found[way][-1]:.1f} s (load {load()})")
    return statistics.median(found[0]), statistics.median(found[1])


if __name__ == "__main__":
    main()
