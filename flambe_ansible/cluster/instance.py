"""One host of a live cluster, as the Python API hands it out."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Completed, Connections

# Prints how many CPUs the user may use, and how many GPUs NVIDIA's driver knows.
COUNT_DEVICES = "nproc; ls /proc/driver/nvidia/gpus 2>/dev/null | wc -l"


class Instance:
    """A host and the way to it: what a ``ClusterRunnable`` needs on one host.

    Args:
        host: The host's data.
        connections: Returns the cluster's connections; called at the first use.
    """

    def __init__(self, host: Host, connections: Callable[[], Connections]) -> None:
        self.data = host
        self._connections = connections
        self._home: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.host}>"

    @property
    def name(self) -> str:
        """The host's name."""
        return self.data.name

    @property
    def host(self) -> str:
        """The address that this machine connects to."""
        return self.data.address

    @property
    def private_host(self) -> str:
        """The address that the other hosts connect to."""
        return self.data.private_ip or self.data.address

    def run(self, command: str, *, timeout: float | None = None, check: bool = True) -> Completed:
        """Run a shell command on the host, as the cluster's user.

        Args:
            command: The command, as one writes it in a shell.
            timeout: Seconds, or None.
            check: Whether an exit code other than 0 is an error.

        Raises:
            RemoteCommandError: It failed, or took too long.
            HostConnectionError: The host cannot be reached.
        """
        return self._connections().run(self.data, command, timeout=timeout, check=check)

    def run_cmds(self, setup_cmds: Sequence[str]) -> None:
        """Run commands in order; the first that fails ends it with ``RemoteCommandError``."""
        for command in setup_cmds:
            self.run(f"bash -c {shlex.quote(command)} </dev/null")

    def get_home_path(self) -> str:
        """Return the home folder of the cluster's user on the host."""
        if self._home is None:
            self._home = self.run('printf %s "$HOME"').stdout
        return self._home

    def create_dirs(self, relative_dirs: Sequence[str]) -> None:
        """Create folders below the home folder; those that exist stay as they are."""
        if relative_dirs:
            self.run("cd && mkdir -p -- " + shlex.join(below_home(one) for one in relative_dirs))

    def existing_dir(self, _dir: str) -> bool:
        """Tell whether a folder exists; a relative path starts at the home folder."""
        path = shlex.quote(_dir.removeprefix("~/") or ".")
        return self.run(f"cd && test -d {path}", check=False).returncode == 0

    def remove_dir(self, _dir: str, content_only: bool = True) -> None:
        """Remove a folder below the home folder; one that is not there is no error.

        Args:
            _dir: The folder, relative to the home folder.
            content_only: Keep the folder itself, empty.

        Raises:
            ClusterConfigurationError: The path is the home folder itself, or leaves it.
            RemoteCommandError: It could not be removed.
        """
        path = shlex.quote(f"./{below_home(_dir, home=self.get_home_path())}")
        if content_only:  # a link to a folder is followed: its content is what is meant
            self.run(f"cd && if [ -d {path} ]; then find {path}/ -mindepth 1 -delete; fi")
        else:
            self.run(f"cd && rm -rf -- {path}")

    def num_cpus(self) -> int:
        """Count the CPUs that the user may use."""
        return read_devices(self.run(COUNT_DEVICES).stdout)[0]

    def num_gpus(self) -> int:
        """Count the GPUs that NVIDIA's driver knows."""
        return read_devices(self.run(COUNT_DEVICES).stdout)[1]

    def contains_gpu(self) -> bool:
        """Tell whether the host has a GPU that NVIDIA's driver knows."""
        return self.num_gpus() > 0

    def send(self, local: str | Path, remote: str) -> None:
        """Copy a local file or folder to the host, by rsync: what is there already is not sent again."""
        self._connections().put(self.data, Path(local), remote)


def below_home(path: str, *, home: str = "") -> str:
    """Return a path relative to the home folder, and refuse one that is not below it.

    Args:
        path: A relative path, one that begins with ``~/``, or an absolute one below ``home``.
        home: The home folder, where it is known.

    Raises:
        ClusterConfigurationError: The path is the home folder itself, leaves it, or is empty.
    """
    relative = path.removeprefix("~/")
    if home and path.startswith(f"{home.rstrip('/')}/"):
        relative = path[len(home.rstrip("/")) + 1 :]
    clean = posixpath.normpath(relative) if relative else ""
    if clean in ("", ".", "..") or clean.startswith(("/", "../")) or ".." in relative.split("/") or "\0" in clean:
        raise ClusterConfigurationError(f"{path!r} is no path below the home folder")
    return clean


def read_devices(text: str) -> tuple[int, int]:
    """Read what ``COUNT_DEVICES`` printed, after whatever a login script says: CPUs and GPUs."""
    *_, cpus, gpus = text.split()
    return int(cpus), int(gpus)
