"""Folders and files on the hosts of a live cluster; what goes to all hosts leaves this machine once."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from flambe_ansible.cluster import copying
from flambe_ansible.cluster.instance import Instance, below_home
from flambe_ansible.cluster.live import LiveCluster
from flambe_ansible.events import Notice, Status, StepEvent
from flambe_ansible.sources.content import MB, UPLOAD_WARN_LIMIT_MB, size
from flambe_ansible.ssh import Progress, on_each

_STEP = "send"
_REST = re.compile(r"[^A-Za-z0-9._-]+")


class Transfers(LiveCluster):
    """What a ``ClusterRunnable`` may do with folders and files; after ``run`` or ``attach``."""

    def get_orch_home_path(self) -> str:
        """Return the home folder of the cluster's user on the orchestrator.

        Raises:
            ClusterError: The orchestrator was not loaded.
        """
        return self._get_orchestrator().get_home_path()

    def create_dirs(self, relative_dirs: list[str]) -> None:
        """Create folders below the home folder of every host; those that exist stay as they are."""
        if relative_dirs:
            on_each(self.hosts, lambda host: self._instance(host.name).create_dirs(relative_dirs))

    def existing_dir(self, _dir: str) -> bool:
        """Tell whether a folder exists on at least one host.

        Args:
            _dir: The folder; a relative path starts at the home folder.
        """
        return any(on_each(self.hosts, lambda host: self._instance(host.name).existing_dir(_dir)).values())

    def remove_dir(self, _dir: str, content_only: bool = True, all_hosts: bool = True) -> None:
        """Remove a folder below the home folder; one that is not there is no error.

        Args:
            _dir: The folder, relative to the home folder.
            content_only: Keep the folder itself, empty.
            all_hosts: On all hosts, or on the orchestrator alone.

        Raises:
            ClusterConfigurationError: The path is the home folder itself, or leaves it.
            RemoteCommandError: It could not be removed on a host.
        """
        hosts = self.hosts if all_hosts else [self._get_orchestrator().data]
        on_each(hosts, lambda host: self._instance(host.name).remove_dir(_dir, content_only))

    def rsync_orch(self, folder: str) -> None:
        """Copy a folder of the orchestrator to the same place on all factories at once, with the cluster's own key.

        What the factories have besides stays; what they have already is not sent again.

        Args:
            folder: The folder, relative to the home folder.

        Raises:
            RemoteCommandError: It failed for a factory, which is named.
        """
        self._copy_to_factories([folder])

    def send_local_content(
        self, content: Mapping[str, str], dest: str, all_hosts: bool = False, *, exclude: Sequence[str] = ()
    ) -> dict[str, str]:
        """Send local files and folders to the orchestrator, and from there to the factories.

        What is there already is not sent again; a folder becomes exactly the local one. Anything above
        ``UPLOAD_WARN_LIMIT_MB`` is announced and shows its progress.

        Args:
            content: Local paths by name. What is no path here stays as it is.
            dest: The folder on the hosts, below the home folder.
            all_hosts: To all hosts, or to the orchestrator alone.
            exclude: Patterns of rsync for what is left out.

        Returns:
            By name, the path on the hosts: ``<home>/<dest>/<name>__<file or folder>``.

        Raises:
            RemoteCommandError: A host did not take it.
            ClusterError: The orchestrator was not loaded.
        """
        orchestrator = self._get_orchestrator()
        home = orchestrator.get_home_path()
        folder = below_home(dest, home=home)
        orchestrator.create_dirs([folder])
        placed: dict[str, str] = {}
        sent = []
        for name, location in content.items():
            local = Path(location).expanduser()
            if not local.exists():
                placed[name] = location
                continue
            target = posixpath.join(folder, f"{_REST.sub('_', name)}__{local.absolute().name}")
            self._send(orchestrator, local.absolute(), target, exclude=exclude)
            placed[name] = posixpath.join(home, target)
            sent.append(target)
        if all_hosts and sent:
            self._copy_to_factories(sent, mirror=True)
        return placed

    def _send(self, host: Instance, local: Path, target: str, *, exclude: Sequence[str]) -> None:
        """Bring one file or folder to a host, telling of it where it is large."""
        options = [f"--exclude={pattern}" for pattern in exclude]
        source = f"{local}/" if local.is_dir() else str(local)
        options += ["--delete"] if local.is_dir() else []
        bytes_ = size(local)
        if bytes_ <= UPLOAD_WARN_LIMIT_MB * MB:
            self.connections.put(host.data, source, target, options=options)
            return
        amount = f"{local.name}, {bytes_ // MB} MB"
        self.observer(
            Notice(message=f"sending {local} ({bytes_ // MB} MB) to {host.name}; what it has is not sent again")
        )
        self._tell(host, Status.RUNNING, amount)

        def tell(progress: Progress) -> None:
            self._tell(host, Status.RUNNING, f"{amount}: {progress.percent} %, {progress.rate}")

        try:
            self.connections.put(host.data, source, target, options=options, progress=tell)
        except Exception:
            self._tell(host, Status.FAILED, amount)
            raise
        self._tell(host, Status.OK, amount)

    def _copy_to_factories(self, folders: Sequence[str], *, mirror: bool = False) -> None:
        orchestrator = self._get_orchestrator()
        home = orchestrator.get_home_path()
        paths = [below_home(folder, home=home) for folder in folders]
        script = copying.write_script(self.username, [one.data for one in self.factories], paths, mirror=mirror)
        answer = self.connections.run(orchestrator.data, "exec sh -s", input=script, check=False)
        copying.check(orchestrator.data, answer, command=f"rsync {shlex.join(paths)}")

    def _instance(self, name: str) -> Instance:
        return next(one for one in self._get_all_hosts() if one.name == name)

    def _tell(self, host: Instance, status: Status, detail: str) -> None:
        self.observer(StepEvent(host=host.name, step=_STEP, status=status, detail=detail))
