"""Run playbooks with ansible-runner, report their progress, and return one result per host.

By default ansible-runner passes the whole environment to Ansible and writes it to a file, puts extra variables into the
command line, disables host key checking, and uses the first ``ansible-playbook`` on the PATH. This module prevents it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from flambe_ansible import control_codes, paths, playbook_guard
from flambe_ansible.errors import CancelledError, PlaybookError, TaskFailure
from flambe_ansible.events import Observer, ignore
from flambe_ansible.files import write_json
from flambe_ansible.inventory import protect
from flambe_ansible.playbook_events import HostResult, Recorder

if TYPE_CHECKING:
    from ansible_runner import RunnerConfig

__all__ = ["HostResult", "run_playbook"]

_PASSED_ON = ("HOME", "SSH_AUTH_SOCK", "TMPDIR", "TZ")
_RUNNERS_OWN = (
    "ANSIBLE_CALLBACK_PLUGINS",
    "ANSIBLE_STDOUT_CALLBACK",
    "ANSIBLE_RETRY_FILES_ENABLED",
    "AWX_ISOLATED_DATA_DIR",
)
MOST_FORKS = 50  # hosts on which a task runs at the same time
_POLL_SECONDS = 1
_GOODBYE_SECONDS = 5.0
_TAIL_LINES = 30


def run_playbook(
    name: str = "site.yml",
    *,
    inventory: Mapping[str, Any],
    log: Path,
    tags: Sequence[str] = (),
    limit: Sequence[str] = (),
    extra_vars: Mapping[str, Any] | None = None,
    check: bool = False,
    timeout: float | None = None,
    required: Sequence[str] | None = None,
    observer: Observer = ignore,
) -> dict[str, HostResult]:
    """Run a playbook of the collection (or another one, by its path) on the hosts of an inventory.

    Strings in the inventory and in ``extra_vars`` are never templates. The full log is appended to ``log`` (0600). The
    observer receives the start and the end of each role on each host, in another thread.

    If only hosts fail that are not ``required`` (None: all are), no error is raised: their results have the failures.

    Raises:
        PlaybookError: A host failed or could not be reached, Ansible could not run the playbook, or the time was up.
        CancelledError: Ctrl-C; Ansible's processes on this machine have ended.
    """
    run = _Run(observer)
    temporary = tempfile.TemporaryDirectory(prefix="flambe-play-", ignore_cleanup_errors=True)  # 0700
    with temporary as folder, _open_log(log) as log_file:
        run.log = log_file
        config = _configure(
            Path(folder), name, inventory, tags=tags, limit=limit, extra_vars=extra_vars or {}, check=check
        )
        with _guard(folder):
            run.play(config, timeout=timeout)
    run.recorder.finish()
    failures = run.recorder.failures()
    tolerated = required is not None and failures and run.status == "failed"
    if tolerated and not {failure.host for failure in failures} & set(required or ()):
        return run.recorder.results()
    if run.status != "successful" or failures:
        raise _explain(name, run, failures, log=log, timeout=timeout)
    return run.recorder.results()


def count_rounds(hosts: int) -> int:
    """Return in how many rounds a task runs on so many hosts."""
    return max(1, -(-hosts // MOST_FORKS))


@contextlib.contextmanager
def _guard(folder: str) -> Iterator[None]:
    """End the playbook of a folder if this process is killed inside the block."""
    argv = [sys.executable, "-I", playbook_guard.__file__, folder]
    silent = subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True) as guard:
        try:
            yield
        finally:
            guard.communicate(playbook_guard.DONE)


class _Run:
    """One ansible-playbook, in a separate thread, so that the calling one receives Ctrl-C."""

    def __init__(self, observer: Observer) -> None:
        self.recorder = Recorder(observer)
        self.log: TextIO | None = None
        self.status = "failed"
        self.plain: list[str] = []
        self._pid = 0
        self._cancel = threading.Event()
        self._error: BaseException | None = None

    def play(self, config: RunnerConfig, *, timeout: float | None) -> None:
        """Run it to its end, or until ``timeout`` seconds have passed."""
        thread = threading.Thread(target=self._work, args=(config,), name="flambe-playbook", daemon=True)
        deadline = None if timeout is None else time.monotonic() + timeout
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.1)
                late = deadline is not None and time.monotonic() > deadline
                if late or self._error:
                    self._end(thread)
                    self.status = "timeout" if late else self.status
        except KeyboardInterrupt as e:
            self._end(thread)
            raise CancelledError("cancelled while the playbook ran") from e
        if self._error:
            raise self._error

    def _work(self, config: RunnerConfig) -> None:
        try:
            from ansible_runner import Runner  # slow, and not installed for custom runnables

            runner = Runner(config, event_handler=self._handle, cancel_callback=self._cancel.is_set)
            self.status, _returncode = runner.run()
        except BaseException as e:  # raised in the calling thread
            self._error = e

    def _handle(self, event: Mapping[str, Any]) -> bool:
        """Record an event; False prevents ansible-runner from writing it to a file."""
        try:
            self._write(event)
            self.recorder.handle(event)
        except Exception as e:  # an error of the observer ends the playbook and is raised
            self._error = self._error or e
        return False

    def _write(self, event: Mapping[str, Any]) -> None:
        self._pid = event.get("pid") or self._pid
        text = control_codes.strip(event.get("stdout") or "")
        if not text.strip() or self.log is None:
            return
        if event.get("event") in ("verbose", "error", "warning", "deprecated", "system_warning"):
            self.plain = [*self.plain, *text.splitlines()][-_TAIL_LINES:]
        self.log.write(f"{time.strftime('%H:%M:%S')} {text.rstrip()}\n")
        self.log.flush()

    def _end(self, thread: threading.Thread) -> None:
        """End Ansible: first with SIGINT, so that it ends its workers, then with SIGKILL."""
        started = [self._pid, *playbook_guard.descendants(self._pid)] if self._pid else []
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGINT)
            thread.join(_GOODBYE_SECONDS)
        self._cancel.set()
        for pid in started:  # each worker is in its own session: ending Ansible's process group is not enough
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        thread.join(_GOODBYE_SECONDS)


def _configure(
    folder: Path,
    name: str,
    inventory: Mapping[str, Any],
    *,
    tags: Sequence[str],
    limit: Sequence[str],
    extra_vars: Mapping[str, Any],
    check: bool,
) -> RunnerConfig:
    from ansible_runner import RunnerConfig

    settings = {"suppress_output_file": True, "suppress_ansible_output": True, "pexpect_timeout": _POLL_SECONDS}
    (folder / "env").mkdir(mode=0o700)
    write_json(folder / "env" / "settings", settings)
    write_json(folder / "hosts.json", protect(inventory))
    write_json(folder / "extra_vars.json", protect(extra_vars))
    (folder / "ansible.cfg").touch(mode=0o600)
    config = RunnerConfig(
        private_data_dir=str(folder),
        playbook=str(_find_playbook(name)),
        inventory=str(folder / "hosts.json"),
        tags=",".join(tags) or None,
        limit=",".join(limit) or None,
        cmdline=f"--extra-vars {shlex.quote(f'@{folder}/extra_vars.json')}{' --check' if check else ''}",
        forks=max(1, min(_count_hosts(inventory), MOST_FORKS)),
        envvars=_environment(folder),
        fact_cache_type="",
        quiet=True,
    )
    config.prepare()
    # ansible-runner starts from a copy of os.environ.
    names = {*_environment(folder), *_RUNNERS_OWN}
    config.env = {name: value for name, value in config.env.items() if name in names}
    return config


def _environment(folder: Path) -> dict[str, str]:
    """Build the environment of Ansible; only a few variables of the user's environment are passed on."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PATH": programs,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(paths.collections_root()),
        "ANSIBLE_CALLBACK_PLUGINS": "",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=300s",
        "ANSIBLE_TIMEOUT": "30",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_CACHE_PLUGIN": "memory",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_NOCOWS": "True",
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        "ANSIBLE_LOCALHOST_WARNING": "False",
    }


def _explain(
    name: str, run: _Run, failures: Sequence[TaskFailure], *, log: Path, timeout: float | None
) -> PlaybookError:
    if failures:
        hosts = ", ".join(dict.fromkeys(failure.host for failure in failures))
        return PlaybookError(f"{name} failed on {hosts}", failures=failures, log=str(log))
    if run.status == "timeout":
        return PlaybookError(f"{name} did not end within {timeout:g} s", log=str(log))
    output = "\n".join(run.plain).strip()
    return PlaybookError(f"Ansible could not run {name}" + (f":\n{output}" if output else ""), log=str(log))


def _find_playbook(name: str) -> Path:
    path = Path(name)
    return path.absolute() if path.is_absolute() or path.exists() else paths.collection() / "playbooks" / name


def _count_hosts(inventory: Mapping[str, Any]) -> int:
    groups = inventory.get("all", {}).get("children", {}).values()
    return len({host for group in groups for host in group.get("hosts") or ()})


def _open_log(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8")
