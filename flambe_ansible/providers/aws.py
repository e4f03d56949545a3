"""EC2 instances, found by their tags."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flambe_ansible.ec2 import alarms, console, instances, launching, stopping
from flambe_ansible.ec2.budgets import write_time
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.creating import StartContext, name_of
from flambe_ansible.ec2.instances import EC2Instance, Existing
from flambe_ansible.ec2.quotas import Demand
from flambe_ansible.ec2.starting import bring_up, find_missing, make_sample_alarm, rehearse_alarms
from flambe_ansible.ec2.tags import read_index
from flambe_ansible.errors import AWSError
from flambe_ansible.events import Notice, Observer
from flambe_ansible.findings import Finding
from flambe_ansible.fleet.access import AccessPolicy
from flambe_ansible.hosts import LIVE_STATES, Host, HostState, Location, Role
from flambe_ansible.journal import Journal, Stage
from flambe_ansible.launch import lock
from flambe_ansible.launch.costs import Costs
from flambe_ansible.launch.plan import HostPlan
from flambe_ansible.providers import places
from flambe_ansible.providers.ec2_changes import Facts, compare_hosts, compare_number, compare_sources
from flambe_ansible.providers.ec2_costs import EC2Costs
from flambe_ansible.providers.ec2_plan import describe_interruption, list_alternatives, list_new, list_notes, plan_hosts
from flambe_ansible.providers.ec2_spec import EC2Spec
from flambe_ansible.providers.leftovers import Leftovers
from flambe_ansible.providers.own_resources import OwnResources
from flambe_ansible.providers.places import Place
from flambe_ansible.providers.preparing import Prepared, diagnose, prepare
from flambe_ansible.ssh.parallel import together

FRESH_SECONDS = 300.0  # an instance that started this recently may not have printed its host keys yet
CHANGED_ADDRESS_HINT = "if the address of this machine has changed, launch again: it is then allowed in"
INTERRUPTED = ("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown")
# At its next boot a stopped instance has a new console, on which cloud-init prints no keys.
STOPPED_STATES = (HostState.STOPPED, HostState.STOPPING)


class AWSProvider:
    """The hosts of an ``AWSCluster``.

    Args:
        spec: Returns the wanted cluster.
        clients: The API clients.
        state_dir: Returns the cluster's state folder, which has its journal and lock.
    """

    records_hosts = False
    manages_hosts = True

    def __init__(self, spec: Callable[[], EC2Spec], clients: Clients, state_dir: Callable[[], Path]) -> None:
        self._get_spec = spec
        self._clients = clients
        self._state_dir = state_dir
        self.own = OwnResources(lambda: clients.ec2, lambda: self.spec.tags, state_dir, lambda: self.spec.names)
        self.costs = EC2Costs(lambda: self.spec, clients, state_dir)
        self._leftovers = Leftovers(
            spec=spec,
            clients=clients,
            own=self.own,
            costs=self.costs,
            state_dir=state_dir,
            place=lambda: self._place,
        )
        self._replaced: set[str] = set()  # ids of the instances that the next creation replaces
        self._printing: set[str] = set()  # ids of the instances whose consoles may not show their host keys yet
        self._shown: set[str] = set()  # the notes that a plan has shown
        self._tokens: set[str] = set()  # of the creations of this object
        self._prepared: Prepared | None = None  # by the plan, for the launch that follows
        self.removed: list[str] = []  # what the last termination deleted besides hosts, in words

    @property
    def spec(self) -> EC2Spec:
        """The wanted cluster."""
        return self._get_spec()

    @property
    def access(self) -> AccessPolicy:
        """How the hosts are reached."""
        settings = self.spec.settings
        return AccessPolicy(
            own_key=None if settings.key_name else self.own.key_file,
            reach_hint="" if settings.security_group else CHANGED_ADDRESS_HINT,
        )

    @property
    def journal(self) -> Journal:
        """The journal of the creations of hosts."""
        return Journal(self._state_dir())

    def identity(self) -> tuple[str, ...]:
        """Return creator, region and endpoint."""
        return (self.spec.tags.creator, self._clients.region, self._clients.endpoint_url or "")

    def location(self) -> Location:
        """Return region and account, and a note for each other place in which this machine created the cluster."""
        here = self._place
        notes = [
            f"this machine also created a cluster {here.cluster} in {other}, which is not part of this one"
            for other in places.find_others(self._state_dir(), here)
        ]
        return Location(region=here.region, account=here.account, notes=tuple(notes))

    @property
    def _place(self) -> Place:
        clients, tags = self._clients, self.spec.tags
        return Place(
            cluster=tags.name,
            creator=tags.creator,
            endpoint=clients.endpoint_url or "",
            region=clients.region,
            account=clients.account,
        )

    def find(self, *, strict: bool = True) -> list[Host]:
        """Return the live hosts, the orchestrator first, then hosts that are shutting down.

        Args:
            strict: Fail if there are two orchestrators.

        Raises:
            ClusterError: There are two orchestrators.
        """
        found = instances.find(self._clients.ec2, self.spec.tags, [*LIVE_STATES, HostState.SHUTTING_DOWN])
        if not strict:
            return [self._make_host(one.name, one) for one in found]
        live = self.arrange([instance for instance in found if instance.state in LIVE_STATES])
        ending = [instance for instance in found if instance.state is HostState.SHUTTING_DOWN]
        return self._make_hosts(live) + [self._make_host(one.name, one) for one in ending]

    def find_interrupted(self) -> list[Host]:
        """Return the Spot Instances that AWS ended, and that were not replaced since; EC2 shows them for an hour.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-interruptions.html
        """
        if not self.spec.settings.spot:
            return []
        every = instances.find(self._clients.ec2, self.spec.tags, HostState)
        live = {one.name for one in every if one.state in LIVE_STATES}
        ended = {one.name: one for one in every if one.state not in LIVE_STATES and one.reason_code in INTERRUPTED}
        return [self._make_host(name, one) for name, one in sorted(ended.items()) if name not in live]

    def find_existing(self) -> Existing:
        """Return the live instances by role and index."""
        return self.arrange(instances.find(self._clients.ec2, self.spec.tags))

    def plan(self) -> HostPlan:
        """Check all that a creation needs, and return what a launch would do; change nothing."""
        spec, existing = self.spec, self.find_existing()
        missing = find_missing(existing, spec.factories_num)
        ids = [instance.id for instance in existing.all]
        prepared, location, ended, volumes, found = together(
            lambda: self._prepare(existing, missing),
            self.location,
            self.find_interrupted,
            lambda: self.costs.read_volumes(existing),
            lambda: alarms.find_settings(self._clients.cloudwatch, ids),
        )
        changes = list_notes(spec.name, existing, spec.settings, spec.factories_num)
        tried = list_alternatives(missing, prepared.checked, spec.settings, least=spec.least, wanted=spec.factories_num)
        interrupted = map(describe_interruption, ended)
        notes = (*location.notes, *prepared.notes, *tried, *interrupted)
        self._shown.update((*notes, *changes))  # the plan shows the changes as such
        hosts = plan_hosts(spec.name, existing, missing, spec.settings, prepared.checked, make_host=self._make_host)
        estimate = self.costs.estimate(existing, list_new(spec.name, missing), volumes)
        facts = Facts(volumes=volumes, alarms=found, prices=estimate.costs.prices)
        return HostPlan(
            region=location.region,
            account=location.account,
            hosts=compare_hosts(hosts, existing, spec, facts, self.build_alarm),
            notes=notes,
            resources=self.own.describe(prepared.found, prepared.sources),
            changes=(
                *compare_number(existing, spec.factories_num),
                *compare_sources(self.own.compare_rules(prepared.found, prepared.sources)),
                *estimate.changes,
            ),
            costs=estimate.costs,
            problems=estimate.problems,
        )

    def measure_costs(self) -> Costs | None:
        """Return what the existing hosts cost; None if that cannot be read."""
        try:
            return self.costs.measure(self.find_existing())
        except AWSError:
            return None

    def find_end(self) -> str:
        """Return the time (ISO 8601, UTC) at which the hosts power themselves off, by the last launch; "" for none."""
        account = self.costs.find_account(self.find_existing()) if self.spec.budget is not None else None
        return write_time(account.ends) if account else ""

    def create(self, *, observer: Observer, created: list[str]) -> list[Host]:
        """Create missing hosts, start stopped ones, and update names, tags and alarms."""
        spec, journal = self.spec, self.journal
        found = launching.find_instances(self._clients.ec2, spec.tags, journal, settle=spec.settings.has_choices)
        existing = self.arrange(found)
        awake = {instance.id for instance in existing.all if instance.state is HostState.RUNNING}
        missing = find_missing(existing, spec.factories_num)
        prepared, self._prepared = self._prepare(existing, missing), None
        for note in (*prepared.notes, *list_notes(spec.name, existing, spec.settings, spec.factories_num)):
            if note not in self._shown:
                observer(Notice(message=note))
        account = self.costs.settle(existing, list_new(spec.name, missing))
        rehearse_alarms(self._clients.cloudwatch, self.build_alarm, existing, missing)
        self._end([instance for instance in found if instance.id in self._replaced])
        places.record(self._state_dir(), self._place)
        self.costs.record(account)
        try:
            settings = self.own.make(prepared.found, prepared.sources)
            start = StartContext(
                ec2=self._clients.ec2,
                get_sender=lambda: self._clients.sender,
                cloudwatch=self._clients.cloudwatch,
                cluster=self.costs.mark(spec.tags, account),
                journal=journal,
                settings=replace(settings, ends_at=account.ends if account else 0.0),
                alarm_owner=spec.alarm_owner,
                alarm_for=self.build_alarm,
                observer=observer,
                tokens=self._tokens,
                created=created,
                spare=spec.factories_num - max(spec.least, len(existing.factories)),
            )
            hosts = self._make_hosts(bring_up(start, existing, missing, prepared.checked.choices))
        except BaseException as error:
            created.extend(name for name in self._list_uncertain(missing) if name not in created)
            if isinstance(error, AWSError):
                error.hint = self.own.find_hint(prepared.found, error) or error.hint
                self._leftovers.try_to_remove(observer)
            raise
        self._replaced.clear()
        booted = {one.id for one in existing.all if one.state in STOPPED_STATES or not _is_fresh(one)}
        self._printing = {host.instance_id for host in hosts if host.instance_id} - booted
        return [host if host.instance_id in awake else replace(host, started=time.time()) for host in hosts]

    def admit(self) -> None:
        """Let this machine in: update the rules of the cluster's own security group, if there is one."""
        spec = self.spec
        if not spec.settings.security_group:
            existing = self.find_existing()
            prepared = self._prepare(existing, find_missing(existing, spec.factories_num))
            self.own.update_rules(prepared.found.group, prepared.sources)

    def replace(self, hosts: Sequence[Host]) -> None:
        """Plan to terminate these hosts and to create them anew; ``create`` does it."""
        self._replaced = {host.instance_id for host in hosts if host.instance_id}

    def check_suspension(self, *, force: bool = False) -> list[Host]:
        """Return the existing hosts if they can be stopped and started again without loss of data."""
        existing = self.find_existing()
        stopping.check(self._clients.ec2, existing.named(self.spec.name), force=force)
        return self._make_hosts(existing)

    def suspend(self, *, observer: Observer) -> None:
        """Stop all hosts, and remove their alarms."""
        with lock.hold(self._state_dir()):
            named = self.find_existing().named(self.spec.name)
            stopping.stop(self._clients.ec2, self._clients.cloudwatch, named, observer)

    def remove(self, hosts: Sequence[Host]) -> None:
        """Terminate these hosts and remove their alarms."""
        ids = {host.instance_id for host in hosts}
        with lock.hold(self._state_dir()):
            self._end([one for one in self.find_existing().all if one.id in ids])

    def terminate(self) -> list[Host]:
        """Terminate every instance with the cluster's tags, and remove its alarms and its own resources."""
        with lock.hold(self._state_dir(), needed=False):
            journal, tags = Journal(self._state_dir(), ending=True), self.spec.tags
            found = launching.find_instances(self._clients.ec2, tags, journal, settle=True)
            ending = instances.find(self._clients.ec2, tags, [HostState.SHUTTING_DOWN])
            self._end([*found, *ending])
            self._leftovers.remove_alarms()
            journal.close({creation.token for creation in journal.unfinished()}, "terminated")
            self.removed = self._leftovers.remove_resources()
        return [replace(self._make_host(one.name, one), state=HostState.TERMINATED) for one in found]

    def roll_back(self, *, unfinished: bool = False) -> set[str]:
        """Terminate the hosts that this object created, or with ``unfinished`` also those of killed launches."""
        journal, tokens = self.journal, set(self._tokens)
        if unfinished:
            tokens |= {creation.token for creation in journal.unfinished()}
        if not tokens:
            return set()
        own = launching.find_own(self._clients.ec2, self.spec.tags, journal, tokens)
        self._end(own)
        made = {one for creation in journal.read() if creation.token in tokens for one in creation.ids}
        alarms.remove(self._clients.cloudwatch, sorted(made))  # also of hosts that ended by themselves
        journal.close(tokens, "rolled back")
        self._tokens.clear()
        self._leftovers.remove_if_unused()
        return {instance.id for instance in own}

    def host_keys(self, host: Host) -> list[str] | None:
        """Return the host keys on the instance's console; None if it shows none."""
        return console.read_host_keys(self._clients.ec2, host.instance_id) if host.instance_id else None

    def late_host_keys(self, host: Host, stop: threading.Event) -> list[str] | None:
        """Wait for the host keys of a new host, which its console shows some time after its sshd answers."""
        if host.instance_id not in self._printing:
            return None
        return console.wait_for_host_keys(self._clients.ec2, host.instance_id or "", stop=stop)

    def jump_keys(self) -> Mapping[str, Sequence[str]]:
        """Return no keys."""
        return {}

    # Alarms.

    def build_alarm(self, instance: EC2Instance) -> Mapping[str, Any] | None:
        """Return the idle alarm of an instance; None if its role has none."""
        hours = self.spec.timeouts[instance.role]
        if hours == alarms.NEVER:
            return None
        return self.build_alarm_of(instance.id, alarms.minutes_of(hours), self.spec.alarm_percent)

    def build_sample_alarm(self) -> Mapping[str, Any] | None:
        """Return an alarm of no instance; None if the cluster has no alarms."""
        return make_sample_alarm(self.build_alarm, Role)

    def build_alarm_of(
        self, instance_id: str, minutes: int, cpu_thresh: float = alarms.CPU_THRESHOLD
    ) -> Mapping[str, Any]:
        """Return the alarm that terminates an instance after so many minutes below a CPU use (percent)."""
        return alarms.build_alarm(
            instance_id,
            minutes=minutes,
            region=self._clients.region,
            partition=self._clients.ec2.meta.partition,
            cpu_thresh=cpu_thresh,
            owner=self.spec.alarm_owner,
        )

    # Helpers.

    def arrange(self, found: list[EC2Instance]) -> Existing:
        """Sort instances by role and index, without those that will be replaced."""
        return instances.arrange(self.spec.name, [one for one in found if one.id not in self._replaced])

    def _end(self, doomed: list[EC2Instance]) -> None:
        """Terminate instances and remove their alarms."""
        ids = [instance.id for instance in doomed]
        instances.terminate(self._clients.ec2, ids)
        if ids:
            alarms.remove(self._clients.cloudwatch, ids)

    def diagnose(self) -> list[Finding]:
        """Check everything that a launch needs, also of roles whose hosts exist; change nothing.

        Raises:
            AWSError: A call failed, which leaves unknown whether hosts can be created.
            ClusterConfigurationError: There is no subnet for the hosts.
        """
        spec, existing = self.spec, self.find_existing()
        missing = find_missing(existing, spec.factories_num)
        roles = [Role.ORCHESTRATOR, *([Role.FACTORY] if spec.factories_num else [])]
        wanted = {role: missing.get(role, []) for role in roles}
        return diagnose(
            self.own, self._clients, spec, self._demand(existing, wanted), existing=existing, missing=wanted
        )

    def _demand(self, existing: Existing, missing: Mapping[Role, list[int]]) -> Demand:
        stopped = [one.type for one in existing.all if one.state in STOPPED_STATES]
        counts = {role: len(indices) for role, indices in missing.items()}
        return Demand(counts=counts, starting=tuple(stopped), ending=tuple(sorted(self._replaced)))

    def _prepare(self, existing: Existing, missing: Mapping[Role, list[int]]) -> Prepared:
        """Check what creating these hosts needs; what a plan prepared is reused by the launch that follows it."""
        demand = self._demand(existing, missing)
        if self._prepared is None or self._prepared.demand != demand:
            self._prepared = prepare(self.own, self._clients, self.spec, demand, existing=existing, missing=missing)
        return self._prepared

    def _list_uncertain(self, missing: Mapping[Role, Sequence[int]]) -> list[str]:
        """Return the names of hosts that a request without an answer may have created."""
        asked = [one for one in self.journal.unfinished() if one.stage is Stage.ASKED and one.token in self._tokens]
        roles = {one.role for one in asked}
        return [name_of(self.spec.name, role, index) for role in missing if role in roles for index in missing[role]]

    def _make_hosts(self, existing: Existing) -> list[Host]:
        return [self._make_host(name, instance) for name, instance in existing.named(self.spec.name)]

    def _make_host(self, name: str, instance: EC2Instance) -> Host:
        index = read_index(self.spec.name, name) or 0
        return instances.to_host(instance, name=name, index=index, use_public=self.spec.needs.public)


def _is_fresh(instance: EC2Instance) -> bool:
    return time.time() - instance.launched.timestamp() < FRESH_SECONDS
