"""Submit, list, stop and show the jobs of a Ray cluster; run on its head as the cluster's user.

Commands for users and programs: prepare, submit, list, show, stop, running, logs. Commands for Ray: run, worker.
Command for the unit: settle. All but logs, run and worker print one JSON document and exit with 0, or print
{"error": "..."} and exit with 1. Runs on Python 3.8 and later.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from flambe_ray_jobs.settings import JobError, Settings


def main():
    """Parse the command line and run the command."""
    settings, words = read_settings(sys.argv[1:])
    if words[:1] == ["worker"]:  # the other words are those of a Python interpreter
        from flambe_ray_jobs import worker  # only what a command needs: workers and jobs wait for it

        worker.start(settings, words[1], words[2:])
    parser = make_parser()
    options = parser.parse_args(words)
    if options.command == "run":
        from flambe_ray_jobs import running

        sys.exit(running.run(settings, options.job))
    sys.exit(report(settings, options))


def read_settings(words):
    """Read the file of the first option; return the settings and the other words."""
    if words[:1] != ["--settings"] or len(words) < 2:
        sys.exit("ray-jobs: the first option must be --settings FILE")
    with open(words[1], encoding="utf-8") as file:
        return Settings(json.load(file)), words[2:]


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="ray-jobs", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="check the job in the JSON document on standard input, and make its folder")
    commands.add_parser("submit", help="start the prepared job in the JSON document on standard input")
    commands.add_parser("list", help="print all jobs, the newest first")
    commands.add_parser("running", help="print the jobs that a restart of Ray would end")
    commands.add_parser("settle", help="record how jobs ended that could not do so themselves; called by the unit")
    show = commands.add_parser("show", help="print one job")
    stop = commands.add_parser("stop", help="stop a job, and wait until it has ended")
    logs = commands.add_parser("logs", help="print the output of a job")
    run = commands.add_parser("run", help="run the command of a job; called by Ray")
    for one in (show, stop, logs):
        one.add_argument("job", nargs="?", default="", help="its id, its name or the beginning of its id")
    show.add_argument("--lines", type=int, default=0, help="add the last N lines of its output")
    logs.add_argument("--follow", action="store_true", help="continue until it ends")
    logs.add_argument("--offset", type=int, default=0, help="skip this number of bytes")
    run.add_argument("job")
    return parser


def report(settings, options):
    """Run a command that prints a document, or the log; return the exit code."""
    from flambe_ray_jobs import control, reading, submitting

    commands = {
        "prepare": lambda: submitting.prepare(settings, json.load(sys.stdin)),
        "submit": lambda: submitting.submit(settings, json.load(sys.stdin)),
        "list": lambda: control.list_all(settings),
        "running": lambda: control.find_running(settings),
        "settle": lambda: control.settle(settings),
        "show": lambda: control.show(settings, options.job, lines=options.lines),
        "stop": lambda: control.stop(settings, options.job),
    }
    try:
        if options.command == "logs":
            reading.show(settings, options.job, follow=options.follow, offset=options.offset)
            return 0
        document = commands[options.command]()
    except JobError as error:
        text = json.dumps({"error": str(error), "kind": error.kind, **error.facts})
        print(text, file=sys.stderr if options.command == "logs" else sys.stdout)
        return 1
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    main()
