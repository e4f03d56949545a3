"""Compare the first launch of a cluster with and without a baked image.

    python benchmarks/bake.py CLUSTER [--rounds N]

CLUSTER is the file of a cluster in a running lab, or on AWS; it must not exist. In each round it is launched without an
image and from one, and terminated after both, so that a load of the machine affects both. The time of a launch is that
in its document, from its start until all of Ray's nodes are alive. The image is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cluster")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--flambe-ans", default=str(Path(sys.executable).with_name("flambe-ans")))
    options = parser.parse_args()
    found: dict[str, list[float]] = {"without an image": [], "bake": [], "from the image": []}
    for _ in range(options.rounds):
        found["without an image"].append(launch(options))
        started = time.monotonic()
        [image] = call(options, "bake", "--yes")["images"]
        found["bake"].append(time.monotonic() - started)
        try:
            found["from the image"].append(launch(options, image["id"]))
        finally:
            call(options, "bake", "--remove", image["id"], "--yes")
    for name, seconds in found.items():
        print(f"{name:18} {statistics.median(seconds):6.1f} s  ({', '.join(f'{one:.1f}' for one in seconds)})")


def launch(options: argparse.Namespace, image: str = "") -> float:
    """Launch the cluster and terminate it; return the seconds of the launch."""
    chosen = {host["image"] for host in call(options, "plan")["hosts"]}
    if image and chosen != {image}:
        raise SystemExit(f"the launch would use {chosen}, not {image}")
    try:
        seconds: float = call(options, "launch", "--yes")["seconds"]
    finally:
        call(options, "down", "--yes")
    return seconds


def call(options: argparse.Namespace, command: str, *words: str) -> Any:
    """Run a command on the cluster, and return its document."""
    argv = [options.flambe_ans, command, options.cluster, "--json", *words]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
