"""One runnable at a time on this host, as a systemd unit: start it, watch it, end it, say how it stands.

Commands for people and programs: state, start, stop, logs, refresh. Commands for the unit: supervise, settle. All but
logs print one JSON document, exit code 0; or {"error": "..."} and another exit code. Runs on Python 3.8 and later.
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
    """Parse the command and do it."""
    parser = argparse.ArgumentParser(prog="flambe-run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--settings", required=True, help="the JSON file that the role wrote")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("state", help="say how the last run stands")
    commands.add_parser("start", help="start the run that standard input describes, a JSON document")
    stop = commands.add_parser("stop", help="end the run and make all hosts ready for the next")
    stop.add_argument("--replaced", action="store_true", help="another run takes its place")
    commands.add_parser("wait", help="wait until no run is under way any more")
    refresh = commands.add_parser("refresh", help="start Ray afresh on the hosts of standard input, a JSON document")
    refresh.add_argument("--always", action="store_true", help="also where no run has used it yet")
    logs = commands.add_parser("logs", help="print what the run printed")
    logs.add_argument("--follow", action="store_true", help="go on until it ends")
    logs.add_argument("--lines", type=int, default=0, help="only the last ones")
    commands.add_parser("supervise", help="run what was started; the unit calls this")
    commands.add_parser("settle", help="write down how it ended, and start Ray afresh; the unit calls this")
    options = parser.parse_args()
    settings = Settings.read(options.settings)
    if options.command == "supervise":
        sys.exit(supervising.supervise(settings))
    if options.command == "logs":
        sys.exit(reading.show(settings, follow=options.follow, lines=options.lines))
    sys.exit(answer(settings, options))


def answer(settings, options):
    """Do a command that answers with a document; return the exit code."""
    try:
        if options.command == "start":
            document = controlling.start(settings, json.load(sys.stdin))
        elif options.command == "stop":
            document = controlling.stop(settings, replaced=options.replaced)
        elif options.command == "wait":
            document = controlling.wait(settings)
        elif options.command == "refresh":
            document = controlling.refresh(settings, json.load(sys.stdin), always=options.always)
        elif options.command == "settle":
            document = controlling.settle(settings)
        else:
            document = controlling.describe(settings)
    except controlling.ControlError as error:
        print(json.dumps({"error": str(error), **error.facts}))
        return 1
    if options.command != "settle":  # that one writes into the run's journal
        print(json.dumps(document))
    return 0


if __name__ == "__main__":
    main()
