"""Make an image of a prepared host, from which later launches create their hosts.

A temporary cluster with a name of its own, and the tags of every cluster, has the hosts to prepare. So its requests are
in a journal, ``audit`` and ``down`` find it, and its hosts power themselves off if this process ends before it stops
them. Baking again waits for an image that is pending, and removes what an interrupted bake left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flambe_ansible import files
from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.cluster.lab import LabCluster
from flambe_ansible.ec2 import api, baked, images, instances
from flambe_ansible.ec2.baked import BakedImage
from flambe_ansible.ec2.tags import BAKING, BASE, MAX_TAGS, NAME, RECIPE, RUNTIME
from flambe_ansible.errors import ClusterBusyError, ClusterConfigurationError, FlambeAnsibleError, LabError
from flambe_ansible.events import Notice, Status, StepEvent
from flambe_ansible.hosts import LIVE_STATES, HostState, Role
from flambe_ansible.launch import baking
from flambe_ansible.ssh.parallel import join

SUFFIX = "-bake"
LOCK_FILE = "bake.lock"
MOST_TAGS = 40  # of the user's, on temporary hosts
IDLE_HOURS = 1  # until a temporary host powers itself off


@dataclass(frozen=True, kw_only=True)
class BakeResult:
    """What a bake did.

    Attributes:
        images: The images for the cluster's hosts: one, or one for each role if their bases differ.
        made: The ids of those that were made now.
        seconds: Its duration.
    """

    images: Sequence[BakedImage]
    made: Sequence[str]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """An image to make: the role whose temporary host becomes it, and what the image must fit."""

    role: Role
    base: str
    architecture: str


class Baker:
    """Makes the images of one cluster.

    Args:
        cluster: The cluster of a file; nothing of it is changed.

    Attributes:
        builder: The temporary cluster.

    Raises:
        ClusterConfigurationError: Its hosts get nothing installed, or it is of another class.
    """

    def __init__(self, cluster: Cluster) -> None:
        if not isinstance(cluster, AWSCluster) or type(cluster) not in (AWSCluster, LabCluster):
            name = type(cluster).__name__
            raise ClusterConfigurationError(f"!{name} cannot be baked: expected an !AWSCluster or a !LabCluster")
        cluster.parse()
        version = cluster.resolve_runtime()
        if not cluster.recipe:
            raise ClusterConfigurationError(
                f"cluster {cluster.name} has nothing to bake: its hosts get no runtime, no Docker and no setup_cmds"
            )
        self._cluster = cluster
        self._recipe = cluster.recipe
        self._words = baking.describe(cluster._runtime, version, setup_cmds=cluster.setup_cmds, docker=cluster.docker)
        self._wanted = _list_wanted(cluster)
        self.builder = _make_builder(cluster, mark=self._recipe, factories=len(self._wanted) - 1)

    @property
    def volume_size(self) -> int:
        """The size of the volume of each image, GB."""
        return int(self._cluster.volume_size)

    def find_missing(self, *, again: bool = False) -> list[str]:
        """Return the instance types of the temporary hosts that ``bake`` would create; change nothing."""
        found = baked.find_all(self._cluster.clients.ec2, recipe=self._recipe)
        pending = any(one.state == baked.PENDING for one in found)
        missing = again or any(self._choose(found, one) is None for one in self._wanted)
        return [self._cluster._settings.types[one.role] for one in self._wanted] if missing and not pending else []

    def bake(self, *, again: bool = False) -> BakeResult:
        """Make the images that do not exist yet, and return all.

        Args:
            again: Make new ones, also if there are some.

        Raises:
            ClusterBusyError: Another process bakes for this cluster.
            ClusterConfigurationError: Another cluster has the name of the temporary one.
            FlambeAnsibleError: A step failed; the temporary hosts were terminated.
        """
        started = time.monotonic()
        with self._lock():
            found = self._settle()
            self._remove_leftovers()
            missing = [one for one in self._wanted if again or self._choose(found, one) is None]
            made = self._make(missing) if missing else []
            found = [*made, *found]
            chosen = [image for one in self._wanted if (image := self._choose(found, one))]
            ids = [image.id for image in made]
            return BakeResult(images=chosen, made=ids, seconds=time.monotonic() - started)

    def _choose(self, found: Sequence[BakedImage], one: _Wanted) -> BakedImage | None:
        return baked.choose(found, base=one.base, architecture=one.architecture, size=self.volume_size)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            with files.lock(self.builder.state_dir / LOCK_FILE, wait=False):
                yield
        except BlockingIOError as error:
            raise ClusterBusyError(f"another process of this machine bakes for cluster {self._cluster.name}") from error

    def _settle(self) -> list[BakedImage]:
        """Return the images of the recipe; wait for pending ones, and remove those that failed."""
        ec2 = self._cluster.clients.ec2
        found = baked.find_all(ec2, recipe=self._recipe)
        pending = [one.id for one in found if one.state == baked.PENDING]
        if pending:
            self._note(f"waiting for {', '.join(pending)}, which an earlier bake began")
            return self._settle() if baked.wait_for(ec2, pending) else found
        for one in found:
            if one.state != baked.AVAILABLE:
                self._note(f"removing {one.id}, which is {one.state}: {one.reason or 'EC2 shows no reason'}")
                baked.remove(ec2, one)
        return [one for one in found if one.state == baked.AVAILABLE]

    def _remove_leftovers(self) -> None:
        """Remove everything that an interrupted bake of this machine left.

        Raises:
            ClusterConfigurationError: The user has a cluster with the name of the temporary one.
            ClusterBusyError: Another machine bakes for this cluster.
        """
        builder = self.builder
        states = [*LIVE_STATES, HostState.SHUTTING_DOWN]
        found = instances.find(builder.clients.ec2, builder._tags, states)
        others = [one for one in found if BAKING not in one.tags]
        if others:
            message = f"{others[0].id} belongs to a cluster {builder.name}; bake uses this name for its temporary host"
            raise ClusterConfigurationError(message, hint="terminate that cluster, or change the name of this one")
        requests = builder.aws.journal.read()
        own = {one.token for one in requests} | {instance_id for one in requests for instance_id in one.ids}
        foreign = [one for one in found if not own & {one.token, one.id} and one.state in LIVE_STATES]
        if foreign:
            raise ClusterBusyError(
                f"another machine bakes for cluster {self._cluster.name}: {foreign[0].id} is {foreign[0].state}"
                f" since {foreign[0].launched:%Y-%m-%d %H:%M} UTC; nothing was changed",
                hint=f"if it was interrupted: flambe-ans down --name {builder.name}",
            )
        builder.terminate_instances()

    def _make(self, missing: Sequence[_Wanted]) -> list[BakedImage]:
        """Prepare the temporary hosts, make the images of them, and terminate them."""
        try:
            self._prepare()
            ids = self._create_images(missing)
            made = baked.wait_for(self._cluster.clients.ec2, ids)
        except BaseException:
            self._terminate_quietly()
            raise
        self._report("image", Status.CHANGED, ", ".join(ids))
        self.builder.terminate_instances()
        return made

    def _prepare(self) -> None:
        """Create the temporary hosts, prepare and clean them, and stop them."""
        builder = self.builder
        builder.resolve_runtime()
        with builder.reserve("bake") as reservation:
            builder.load_all_instances()
            builder._access.open(builder.hosts, patience=builder._limits.for_launch, observer=builder.observer)
            errors = builder.connections.probe_each(
                builder.hosts, machines=builder._runtime.machines, observer=builder.observer
            )
            if errors:
                raise join(list(errors.values()))
            reservation.take(builder.connections, builder.fleet.head)
            baking.prepare(builder._player, builder._runtime)
            reservation.check()
            self._report("clean", Status.RUNNING)
            baking.seal(builder._player, builder._runtime)
            baking.clean(builder.fleet)
            self._report("clean", Status.CHANGED)
        builder._provider.suspend(observer=builder.observer)
        builder.close()

    def _create_images(self, missing: Sequence[_Wanted]) -> list[str]:
        """Start to make the images of the stopped hosts; return their ids."""
        self._report("image", Status.RUNNING)
        existing = self.builder.aws.find_existing()
        ids = []
        for one in missing:
            source = existing.orchestrator if one.role is Role.ORCHESTRATOR else existing.factories[0]
            if source is None:
                raise ClusterConfigurationError(f"the temporary host of cluster {self.builder.name} does not exist")
            name = f"flambe-{self._cluster.name}-{source.id}"  # unique, so that the request can be repeated
            made = baked.create(
                self._cluster.clients.sender,
                source.id,
                name=name,
                description=f"{self._words}, prepared by flambe-ans bake",
                tags=self._build_tags(name, one.base),
            )
            ids.append(made)
        return ids

    def _build_tags(self, name: str, base: str) -> Mapping[str, str]:
        """Build the tags of an image and its snapshots; of the user's own, as many as AWS allows."""
        own = {NAME: name, RECIPE: self._recipe, BASE: base, RUNTIME: self._words}
        common = self._cluster._tags.common
        user = {key: common[key] for key in self._cluster.tags or {}}
        own |= {key: value for key, value in common.items() if key not in user}
        return {**own, **dict(list(user.items())[: MAX_TAGS - len(own)])}

    def _terminate_quietly(self) -> None:
        """Terminate the temporary hosts after a failure, unless an image of them is pending."""
        try:
            pending = baked.find_all(self._cluster.clients.ec2, recipe=self._recipe)
            if any(one.state == baked.PENDING for one in pending):
                self._note("an image is pending; bake again to wait for it and to remove the temporary host")
                return
            self.builder.terminate_instances()
        except FlambeAnsibleError as error:
            first = f"{error.hint}; then " if isinstance(error, LabError) and error.hint else ""
            rest = f"bake again, or flambe-ans down --name {self.builder.name}, removes the rest"
            self._note(f"{error.message}; {first}{rest}")

    def _note(self, message: str) -> None:
        self._cluster.observer(Notice(message=message, warning=True))

    def _report(self, step: str, status: Status, detail: str = "") -> None:
        for host in self.builder.hosts:
            self.builder.observer(StepEvent(host=host.name, step=step, status=status, detail=detail))


