"""Commands, files and tunnels on a cluster's hosts, over one open SSH connection per host."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from flambe_ansible.errors import CancelledError, HostConnectionError, HostError, RemoteCommandError
from flambe_ansible.events import Notice, Observer, ignore
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import files, probing, waiting
from flambe_ansible.ssh.completed import KILLED, Completed, failed, last_line, no_answer, text, timed_out
from flambe_ansible.ssh.links import Links
from flambe_ansible.ssh.masters import Master
from flambe_ansible.ssh.options import client_argv, control_argv, quote
from flambe_ansible.ssh.parallel import join
from flambe_ansible.ssh.probing import Probe
from flambe_ansible.ssh.processes import Processes

_GRACE = 10.0
_CONTROL_SECONDS = 30.0
# ssh's message for ProxyCommand=false, that is, if there is no open connection to use.
_NEVER_BEGAN = b"kex_exchange_identification: "


class Connections(Links):
    """The connections to a cluster's hosts.

    Use it as a context manager: its end closes every connection. Between :meth:`wait` and :meth:`close` each host has
    one connection that commands, files, tunnels and Ansible share. A lost connection is opened again when it is next
    needed. All methods can be called from several threads.

    Without a ``proxy_jump``, the route to a host is that of the user's own SSH configuration; with ``none``, it is
    direct. A query (:meth:`ask`) has the limit ``answer``. A refused login is repeated for
    ``login_patience`` seconds. With ``strict_host_keys``, a host without a trusted key is refused.
    """

    def probe(
        self, hosts: Sequence[Host], *, machines: Sequence[str] = probing.MACHINES, observer: Observer = ignore
    ) -> dict[str, Probe]:
        """Read the facts of every host after its cloud-init has ended, and check the requirements.

        ``machines`` are the accepted processors, as ``uname -m`` prints them.
        The facts are kept in :attr:`probes`. The observer receives a warning for each host whose cloud-init failed.
        ``UnsupportedHostError`` has one line for each host that does not meet a requirement.
        """
        errors = self.probe_each(hosts, machines=machines, observer=observer)
        if errors:
            raise join(list(errors.values()))
        return {host.name: self.probes[host.name] for host in hosts}

    def probe_each(
        self,
        hosts: Sequence[Host],
        *,
        machines: Sequence[str] = probing.MACHINES,
        programs: Mapping[str, str] | None = None,
        commands: Mapping[str, str] | None = None,
        observer: Observer = ignore,
    ) -> dict[str, HostError]:
        """Read the facts as :meth:`probe`, but go on if some hosts fail; return their errors by host name.

        The same remote command runs a Python program as root, which ``programs`` has by host name; :meth:`take_output`
        returns what it printed. It also runs a shell command, which ``commands`` has by host name; :meth:`take_answer`
        returns what it printed.
        """

        def probe_host(host: Host) -> Probe | HostError:
            try:
                program, command = (programs or {}).get(host.name, ""), (commands or {}).get(host.name, "")
                return self._probe_host(host, machines, observer, program=program, command=command)
            except HostError as e:
                return e

        found = self._on_each(hosts, probe_host)
        self.probes.update({name: one for name, one in found.items() if isinstance(one, Probe)})
        return {name: one for name, one in found.items() if isinstance(one, HostError)}

    def take_output(self, host: Host, program: str) -> str | None:
        """Return what a program printed that ran with the last :meth:`probe_each`, once; None if it did not run."""
        known, output = self._outputs.pop(host.name, ("", ""))
        return output if known == program else None

    def take_answer(self, host: Host, command: str) -> str | None:
        """Return what a command printed that ran with the last :meth:`probe_each`, once; None if it did not run."""
        known, answer = self._answers.pop(host.name, ("", ""))
        return answer if known == command else None

    def _probe_host(
        self, host: Host, machines: Sequence[str], observer: Observer, *, program: str, command: str
    ) -> Probe:
        script = probing.write_script(program, command)
        limit = probing.CLOUD_INIT_SECONDS + self.answer.seconds
        waits = f"{host.name}: waiting for its cloud-init and its facts (limit {limit:g} s)"
        with waiting.announce_delay(self.observer, waits):
            answer = self.run(host, "exec sh -s", input=script, timeout=limit)
        self._outputs[host.name] = program, probing.read_program_output(answer.stdout)
        self._answers[host.name] = command, probing.read_answer(answer.stdout)
        probe = probing.parse(answer.stdout)
        if probe.cloud_init in ("error", "unfinished"):
            problem = "failed" if probe.cloud_init == "error" else "has not ended"
            message = f"{host.name}: cloud-init {problem}; see /var/log/cloud-init-output.log there"
            observer(Notice(message=message, warning=True))
        probing.require(host.name, probe, machines)
        return probe

    def run(
        self,
        host: Host,
        command: str,
        *,
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess
        timeout: float | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a command line for the user's shell on a host; join arguments with :func:`flambe_ansible.ssh.quote`.

        After ``timeout`` seconds it is killed on the host and here, and ``RemoteCommandError`` is raised, also without
        ``check``. After a ``HostConnectionError`` the command may or may not have run.
        """
        return self._run(host, command, input, timeout, check, partial(timed_out, host, command, timeout))

    def ask(
        self,
        host: Host,
        command: str,
        *,
        about: str,
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess
        check: bool = True,
    ) -> Completed:
        """Run a command that only reads, as :meth:`run`, within the time limit for answers.

        ``about`` names what it reads, for messages. A notice is sent if it takes long.
        """
        limit = self.answer
        late = partial(no_answer, host, command, about, limit)
        with waiting.announce_delay(self.observer, f"{host.name}: waiting for {about} (limit {limit.seconds:g} s)"):
            return self._run(host, command, input, limit.seconds, check, late)

    def _run(
        self,
        host: Host,
        command: str,
        given: str | bytes | None,
        timeout: float | None,
        check: bool,
        late: Callable[[str], RemoteCommandError],
    ) -> Completed:
        """Run a command line; ``late`` makes the error of one that exceeds the limit, from its output."""
        data = given.encode() if isinstance(given, str) else given
        line = command if timeout is None else _limited(command, timeout)
        started = time.monotonic()
        try:
            master, done = self._over_connection(
                host,
                lambda master: client_argv(master.target, master.socket, line),
                data=data,
                timeout=None if timeout is None else timeout + _GRACE,
            )
        except subprocess.TimeoutExpired as e:
            raise late(text(e.stdout) + text(e.stderr)) from e
        result = Completed(returncode=done.returncode, stdout=text(done.stdout), stderr=text(done.stderr))
        if timeout is not None and done.returncode in KILLED and time.monotonic() - started >= timeout:
            raise late(result.stdout + result.stderr)
        if done.returncode == 255 and _is_lost(master):
            raise HostConnectionError(
                f"{host.name}: the connection was lost: {last_line(result.stderr) or 'it was closed'}", host=host.name
            )
        if check and done.returncode != 0:
            raise failed(host, command, result)
        return result

    def run_all(
        self,
        hosts: Sequence[Host],
        command: str | Callable[[Host], str],
        *,
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess
        timeout: float | None = None,
        check: bool = True,
    ) -> dict[str, Completed]:
        """Run a command, or a function's command for each host, on all hosts at once, as :meth:`run` does.

        Errors are raised after all commands have ended.
        """
        line = command if callable(command) else lambda _host: command
        return self._on_each(hosts, lambda host: self.run(host, line(host), input=input, timeout=timeout, check=check))

    def follow(self, host: Host, command: str, *, on_line: Callable[[str], None], processes: Processes) -> None:
        """Run a shell command, and pass on each line of its output as it is printed, until ``processes`` are cancelled.

        Only an open connection is used: without one, or if it is lost, this returns.
        """
        master = self._find_open(host)
        if master is None:
            return
        rest = b""

        def read(chunk: bytes) -> None:
            nonlocal rest
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                on_line(text(line))

        with contextlib.suppress(CancelledError):
            processes.run(client_argv(master.target, master.socket, command), on_output=read)

    def shared_argv(self, host: Host) -> list[str]:
        """Build the ssh command for the open connection of a host; append a command line."""
        master = self._master(host)
        return client_argv(master.target, master.socket, "")[:-1]

    def start(self, host: Host, command: str) -> subprocess.Popen[bytes]:
        """Start a command that runs until its standard input is closed; its output has standard error, too.

        The caller ends it before :meth:`close`.
        """
        master = self._master(host)
        return subprocess.Popen(
            client_argv(master.target, master.socket, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def put(
        self,
        host: Host,
        sources: str | Path | Sequence[str | Path],
        destination: str,
        *,
        options: Sequence[str] = (),
        timeout: float | None = None,
        progress: Callable[[files.Progress], None] | None = None,
    ) -> None:
        """Send files or folders to a host; unchanged files are not sent again.

        A source folder with a trailing slash means its content. A relative destination starts at the user's home; no
        shell interprets it. ``options`` are further options of rsync.
        """
        paths = [sources] if isinstance(sources, str | Path) else sources
        local = [files.local(path) for path in paths]
        self._rsync(host, (local, f"{host.key_alias}:{destination}"), options, timeout, progress)

    def get(
        self,
        host: Host,
        sources: str | Sequence[str],
        destination: str | Path,
        *,
        options: Sequence[str] = (),
        timeout: float | None = None,
        progress: Callable[[files.Progress], None] | None = None,
    ) -> None:
        """Fetch files or folders from a host; the arguments are those of :meth:`put`.

        Links that are absolute or lead out of the folder, devices, pipes and sockets are left out, and so are setuid
        and setgid bits.
        """
        paths = [sources] if isinstance(sources, str) else sources
        remotes = [f"{host.key_alias}:{path}" for path in paths]
        self._rsync(host, (remotes, files.local(destination)), options, timeout, progress, fetch=True)

    @contextlib.contextmanager
    def tunnel(self, host: Host, remote_port: int, *, local_port: int = 0) -> Iterator[int]:
        """Forward a port of this machine's loopback to a port of a host's loopback, for the length of the context.

        It yields the local port; 0 selects a free one.
        """
        master = self._master(host)
        port = local_port or _free_port()
        forward = f"127.0.0.1:{port}:127.0.0.1:{remote_port}"
        opening = f"{host.name}: opening a tunnel from local port {port}"
        try:
            done = self._processes.run(control_argv(master.socket, "forward", "-L", forward), timeout=_CONTROL_SECONDS)
        except subprocess.TimeoutExpired as e:
            raise HostConnectionError(f"{opening} took longer than {_CONTROL_SECONDS:g} s", host=host.name) from e
        if done.returncode != 0:
            raise HostConnectionError(f"{opening} failed: {last_line(text(done.stderr))}", host=host.name)
        try:
            yield port
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):  # the tunnel ends with the connection at the latest
                subprocess.run(
                    control_argv(master.socket, "cancel", "-L", forward), capture_output=True, check=False, timeout=10
                )

    def _rsync(
        self,
        host: Host,
        paths: tuple[Sequence[str], str],
        options: Sequence[str],
        timeout: float | None,
        progress: Callable[[files.Progress], None] | None,
        *,
        fetch: bool = False,
    ) -> None:
        sources, destination = paths
        shown = quote(["rsync", *sources, destination])
        try:
            master, done = self._over_connection(
                host,
                lambda master: files.rsync_argv(
                    master.socket,
                    sources,
                    destination,
                    options=options,
                    progress=progress is not None,
                    fetch=fetch,
                ),
                timeout=timeout,
                on_output=files.progress_reader(progress) if progress else None,
            )
        except subprocess.TimeoutExpired as e:
            raise timed_out(host, shown, timeout, text(e.stderr)) from e
        if done.returncode in (12, 255) and _is_lost(master):
            raise HostConnectionError(f"{host.name}: the connection was lost during {shown}", host=host.name)
        if done.returncode != 0:
            result = Completed(returncode=done.returncode, stdout="", stderr=text(done.stderr))
            raise failed(host, shown, result, reason=files.explain(result.stderr))

    def _over_connection(
        self,
        host: Host,
        argv: Callable[[Master], list[str]],
        *,
        data: bytes | None = None,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> tuple[Master, subprocess.CompletedProcess[bytes]]:
        """Run a client of a host's connection; run it again if the connection was lost before the client started."""
        master = self._master(host)
        done = self._processes.run(argv(master), data=data, timeout=timeout, on_output=on_output)
        if done.returncode != 0 and not done.stdout and _NEVER_BEGAN in done.stderr and _is_lost(master):
            master.kill()
            master = self._master(host)
            done = self._processes.run(argv(master), data=data, timeout=timeout, on_output=on_output)
        return master, done


def _limited(command: str, timeout: float) -> str:
    """Wrap a command in ``timeout`` on the host; killing only the local ssh would leave it running there."""
    return f'exec timeout --kill-after=5 {timeout:.0f} "$SHELL" -c {quote([command])}'


def _is_lost(master: Master) -> bool:
    """Return whether the connection no longer answers; exit code 255 may be ssh's or the command's."""
    try:
        check = subprocess.run(control_argv(master.socket, "check"), capture_output=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        return True
    return check.returncode != 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
