"""Power this host off after it was idle for some time; run by root.

Commands: check (by a timer: look at this host once, and power it off if it was idle for long enough), keep SECONDS
(postpone that), restart (the idle time), show. All print the state as one JSON document. Runs on Python 3.8 and later.
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from flambe_idle_shutdown import states
from flambe_idle_shutdown.settings import Settings


def main():
    """Parse the command line and run the command."""
    path, command, seconds = _parse(sys.argv[1:])
    with open(path, encoding="utf-8") as file:
        settings = Settings(json.load(file))
    print(json.dumps(states.publish(_run(settings, command, seconds))))


def _run(settings, command, seconds):
    """Run a command and return the state. Each imports what it needs: a launch runs restart on every host."""
    if command == "show":
        return states.load(settings)
    if command == "check":
        from flambe_idle_shutdown import checking

        return checking.check(settings)
    from flambe_idle_shutdown import marking

    return marking.keep(settings, seconds) if command == "keep" else marking.restart(settings)


def _parse(words):
    """Return the path of the settings, the command and its seconds."""
    if words[:1] == ["--settings"] and words[2:] in (["show"], ["restart"]):  # without the import of argparse
        return words[1], words[2], 0.0
    import argparse

    parser = argparse.ArgumentParser(prog="idle-shutdown", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--settings", required=True, help="the JSON file with the settings")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="look at this host once; power it off if it was idle for long enough")
    keep = commands.add_parser("keep", help="do not power this host off within the next seconds; 0 ends this")
    keep.add_argument("seconds", type=float)
    commands.add_parser("restart", help="let the idle time start again")
    commands.add_parser("show", help="print the result of the last check")
    options = parser.parse_args(words)
    return options.settings, options.command, getattr(options, "seconds", 0.0)


if __name__ == "__main__":
    main()
