"""Containers on a host: Docker's command line over the connection to it.

Docker runs through ``sudo`` as the login user: that user's registry logins apply, and so does a membership of the group
``docker`` that is newer than the connection.
"""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from flambe_ansible.errors import ClusterConfigurationError, RemoteCommandError
from flambe_ansible.hosts import Host

TAG = "cluster_containers"  # of the role that installs Docker
SWITCH = {"cluster_docker": True}  # the variable with which the playbook plays it
LOOPBACK, PRIVATE = "127.0.0.1", "private"

_PORT = re.compile(
    r"(?:(?P<address>private|\d+(?:\.\d+)+|\[[0-9a-fA-F:.]+\]):)?"
    r"(?:(?P<host>\d{1,5}):)?(?P<inside>\d{1,5})(?P<kind>/tcp|/udp)?"
)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DEVICES = re.compile(r"[A-Za-z0-9][A-Za-z0-9:.-]*")
_END = "flambe-env-ends"  # is no line of a file of variables: these have a "="
_ANSWER = "Error response from daemon: "
# What Docker prints, the problem, and what helps.
_INSTALL = "set `docker: true` in the cluster's file and launch, or call install_docker()"
_PROBLEMS = (
    (r"docker: (?:command )?not found", "Docker is not installed", _INSTALL),
    (r"Cannot connect to the Docker daemon", "Docker does not run", "systemctl start docker; journalctl -u docker"),
    (r"permission denied while trying to connect", "the user is not in group docker", _INSTALL),
    (r"no space left on device", "the disk is full", "docker system prune removes what no container uses"),
    (r"sudo: a password is required", "the user needs sudo without a password", None),
    (r'could not select device driver "" with capabilities: \[\[gpu', "Docker cannot use a GPU of this host", None),
)


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container that was started.

    Attributes:
        id: Its id.
        name: Its name.
        ports: The addresses on the host of its published ports: ``{"80/tcp": "127.0.0.1:8080"}``.
    """

    id: str
    name: str
    ports: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ContainerOptions:
    """What ``run_container`` starts; its arguments are documented there."""

    image: str
    command: str | Sequence[str] | None = None
    ports: Sequence[int | str] = ()
    volumes: Sequence[str] = ()
    env: Mapping[str, str] | None = None
    gpus: int | str | Sequence[int | str] | None = None
    name: str | None = None

    def arguments(self, host: Host, home: str) -> list[str]:
        """Return the arguments of ``docker create``; the values of ``env`` are not among them.

        Raises:
            ClusterConfigurationError: An argument cannot work.
        """
        if not self.image or self.image.startswith("-"):
            raise ClusterConfigurationError(f"image: expected the name of an image, not {self.image!r}")
        words = [f"--name={_check(self.name, _NAME, 'name')}"] if self.name is not None else []
        words += [f"--publish={_read_port(port, host)}" for port in _list(self.ports, "ports")]
        words += [f"--mount={_read_volume(volume, home)}" for volume in _list(self.volumes, "volumes")]
        words += ["--env-file=/dev/stdin"] if self.env else []
        words += [f"--gpus={_read_gpus(self.gpus)}"] if self.gpus is not None else []
        command = shlex.split(self.command) if isinstance(self.command, str) else self.command or []
        return [*words, "--", self.image, *command]

    def variables(self) -> str:
        """Return the lines of Docker's file of variables.

        Raises:
            ClusterConfigurationError: A name or a value cannot be in it; the message has no value.
        """
        lines = []
        for name, value in (self.env or {}).items():
            _check(name, _VARIABLE, "env")
            if not isinstance(value, str) or set("\r\n\0") & set(value):
                problem = f"env: the value of {name} must be a text of one line; mount a file for longer ones"
                raise ClusterConfigurationError(problem)
            lines.append(f"{name}={value}\n")
        return "".join(lines)


@dataclass(frozen=True, kw_only=True)
class Containers:
    """The containers of one host.

    Attributes:
        host: The host.
        ask: Runs a script with /bin/sh on it, and returns its output; raises ``RemoteCommandError``.
        home: Returns the home folder of the login user.
    """

    host: Host
    ask: Callable[[str], str]
    home: Callable[[], str]

    def is_installed(self) -> bool:
        """Return whether the host has Docker."""
        return self._succeeds("docker --version")

    def is_running(self) -> bool:
        """Return whether Docker answers the login user."""
        return self._succeeds("docker ps")

    def restart(self) -> None:
        """Restart Docker."""
        self._call("sudo -n systemctl restart docker", "systemctl restart docker")

    def start(self, options: ContainerOptions) -> Container:
        """Start a container in the background; one that cannot be started is removed.

        The variables are in the standard input of Docker: in no argument, and in no file on the host.
        """
        words = shlex.join(options.arguments(self.host, self.home()))
        script = (
            f"id=$(docker create {words} <<'{_END}'\n{options.variables()}{_END}\n) || exit\n"
            'if ! docker start "$id" >/dev/null; then docker rm --force "$id" >/dev/null 2>&1; exit 1; fi\n'
            "docker inspect --format '{{json .Name}} {{json .NetworkSettings.Ports}}' \"$id\" || exit\n"
            'printf "%s\\n" "$id"'
        )
        *_, described, number = self._call(script, f"docker run {options.image}").strip().splitlines()
        name, _, ports = described.partition(" ")
        return Container(id=number, name=json.loads(name).removeprefix("/"), ports=dict(_list_ports(ports)))

    def remove_all(self) -> None:
        """Stop and remove all containers."""
        self._remove(self._list())

    def remove_by_image(self, image: str) -> None:
        """Stop and remove the containers of an image, and of images that are built on it."""
        if not image:
            raise ClusterConfigurationError("the name of an image is empty")
        self._remove(self._list(f"--filter={shlex.quote(f'ancestor={image}')}"))

    def remove_by_command(self, command: str) -> None:
        """Stop and remove the containers whose command line contains a text."""
        if not command.strip():
            raise ClusterConfigurationError("the command is empty, and would match all containers")
        found = self._list()
        template = "'{{.Id}} {{json .Path}} {{json .Args}}'"
        script = f"docker inspect --format {template} {' '.join(found)} 2>/dev/null || :"  # some may be gone
        lines = self._call(script, "docker inspect").splitlines() if found else []
        self._remove([line.partition(" ")[0] for line in lines if command in _read_command(line)])

    def _list(self, condition: str = "") -> list[str]:
        """Return the ids of containers, also of those that have ended."""
        return self._call(f"docker ps --all --quiet --no-trunc {condition}", "docker ps").split()

    def _remove(self, ids: Sequence[str]) -> None:
        """Stop and remove containers; those that are removed meanwhile are no error."""
        if not ids:
            return
        words = " ".join(ids)
        try:
            self.ask(_as_login_user(f"docker stop {words} >/dev/null 2>&1; docker rm --force {words} >/dev/null"))
        except RemoteCommandError as error:
            if set(ids) & set(self._list()):
                self._fail(error, "docker rm")

    def _succeeds(self, command: str) -> bool:
        return self.ask(_as_login_user(f"if {command} >/dev/null 2>&1; then echo yes; fi")).strip() == "yes"

    def _call(self, script: str, shown: str) -> str:
        try:
            return self.ask(_as_login_user(script))
        except RemoteCommandError as error:
            self._fail(error, shown)

    def _fail(self, error: RemoteCommandError, shown: str) -> NoReturn:
        """Raise the error with the problem in words."""
        problem, hint = explain(error.output)
        raise RemoteCommandError(
            f"{self.host.name}: {shown} failed: {problem or f'exit code {error.returncode}'}",
            host=self.host.name,
            command=shown,
            returncode=error.returncode,
            output=error.output,
            hint=hint,
        ) from error


def role_variables(
    secrets_file: Path | None, sections: Sequence[str] | None, *, enabled: bool, nvidia: bool, timeout: float
) -> dict[str, Any]:
    """Return the variables of the role ``cluster_containers``; none if a cluster has no Docker.

    Args:
        secrets_file: The user's secrets, with the logins to registries.
        sections: The sections of it that may be used; None is all.
        enabled: Whether the hosts get Docker.
        nvidia: Whether containers may use NVIDIA GPUs.
        timeout: The limit of each command of the installation, in seconds.
    """
    if not enabled:
        return {}
    return {
        **SWITCH,
        "cluster_containers_nvidia": nvidia,
        "cluster_containers_timeout": timeout,
        "cluster_containers_logins_src": str(secrets_file) if secrets_file else "",
        "cluster_containers_logins_sections": list(sections or []),
    }


def _as_login_user(script: str) -> str:
    """Return a script that runs another one in a new session of the login user, with its present groups."""
    end = f"flambe-{secrets.token_hex(8)}"
    # In braces, a script is read as a whole before its commands run: they may read its standard input.
    return f"sudo -n -H -u \"$(id -un)\" -- /bin/sh -s <<'{end}'\n{{\n{script}\nexit\n}}\n{end}\n"


def explain(output: str) -> tuple[str, str | None]:
    """Return the problem in the output of Docker, and what helps."""
    for pattern, problem, hint in _PROBLEMS:
        if re.search(pattern, output):
            return problem, hint
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("See '")]
    answers = [line.partition(_ANSWER)[2] for line in lines if _ANSWER in line]
    return [*lines[-1:], *answers][-1] if lines else "", None


def _list(values: object, name: str) -> list[Any]:
    """Return the values of a list; a text or a mapping in its place would be read as another list."""
    if isinstance(values, list | tuple):
        return list(values)
    raise ClusterConfigurationError(f"{name}: expected a list, not {values!r}")


def _check(value: str, form: re.Pattern[str], name: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ClusterConfigurationError(f"{name}: {value!r} is not a valid name")
    return value


def _read_port(port: int | str, host: Host) -> str:
    """Return the value of ``--publish``: with an address, which is the loopback by default."""
    match = _PORT.fullmatch(str(port))
    if not match or any(int(match[name] or 1) > 65535 for name in ("host", "inside")) or int(match["inside"]) == 0:
        expected = "[ADDRESS:][HOST PORT:]CONTAINER PORT, such as 8080, 8080:80, private:8080:80 or 0.0.0.0:8080:80"
        raise ClusterConfigurationError(f"ports: expected {expected}, not {port!r}")
    address = match["address"] or LOOPBACK
    if address == PRIVATE:
        address = host.private_ip or host.address
        address = f"[{address}]" if ":" in address else address
    try:
        ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        raise ClusterConfigurationError(f"ports: {port!r} needs an IP address, not {address!r}") from None
    return f"{address}:{match['host'] or match['inside']}:{match['inside']}{match['kind'] or ''}"


def _read_volume(volume: str, home: str) -> str:
    """Return the value of ``--mount``: a folder or file of the host, or a volume of Docker's by its name."""
    source, _, rest = str(volume).partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target.startswith("/") or mode not in ("", "rw", "ro"):
        expected = "PATH OR NAME:PATH IN THE CONTAINER[:ro], such as ~/data:/data:ro"
        raise ClusterConfigurationError(f"volumes: expected {expected}, not {volume!r}")
    bound = "/" in source or source in ("~", ".")
    path = source.removeprefix("~").removeprefix("/") if source.startswith("~") else source
    if bound and not (source.startswith("/")):
        source = f"{home}/{path}".rstrip("/.") if path != "." else home
    fields = [f"type={'bind' if bound else 'volume'}", f"source={source}", f"target={target}"]
    return ",".join(_quote_field(one) for one in [*fields, *(["readonly"] if mode == "ro" else [])])


