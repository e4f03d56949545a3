"""Measure the commands that change nothing: `status`, `exec -- true` and a warm launch, against plain ssh.

    sudo python benchmarks/queries.py [--factories N] [--rounds N]

The hosts are those of a lab, with `runtime: none`. The commands run in turn in each round, so that a load of the
machine affects all of them. The floor is a parallel cold `ssh HOST python3 -c 1`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from ray_up import Hosts
from timing import FLAMBE_ANS, Cluster, lab, load, print_table, report, run

COMMANDS = {"status": ("status",), "exec -- true": ("exec", "--", "true"), "warm launch": ("launch", "--yes")}
FLOOR = "floor: ssh HOST python3 -c 1"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--factories", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"--help": [], FLOOR: [], **{name: [] for name in COMMANDS}}
    with lab(hosts=options.factories + 4) as name, tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), "bench")
        cluster.write("LabCluster", {"lab": name, "factories_num": options.factories, "runtime": "none"})
        try:
            report(f"first launch: {cluster.time('launch', '--yes'):.1f} s")
            hosts = Hosts(cluster, str(Path("/var/lib/flambe-ansible/labs", name, "key.pem")))
            for _ in range(options.rounds):
                found["--help"].append(run([FLAMBE_ANS, "--help"])[0])
                found[FLOOR].append(hosts.run_all("python3 -c 1"))
                for what, command in COMMANDS.items():
                    found[what].append(cluster.time(*command))
        finally:
            cluster.time("down", "--yes")
    floor = statistics.median(found[FLOOR])
    print(f"1 + {options.factories} hosts, medians of {options.rounds}, load average {load()}\n")
    rows = [(what, statistics.median(seconds)) for what, seconds in found.items()]
    print_table(["", "seconds", "above the floor"], [[what, f"{one:.2f}", f"{one - floor:+.2f}"] for what, one in rows])


if __name__ == "__main__":
    main()
