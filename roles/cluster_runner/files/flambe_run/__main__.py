"""Run one job at a time on this host as a systemd unit: start it, watch it, stop it, report its state.

Commands for users and programs: state, start, stop, wait, logs, refresh. Commands for the unit: supervise, settle. All
but logs print one JSON document and exit with 0, or print {"error": "..."} and exit with another code. Runs on Python
3.8 and later.
"""

from __future__ import annotations

import argparse
import json
import sys

import controlling
import reading
import supervising
from settings import Settings


def main():
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="flambe-run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--settings", required=True, help="the JSON file written by the role")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("state", help="print the state of the last job")
    commands.add_parser("start", help="start the job described by the JSON document on standard input")
    stop = commands.add_parser("stop", help="stop the job and prepare all hosts for the next one")
    stop.add_argument("--replaced", action="store_true", help="another job replaces it")
    commands.add_parser("wait", help="wait until no job is running")
    refresh = commands.add_parser("refresh", help="restart Ray on the hosts in the JSON document on standard input")
    refresh.add_argument("--always", action="store_true", help="even if no job has used it")
    logs = commands.add_parser("logs", help="print the output of the job")
    logs.add_argument("--follow", action="store_true", help="continue until it ends")
    logs.add_argument("--lines", type=int, default=0, help="print only the last N lines")
    commands.add_parser("supervise", help="run the started job; called by the unit")
    commands.add_parser("settle", help="record how the job ended and restart Ray; called by the unit")
    options = parser.parse_args()
    with open(options.settings, encoding="utf-8") as file:
        settings = Settings(json.load(file))
    if options.command == "supervise":
        sys.exit(supervising.supervise(settings))
    if options.command == "logs":
        sys.exit(reading.show(settings, follow=options.follow, lines=options.lines))
    sys.exit(report(settings, options))


def report(settings, options):
    """Run a command that prints a document; return the exit code."""
    commands = {
        "state": lambda: controlling.describe(settings),
        "start": lambda: controlling.start(settings, json.load(sys.stdin)),
        "stop": lambda: controlling.stop(settings, replaced=options.replaced),
        "wait": lambda: controlling.wait(settings),
        "refresh": lambda: controlling.refresh(settings, json.load(sys.stdin), always=options.always),
        "settle": lambda: controlling.settle(settings),
    }
    try:
        document = commands[options.command]()
    except controlling.ControlError as error:
        print(json.dumps({"error": str(error), **error.facts}))
        return 1
    if options.command != "settle":  # its output goes to the journal of the job
        print(json.dumps(document))
    return 0


if __name__ == "__main__":
    main()