def _quote_field(text: str) -> str:
    """Quote one field of comma-separated values."""
    return '"{}"'.format(text.replace('"', '""')) if set(text) & set(',"') else text


def _read_gpus(gpus: int | str | Sequence[int | str]) -> str:
    """Return the value of ``--gpus``: all, a number, or devices by index or UUID."""
    if gpus is True or gpus == "all":
        return "all"
    if isinstance(gpus, int) and gpus > 0:
        return str(gpus)
    if isinstance(gpus, list | tuple) and gpus and all(_DEVICES.fullmatch(str(one)) for one in gpus):
        return '"device={}"'.format(",".join(map(str, gpus)))
    raise ClusterConfigurationError(f'gpus: expected "all", a number above 0, or a list of devices, not {gpus!r}')


def _list_ports(document: str) -> Iterator[tuple[str, str]]:
    """List the published ports in Docker's description, with their first address."""
    for inside, bound in (json.loads(document) or {}).items():
        if bound:
            address = bound[0]["HostIp"]
            yield inside, f"{f'[{address}]' if ':' in address else address}:{bound[0]['HostPort']}"


def _read_command(line: str) -> str:
    """Return the command line in a description ``ID "PATH" ["ARGUMENT"]``."""
    found, position = [], line.index(" ") + 1
    decoder = json.JSONDecoder()
    while position < len(line):
        value, position = decoder.raw_decode(line, position)
        found += value if isinstance(value, list) else [value] if value else []
        position += 1
    return " ".join(found)
