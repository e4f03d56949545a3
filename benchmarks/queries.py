"""Measure the commands that change nothing: `status`, `exec -- true` and a warm launch, against plain ssh.

    sudo python benchmarks/queries.py [--factories N] [--rounds N] [--runtime none|ray]

The hosts are those of a lab. The commands run in turn in each round, so that a load of the machine affects all of them.
The processor time is that of the command and of its processes on this machine, ssh included, without that of the hosts.
The floor is a parallel cold `ssh HOST python3 -c 1`.
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
    parser.add_argument("--runtime", choices=["none", "ray"], default="none")
    options = parser.parse_args()
    found: dict[str, list[float]] = {"--help": [], FLOOR: [], **{name: [] for name in COMMANDS}}
    used: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with lab(hosts=options.factories + 4) as name, tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), "bench")
        cluster.write("LabCluster", {"lab": name, "factories_num": options.factories, "runtime": options.runtime})
        try:
            report(f"first launch: {cluster.time('launch', '--yes'):.1f} s")
            hosts = Hosts(cluster, str(Path("/var/lib/flambe-ansible/labs", name, "key.pem")))
            for _ in range(options.rounds):
                found["--help"].append(run([FLAMBE_ANS, "--help"])[0])
                found[FLOOR].append(hosts.run_all("python3 -c 1"))
                for what, command in COMMANDS.items():
                    seconds, processor = cluster.measure(*command)
                    found[what].append(seconds)
                    used[what].append(processor)
        finally:
            cluster.time("down", "--yes")
    floor = statistics.median(found[FLOOR])
    print(f"runtime {options.runtime}, 1 + {options.factories} hosts, medians of {options.rounds}")
    print(f"load average {load()}\n")
    rows = []
    for what, times in found.items():
        seconds = statistics.median(times)
        processor = f"{statistics.median(used[what]):.2f}" if what in used else ""
        rows.append([what, f"{seconds:.2f}", f"{seconds - floor:+.2f}", processor])
    print_table(["", "seconds", "above the floor", "processor seconds"], rows)


if __name__ == "__main__":
    main()
