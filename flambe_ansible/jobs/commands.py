"""Jobs that run commands: submitted, listed, shown and stopped through a program on the orchestrator."""

from __future__ import annotations

import getpass
import json
import shlex
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flambe_ansible.errors import ClusterBusyError, ClusterConfigurationError, RayError, RunError
from flambe_ansible.events import Notice
from flambe_ansible.files import write_atomic
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.jobs import workdir as folders
from flambe_ansible.jobs.command_state import CommandJob, CommandJobs, StoppedJob, read_job, read_jobs
from flambe_ansible.jobs.workdir import WorkingFolder
from flambe_ansible.runtimes import CommandRunner, Runtime

RESULTS = "results"
_ASK_SECONDS = 60.0
_ERRORS = {"ray": RayError, "held": ClusterBusyError, "invalid": ClusterConfigurationError}
_HINTS = {
    "command": "add its package to the runtime's requirements, or send it with the working folder",
    "held": "wait until it has ended",
    "name": "flambe-ans jobs CLUSTER",
    "none": "flambe-ans submit --cluster CLUSTER -- COMMAND starts one",
    "ray": "flambe-ans status CLUSTER",
    "several": "flambe-ans jobs CLUSTER",
    "unknown": "flambe-ans jobs CLUSTER",
}


class ClusterJobs:
    """The jobs of a cluster whose runtime runs commands. Several can run at once.

    Args:
        fleet: The connected orchestrator; the factories are not needed.
        runner: How the runtime runs commands; an attribute too.
    """

    def __init__(self, fleet: Fleet, runner: CommandRunner) -> None:
        self.runner = runner
        self._fleet = fleet

    def submit(
        self,
        command: Sequence[str],
        *,
        workdir: str | Path | WorkingFolder = ".",
        env: Mapping[str, str] | None = None,
        name: str = "",
        results: str = RESULTS,
        allow_large: bool = False,
    ) -> CommandJob:
        """Send a working folder, and start a command in a copy of it on the orchestrator.

        Args:
            command: The words of the command; no shell reads them.
            workdir: The folder, or what ``workdir.scan`` returned for it.
            env: Environment variables of the command and of its tasks on all hosts.
            name: A name that no active job has, or "".
            results: The folder of its results, relative to the working folder.
            allow_large: Also send more than 2 GB.

        Returns:
            The job, queued.

        Raises:
            ClusterConfigurationError: The folder does not exist or is too large, or the command cannot be in it.
            RunError: The command does not exist on the cluster, or an active job has the name.
            ClusterBusyError: A launch of the cluster is running.
            RayError: Ray does not answer.
        """
        folder = workdir if isinstance(workdir, WorkingFolder) else folders.scan(workdir)
        if not allow_large:
            folder.check_size()
        check_command(command, folder)
        results = check_results(results)
        job = self._describe(command, name=name, source=str(folder.path))
        variables = dict(env or {})
        prepared = self._call("prepare", document={**job, "path": variables.get("PATH", "")})
        self._send(folder, prepared["work"], mirror=prepared["mirror"])
        facts = {"workdir": str(folder.path), "results": results, "env": variables}
        return read_job(self._call("submit", document={**job, **facts, "id": prepared["id"]}))

    def start(
        self, command: Sequence[str], *, directory: str, env: Mapping[str, str], name: str, results: str
    ) -> CommandJob:
        """Start a command in a folder of the orchestrator, without a working folder of its own.

        Args:
            command: The words of the command.
            directory: The folder, an absolute path.
            env: As in ``submit``.
            name: As in ``submit``.
            results: The folder of its results, relative to ``directory``, or "".

        Raises:
            RunError, ClusterBusyError, RayError: As in ``submit``.
        """
        job = self._describe(command, name=name, source=directory)
        prepared = self._call("prepare", document={**job, "path": ""})
        facts = {"workdir": "", "directory": directory, "results": results, "env": dict(env)}
        return read_job(self._call("submit", document={**job, **facts, "id": prepared["id"]}))

    def list(self) -> CommandJobs:
        """Return all jobs, the newest first, also those of before a restart of Ray or of the orchestrator."""
        return read_jobs(self._call("list"))

    def list_active(self) -> tuple[CommandJob, ...]:
        """Return the jobs that a restart of Ray would end; if Ray does not answer, those with a record.

        A cluster that was never prepared for jobs has none.
        """
        return self.list_if_prepared().active

    def list_if_prepared(self) -> CommandJobs:
        """Return all jobs as ``list`` does; none if the cluster was never prepared for jobs."""
        program = shlex.quote(self.runner.command)
        line = f"test ! -x {program} || {program} list"
        done = self._fleet.connections.run(self._fleet.head, line, timeout=_ASK_SECONDS, check=False)
        if done.returncode == 0 and not done.stdout.strip():
            return CommandJobs(jobs=())
        return read_jobs(self._read(done.stdout, "list", done.returncode, done.stderr or done.stdout))

    def get(self, job: str = "", *, lines: int = 0) -> CommandJob:
        """Return a job, with the last ``lines`` of its output.

        Args:
            job: Its id, its name (the newest one), or the only beginning of an id; "" is the newest job.
            lines: How many lines of its output are added.

        Raises:
            RunError: There is no such job; names a similar one.
        """
        return read_job(self._call("show", job, "--lines", str(lines)))

    def logs(self, job: str = "", *, lines: int = 0) -> str:
        """Return the output of a job, or its last ``lines``; ``job`` as in ``get``."""
        found = self.get(job, lines=lines)
        if lines:
            return "".join(f"{line}\n" for line in found.tail)
        return self._fleet.connections.run(self._fleet.head, self.log_command(found.id)).stdout

    def stop(self, job: str = "") -> StoppedJob:
        """Stop a job, and wait until it has ended; "" is the only active one, or the last one if none is active.

        Raises:
            RunError: There is no such job, or several are active.
        """
        answer = self._call("stop", job)
        return StoppedJob(job=read_job(answer["job"]), stopped=answer["stopped"])

    def log_command(self, job: str, *, follow: bool = False, offset: int = 0) -> str:
        """Return the command on the orchestrator that prints a job's output, unchanged, from an offset in bytes."""
        return shlex.join(
            [self.runner.command, "logs", job, "--offset", str(offset), *(["--follow"] if follow else [])]
        )

    def fetch_token(self, path: Path) -> bool:
        """Write Ray's token to a file that only this user can read; return False if Ray uses none."""
        token = self._fleet.orchestrator.ask(f"cat {shlex.quote(f'./{self.runner.token}')} 2>/dev/null; :").strip()
        if token:
            write_atomic(path, token)
        return bool(token)

    def _describe(self, command: Sequence[str], *, name: str, source: str) -> dict[str, Any]:
        submitter = f"{getpass.getuser()}@{socket.gethostname()}"
        return {"name": name, "command": list(command), "source": f"{submitter}:{source}", "submitter": submitter}

    def _send(self, folder: WorkingFolder, target: str, *, mirror: str) -> None:
        """Send the files of a working folder; those that an earlier job was sent are copied on the orchestrator."""
        if folder.size > folders.LARGE:
            text = f"{folder.describe()}; unchanged files are not sent again"
            self._fleet.observer(Notice(message=text))
        with tempfile.NamedTemporaryFile(prefix="flambe-files-") as names:
            names.write(b"".join(f"{name}\0".encode(errors="surrogateescape") for name in folder.names))
            names.flush()
            options = [f"--files-from={names.name}", "--from0", "--copy-unsafe-links"]
            options += [f"--copy-dest={mirror}"] if mirror else []
            self._fleet.connections.put(self._fleet.head, f"{folder.path}/", f"{target}/", options=options)

    def _call(self, *words: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call the program on the orchestrator and return its JSON answer."""
        given = json.dumps(document) if document is not None else None
        line = shlex.join([self.runner.command, *words])
        done = self._fleet.connections.run(self._fleet.head, line, input=given, timeout=_ASK_SECONDS, check=False)
        return self._read(done.stdout, words[0], done.returncode, done.stderr or done.stdout)

    def _read(self, text: str, verb: str, code: int, output: str) -> dict[str, Any]:
        """Read the last line of an answer; raise the error that it describes."""
        head = self._fleet.head.name
        try:
            answer: dict[str, Any] = json.loads(text.strip().rpartition("\n")[2])
        except ValueError:
            if code == 127:
                message = f"{head} has no {self.runner.command}: the cluster was not launched with this runtime"
                raise RunError(message, hint="flambe-ans launch CLUSTER") from None
            last = output.strip().rpartition("\n")[2]
            raise RunError(f"{head}: {self.runner.command} {verb}: {last or f'exit code {code}'}") from None
        if "error" in answer and "kind" in answer:
            kind = answer["kind"]
            raise _ERRORS.get(kind, RunError)(answer["error"], hint=_HINTS.get(kind))
        return answer


def check_command(command: Sequence[str], folder: WorkingFolder) -> None:
    """Fail if a command is empty, or if its relative path is not in the working folder."""
    if not command or not command[0]:
        raise ClusterConfigurationError("no command was given")
    program = command[0]
    if "/" not in program or program.startswith("/"):
        return
    path = folder.path / program
    if str(Path(program)) not in folder.names:
        why = "is not sent: an ignore file excludes it" if path.exists() else "does not exist"
        raise ClusterConfigurationError(f"{program}: {path} {why}")
    if not path.stat().st_mode & 0o100:
        raise ClusterConfigurationError(
            f"{program}: {path} is not executable", hint=f"chmod +x {shlex.quote(str(path))}"
        )


def check_results(results: str) -> str:
    """Return the relative path of a job's results; refuse one outside of the working folder."""
    path = Path(results)
    if not results or path.is_absolute() or ".." in path.parts or not results.isprintable():
        raise ClusterConfigurationError(f"results: {results!r} is not a relative path in the working folder")
    return str(path)


def require_commands(runtime: Runtime, cluster: str) -> CommandRunner:
    """Return how a runtime runs commands; raise ``ClusterConfigurationError`` if it does not."""
    if runtime.commands is None:
        other = "set `runtime: ray` in the cluster's file and launch it again"
        raise ClusterConfigurationError(
            f"cluster {cluster} has runtime {runtime.name}, which does not run commands; "
            "jobs, tunnel and submit with a command need runtime: ray",
            hint="flambe-ans submit experiment.yaml --cluster CLUSTER" if runtime.jobs else other,
        )
    return runtime.commands
