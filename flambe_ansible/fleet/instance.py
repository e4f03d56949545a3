"""One host of a cluster in the Python API."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from flambe_ansible.errors import ClusterConfigurationError, HostConnectionError, RemoteCommandError
from flambe_ansible.fleet.containers import Container, ContainerOptions, Containers
from flambe_ansible.fleet.gpus import read_gpus
from flambe_ansible.gpus import GpuState, HostGpus
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Completed, Connections, Patience

_MARK = "flambe-answer-begins"
_UP = Patience(seconds=10.0, reach=2.0)
_ACCESSIBLE_SECONDS = 60.0  # as in flambé


class RemoteCommand(NamedTuple):
    """The result of ``send_cmd``, as in flambé: the standard output of a command that succeeded, else its errors."""

    success: bool
    msg: bytes


class Instance:
    """A host and the connection to it; follows flambé's ``flambe.cluster.instance.Instance``.

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Do nothing: the connection is the cluster's."""

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

    @property
    def username(self) -> str:
        """The user to log in as."""
        return self._connections().username

    @property
    def key(self) -> str:
        """The path of the private key to log in with."""
        return str(self._connections().key)

    def is_up(self) -> bool:
        """Return whether sshd answers; a host that refuses the login answers."""
        error = self._connections().wait_each([self.data], patience=lambda _host: _UP).get(self.name)
        return not (isinstance(error, HostConnectionError) and error.unreachable)

    def wait_until_accessible(self) -> None:
        """Wait for a minute until the host accepts the login.

        Raises:
            HostConnectionError: It did not; a subclass of ``ConnectionError``.
        """
        self._connections().wait([self.data], timeout=_ACCESSIBLE_SECONDS)

    def run(self, command: str, *, timeout: float | None = None, check: bool = True) -> Completed:
        """Run a shell command on the host as the cluster's user.

        Args:
            command: A shell command line.
            timeout: Seconds, or None for no limit.
            check: Raise an error if the exit code is not 0.

        Raises:
            RemoteCommandError: The command failed or exceeded its time limit.
            HostConnectionError: The host cannot be reached.
        """
        return self._connections().run(self.data, command, timeout=timeout, check=check)

    def ask(self, script: str, *, about: str = "") -> str:
        """Run a script with /bin/sh, whatever the login shell is; return its output without that of its profile.

        Args:
            script: The script.
            about: What it reads, for messages; with it, the limit for answers applies, otherwise none.

        Raises:
            RemoteCommandError: The script failed, or the login shell did not start /bin/sh.
            HostConnectionError: The host cannot be reached.
        """
        text = f"printf '%s\\n' {_MARK}\n{script}\n"
        connections, shell = self._connections(), "exec /bin/sh -s"
        if about:
            answer = connections.ask(self.data, shell, input=text, about=about)
        else:
            answer = connections.run(self.data, shell, input=text)
        before, mark, output = answer.stdout.partition(f"{_MARK}\n")
        if not mark:
            raise RemoteCommandError(
                f"{self.name}: the user's login shell did not run a command; its profile may start another program",
                host=self.name,
                command="/bin/sh -s",
                returncode=answer.returncode,
                output=before + answer.stderr,
            )
        return output

    def send_cmd(self, cmd: str, retries: int = 1, wd: str | None = None) -> RemoteCommand:
        """Run a shell command; a command that fails is no error.

        Args:
            cmd: A shell command line.
            retries: How often it runs at most, until it succeeds.
            wd: The folder to run it in.

        Raises:
            ValueError: ``retries`` is not positive.
            HostConnectionError: The host cannot be reached.
        """
        if retries <= 0:
            raise ValueError("'retries' parameter should be > 0")
        line = f"cd {shlex.quote(wd.removeprefix('~/'))} || exit 1; {cmd}" if wd else cmd
        for _ in range(retries):
            done = self.run(line, check=False)
            if done.returncode == 0:
                break
        success = done.returncode == 0
        return RemoteCommand(success, (done.stdout if success else done.stderr).encode())

    _run_cmd = send_cmd  # flambé's own name

    def run_cmds(self, setup_cmds: Sequence[str]) -> None:
        """Run commands in order; stop with ``RemoteCommandError`` at the first one that fails."""
        for command in setup_cmds:
            self.run(f"bash -c {shlex.quote(command)} </dev/null")

    def get_home_path(self) -> str:
        """Return the home folder of the cluster's user on the host."""
        if self._home is None:
            self._home = self.ask('printf %s "$HOME"')
        return self._home

    def create_dirs(self, relative_dirs: Sequence[str]) -> None:
        """Create folders below the home folder; existing ones are unchanged."""
        if relative_dirs:
            self.run("cd && mkdir -p -- " + shlex.join(below_home(one) for one in relative_dirs))

    def existing_dir(self, _dir: str) -> bool:
        """Return whether a folder exists; a relative path starts at the home folder."""
        path = shlex.quote(_dir.removeprefix("~/") or ".")
        return self.ask(f"cd || exit 1; if test -d {path}; then echo yes; fi").strip() == "yes"

    def remove_dir(self, _dir: str, content_only: bool = True) -> None:
        """Remove a folder below the home folder; a missing folder is not an error.

        Args:
            _dir: The folder, relative to the home folder.
            content_only: Keep the folder itself, empty.

        Raises:
            ClusterConfigurationError: The path is the home folder itself or outside of it.
            RemoteCommandError: It could not be removed.
        """
        path = shlex.quote(f"./{below_home(_dir, home=self.get_home_path())}")
        if content_only:  # a link to a folder is followed: its content is meant
            self.ask(f"cd && if [ -d {path} ]; then find {path}/ -mindepth 1 -delete; fi")
        else:
            self.run(f"cd && rm -rf -- {path}")

    def get_gpus(self) -> HostGpus:
        """Return the GPUs of this host, as nvidia-smi lists them."""
        return read_gpus(self._connections(), self.data)

    def num_cpus(self) -> int:
        """Return the number of CPUs that the user may use."""
        return int(self.ask("nproc"))

    def num_gpus(self) -> int:
        """Return the number of GPUs that nvidia-smi lists.

        Raises:
            RemoteCommandError: It did not answer in time.
        """
        found = self.get_gpus()
        if found.state in (GpuState.TIMEOUT, GpuState.UNKNOWN):
            message = f"{self.name}: {found.error or 'its GPUs could not be read'}"
            raise RemoteCommandError(message, host=self.name, command="nvidia-smi", returncode=1, output=found.error)
        return len(found.gpus)

    def contains_gpu(self) -> bool:
        """Return whether nvidia-smi lists a GPU."""
        return self.num_gpus() > 0

    def is_docker_installed(self) -> bool:
        """Return whether Docker is installed."""
        return self._containers.is_installed()

    def is_docker_running(self) -> bool:
        """Return whether Docker answers the cluster's user."""
        return self._containers.is_running()

    def start_docker(self) -> None:
        """Restart Docker, as in flambé."""
        self._containers.restart()

    def run_container(
        self,
        image: str,
        command: str | Sequence[str] | None = None,
        ports: Sequence[int | str] = (),
        volumes: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        gpus: int | str | Sequence[int | str] | None = None,
        name: str | None = None,
    ) -> Container:
        """Start a container in the background; a missing image is pulled.

        Args:
            image: The image.
            command: Its command, split as by a shell if it is a text; None is that of the image.
            ports: The published ports, ``[ADDRESS:][HOST PORT:]CONTAINER PORT``. The address is the host's loopback by
                default, ``private`` for the private address, or an address such as ``0.0.0.0``.
            volumes: ``PATH:PATH IN THE CONTAINER[:ro]``: a path on the host, which a ``~/`` or a relative path has
                below the home folder, or the name of a volume of Docker.
            env: Environment variables. Their values are in no command line and in no file.
            gpus: ``"all"``, a number of GPUs, or a list of devices.
            name: Its name.

        Raises:
            ClusterConfigurationError: An argument cannot work; nothing was started.
            RemoteCommandError: The container could not be started; nothing of it is left.
        """
        options = ContainerOptions(
            image=image, command=command, ports=ports, volumes=volumes, env=env, gpus=gpus, name=name
        )
        return self._containers.start(options)

    def clean_containers(self) -> None:
        """Stop and remove all containers."""
        self._containers.remove_all()

    def clean_container_by_image(self, image_name: str) -> None:
        """Stop and remove the containers of an image."""
        self._containers.remove_by_image(image_name)

    def clean_container_by_command(self, command: str) -> None:
        """Stop and remove the containers whose command line contains a text."""
        self._containers.remove_by_command(command)

    @property
    def _containers(self) -> Containers:
        return Containers(host=self.data, ask=self.ask, home=self.get_home_path)

    def send(self, local: str | Path, remote: str) -> None:
        """Copy a local file, or the content of a local folder, to a path on the host.

        Unchanged content is not sent again. A relative path starts at the home folder.
        """
        self._connections().put(self.data, _find_content(Path(local)), remote)

    def send_rsync(self, host_path: str, remote_path: str, params: Sequence[str] | None = None) -> None:
        """Copy a local file, or the content of a local folder, to a path on the host, as ``send``.

        Args:
            host_path: The local file or folder.
            remote_path: The path on the host; a relative path starts at the home folder.
            params: More options of rsync, quoted as for a shell: ``["--exclude='.*'"]``.

        Raises:
            RemoteCommandError: The transfer failed, or the file does not exist.
        """
        options = [word for one in params or () for word in shlex.split(one)]
        content = _find_content(Path(host_path))
        self._connections().put(self.data, content, remote_path.removeprefix("~/"), options=options)


def _find_content(local: Path) -> str | Path:
    """Return the source for rsync that is the content of a folder, or the file."""
    return f"{local}/" if local.is_dir() else local


def below_home(path: str, *, home: str = "") -> str:
    """Return a path relative to the home folder; refuse one that is not below it.

    Args:
        path: A relative path, one that begins with ``~/``, or an absolute one below ``home``.
        home: The home folder, if it is known.

    Raises:
        ClusterConfigurationError: The path is empty, the home folder itself, or outside of it.
    """
    relative = path.removeprefix("~/")
    if home and path.startswith(f"{home.rstrip('/')}/"):
        relative = path[len(home.rstrip("/")) + 1 :]
    clean = posixpath.normpath(relative) if relative else ""
    if clean in ("", ".", "..", "~") or clean.startswith(("/", "../")) or ".." in relative.split("/") or "\0" in clean:
        raise ClusterConfigurationError(f"{path!r} is not a path below the home folder")
    return clean
