"""All hosts of a cluster at once: commands, folders, and content that leaves this machine only once."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from flambe_ansible.events import Notice, Observer, Status, StepEvent, ignore
from flambe_ansible.fleet import copying
from flambe_ansible.fleet.copying import KEY_FILE
from flambe_ansible.fleet.instance import Instance, below_home
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host
from flambe_ansible.runnable.environment import RemoteEnvironment
from flambe_ansible.sources.content import MB, UPLOAD_WARN_LIMIT_MB, size
from flambe_ansible.ssh import Completed, Connections, Progress, on_each

Result = TypeVar("Result")
_STEP = "send"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The loaded hosts of a cluster and the connections to them.

    Attributes:
        connections: One kept connection per host.
        username: The user to log in as.
        orchestrator: The orchestrator.
        factories: The factories that are loaded, by index.
        observer: Receives the progress of long transfers.
    """

    connections: Connections
    username: str
    orchestrator: Instance
    factories: Sequence[Instance] = ()
    observer: Observer = field(default=ignore, repr=False)

    @property
    def head(self) -> Host:
        """The orchestrator's data."""
        return self.orchestrator.data

    @property
    def hosts(self) -> list[Host]:
        """The orchestrator, then the factories."""
        return [one.data for one in self.instances]

    @property
    def instances(self) -> list[Instance]:
        """The orchestrator, then the factories."""
        return [self.orchestrator, *self.factories]

    @property
    def gpus(self) -> dict[str, HostGpus]:
        """The GPUs of the hosts that were probed, by name."""
        return {name: probe.gpus for name, probe in self.connections.probes.items()}

    @property
    def home(self) -> str:
        """The home folder of the cluster's user on the orchestrator."""
        return self.orchestrator.get_home_path()

    def on_each(self, work: Callable[[Instance], Result]) -> dict[str, Result]:
        """Call a function for every host at once; return the results by host name."""
        instances = {one.name: one for one in self.instances}
        return on_each(self.hosts, lambda host: work(instances[host.name]))

    def run_all(self, command: str, *, timeout: float | None = None, check: bool = True) -> dict[str, Completed]:
        """Run a shell command on every host at once, as ``Connections.run_all``."""
        return self.connections.run_all(self.hosts, command, timeout=timeout, check=check)

    def run_cmds(self, setup_cmds: Sequence[str]) -> None:
        """Run commands in order, each on all hosts at once."""
        for command in setup_cmds:
            self.run_all(f"bash -c {shlex.quote(command)} </dev/null")

    def count_cpus(self) -> list[int]:
        """Return the number of CPUs of each factory."""
        return self._on_factories(lambda instance: instance.num_cpus())

    def count_gpus(self) -> list[int]:
        """Return the number of GPUs of each factory, as nvidia-smi lists them.

        Raises:
            RemoteCommandError: It did not answer on a factory.
        """
        return self._on_factories(lambda instance: instance.num_gpus())

    def _on_factories(self, work: Callable[[Instance], Result]) -> list[Result]:
        """Call a function for every factory at once; return the results by index."""
        instances = {one.name: one for one in self.factories}
        return list(on_each([one.data for one in self.factories], lambda host: work(instances[host.name])).values())

    def has_same_key(self) -> bool:
        """Return whether all hosts have the same cluster key pair."""
        answers = self.run_all(f'ssh-keygen -y -P "" -f ~/{KEY_FILE}', check=False).values()
        keys = {tuple(answer.stdout.split()[:2]) for answer in answers if answer.returncode == 0}
        return len(keys) == 1 and all(answer.returncode == 0 for answer in answers)

    def describe(self, user_provider: Callable[[], str]) -> RemoteEnvironment:
        """Describe the cluster for a runnable, with the addresses that hosts use among themselves."""
        return RemoteEnvironment(
            key=f"{self.home}/{KEY_FILE}",
            orchestrator_ip=self.orchestrator.private_host,
            factories_ips=[one.private_host for one in self.factories],
            user=self.username,
            local_user=user_provider(),
            public_orchestrator_ip=self.orchestrator.host,
            public_factories_ips=[one.host for one in self.factories],
        )

    def write_private(self, path: str, text: str) -> None:
        """Write a file (0600) below the orchestrator's home folder in one step."""
        target, draft = (shlex.quote(f"./{name}") for name in (path, f"{path}.new"))
        command = f"cd && umask 077 && rm -f {draft} && cat > {draft} && mv -f {draft} {target}"
        self.connections.run(self.head, command, input=text)

    def copy_to_factories(self, folders: Sequence[str], *, mirror: bool = False, checksum: bool = False) -> None:
        """Copy folders of the orchestrator to the same paths on all factories.

        ``mirror`` removes other files there; ``checksum`` compares content, not sizes and times.
        """
        paths = [below_home(folder, home=self.home) for folder in folders]
        factories = [one.data for one in self.factories]
        script = copying.write_script(self.username, factories, paths, mirror=mirror, checksum=checksum)
        answer = self.connections.run(self.head, "exec sh -s", input=script, check=False)
        copying.check(self.head, answer, command=f"rsync {shlex.join(paths)}")

    def send(
        self, content: Mapping[str, str], dest: str, *, all_hosts: bool = False, exclude: Sequence[str] = ()
    ) -> dict[str, str]:
        """Send local files and folders to the orchestrator, and from there to the factories.

        Unchanged content is not sent again; a folder becomes an exact copy of the local one. Content above
        ``UPLOAD_WARN_LIMIT_MB`` is announced and shows its progress; its files count as unchanged if their sizes and
        times are. Smaller content is compared itself.
        """
        folder = below_home(dest, home=self.home)
        self.orchestrator.create_dirs([folder])
        placed: dict[str, str] = {}
        small: list[str] = []
        large: list[str] = []
        for name, location in content.items():
            local = Path(location).expanduser()
            if not local.exists():
                placed[name] = location
                continue
            target = posixpath.join(folder, f"{_UNSAFE.sub('_', name)}__{local.absolute().name}")
            total = size(local)
            self._put(local.absolute(), target, total=total, exclude=exclude)
            placed[name] = posixpath.join(self.home, target)
            (large if _is_large(total) else small).append(target)
        for targets in (small, large):
            if all_hosts and targets:
                self.copy_to_factories(targets, mirror=True, checksum=targets is small)
        return placed

    def _put(self, local: Path, target: str, *, total: int, exclude: Sequence[str]) -> None:
        """Send one file or folder to the orchestrator."""
        options = [f"--exclude={pattern}" for pattern in exclude]
        # A link, or a link in a folder to something outside of it, is sent as the file or folder that it leads to.
        source = f"{local}/" if local.is_dir() else str(local.resolve())
        options += ["--delete", "--copy-unsafe-links"] if local.is_dir() else []
        if not _is_large(total):
            self.connections.put(self.head, source, target, options=[*options, "--checksum"])
            return
        name, amount = self.head.name, f"{local.name}, {total // MB} MB"
        self.observer(
            Notice(message=f"sending {local} ({total // MB} MB) to {name}; unchanged files are not sent again")
        )

        def report(status: Status, more: str = "") -> None:
            self.observer(StepEvent(host=name, step=_STEP, status=status, detail=amount + more))

        def show(progress: Progress) -> None:
            report(Status.RUNNING, f": {progress.percent} %, {progress.rate}")

        report(Status.RUNNING)
        try:
            self.connections.put(self.head, source, target, options=options, progress=show)
        except Exception:
            report(Status.FAILED)
            raise
        report(Status.OK)


def _is_large(total: int) -> bool:
    """Whether content of this size (bytes) is announced, and compared by sizes and times only."""
    return total > UPLOAD_WARN_LIMIT_MB * MB
