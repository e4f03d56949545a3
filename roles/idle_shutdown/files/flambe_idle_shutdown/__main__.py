"""Power this host off after it was idle for some time; run by root.

Commands: check (by a timer: look at this host once, and power it off if it was idle for long enough), keep SECONDS
(postpone that), restart (the idle time), show. All print the state as one JSON document. Runs on Python 3.8 and later.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from flambe_idle_shutdown import checking, states
from flambe_idle_shutdown.settings import Settings


def main():
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="idle-shutdown", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--settings", required=True, help="the JSON file with the settings")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="look at this host once; power it off if it was idle for long enough")
    keep = commands.add_parser("keep", help="do not power this host off within the next seconds; 0 ends this")
    keep.add_argument("seconds", type=float)
    commands.add_parser("restart", help="let the idle time start again")
    commands.add_parser("show", help="print the result of the last check")
    options = parser.parse_args()
    with open(options.settings, encoding="utf-8") as file:
        settings = Settings(json.load(file))
    if options.command == "check":
        state = checking.check(settings)
    elif options.command == "keep":
        state = checking.keep(settings, options.seconds)
    elif options.command == "restart":
        state = checking.restart(settings)
    else:
        state = states.load(settings)
    print(json.dumps(states.publish(state)))


if __name__ == "__main__":
    main()