def _list_wanted(cluster: AWSCluster) -> list[_Wanted]:
    """List the images: that of the orchestrator, and that of the factories if its base is another one."""
    settings, found = cluster._settings, dict[str, _Wanted]()
    for role in Role:
        info = api.describe_instance_type(cluster.clients.ec2, settings.types[role])
        base = baked.name_base(settings.images[role], info)
        wanted = _Wanted(role=role, base=base, architecture=images.find_architecture(info))
        found.setdefault(base, wanted)
    return list(found.values())


def _make_builder(cluster: AWSCluster, *, mark: str, factories: int) -> AWSCluster:
    """Make the temporary cluster: the fields of a cluster, with hosts that power themselves off."""
    values = {field: getattr(cluster, field) for field in cluster.schema.by_name}
    if "key" in values:
        values["key"] = cluster._key or None
    changes = {
        "name": f"{cluster.name[: 64 - len(SUFFIX)]}{SUFFIX}",
        "factories_num": factories,
        "tags": {**dict(list((cluster.tags or {}).items())[:MOST_TAGS]), BAKING: mark[:12]},
        "orchestrator_timeout": IDLE_HOURS,
        "factories_timeout": IDLE_HOURS,
        "min_factories": None,
        "factories_spot": False,
        "budget": None,
    }
    builder = type(cluster)(**{**values, **changes})
    builder.uses_baked_images = False
    return builder


__all__ = ["BakeResult", "Baker"]
