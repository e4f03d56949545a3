"""A cluster on AWS EC2: making it exist, and ending it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from flambe_ansible.cluster import lock
from flambe_ansible.cluster.aws_access import AWSAccess
from flambe_ansible.cluster.plan import Plan
from flambe_ansible.cluster.planning import list_notes, plan_hosts
from flambe_ansible.ec2 import alarms, console, instances, launching
from flambe_ansible.ec2.checks import Checked, check
from flambe_ansible.ec2.instances import EC2Instance, Existing
from flambe_ansible.ec2.launching import SettingNames
from flambe_ansible.ec2.starting import StartContext, bring_up, find_missing
from flambe_ansible.ec2.tags import read_index
from flambe_ansible.errors import AWSError
from flambe_ansible.events import Notice
from flambe_ansible.hosts import LIVE_STATES, Host, HostState, Role
from flambe_ansible.journal import Journal

FRESH_SECONDS = 300.0  # for so long after its start an instance may not have printed its host keys yet
KEYS_WAIT = 60.0
FIELD_NAMES = SettingNames(
    types={Role.ORCHESTRATOR: "orchestrator_type", Role.FACTORY: "factories_type"},
    images={Role.ORCHESTRATOR: "orchestrator_ami", Role.FACTORY: "factory_ami"},
    key_name="key_name",
    security_group="security_group",
    subnet_id="subnet_id",
    volume_size="volume_size",
)


class AWSCluster(AWSAccess):
    """A cluster of EC2 instances, known by their tags; the arguments are those of ``AWSAccess``.

    The seed is flambé's ``flambe.cluster.aws.AWSCluster``. ``down`` is ``terminate_instances``; ``rollback_env`` undoes
    what this object created.
    """

    def plan(self) -> Plan:
        """Say what a launch would do; looks at everything a creation needs, and changes nothing.

        Raises:
            ClusterConfigurationError: Something that a creation needs does not exist or does not fit.
            SourceError: The checkout of flambe that the hosts are to get cannot be built.
            AWSError: AWS cannot be asked.
            ClusterError: The cluster has two orchestrators.
        """
        flambe = self.find_flambe()
        existing = self._arrange(instances.find(self._ec2, self._cluster_tags))
        missing = find_missing(existing, self.factories_num)
        checked = self._check(missing)
        notes = (*flambe.warnings, *checked.notes, *list_notes(self.name, existing, self._settings, self.factories_num))
        self._told.update(notes)
        return Plan(
            cluster=self.name,
            provider=self.provider,
            region=self._ec2.meta.region_name,
            hosts=plan_hosts(self.name, existing, missing, self._settings, checked, make_host=self._make_host),
            flambe_version=flambe.version,
            flambe_origin=flambe.origin,
            notes=notes,
        )

    def find_hosts(self) -> list[Host]:
        """Find what exists of the cluster, hosts that are just ending included, the orchestrator first."""
        found = instances.find(self._ec2, self._cluster_tags, [*LIVE_STATES, HostState.SHUTTING_DOWN])
        live = self._arrange([instance for instance in found if instance.state in LIVE_STATES])
        ending = [instance for instance in found if instance.state is HostState.SHUTTING_DOWN]
        return self._make_hosts(live) + [self._make_host(one.name, one) for one in ending]

    def expected_host_keys(self, host: Host) -> list[str] | None:
        """Return the host keys that the instance printed on its console; None where it shows none."""
        launched = self._launched.get(host.instance_id or "")
        fresh = launched is None or (datetime.now(UTC) - launched).total_seconds() < FRESH_SECONDS
        if host.instance_id is None:
            return None
        return console.read_host_keys(self._ec2, host.instance_id, wait=KEYS_WAIT if fresh else 0.0)

    # Creating and ending.

    def load_all_instances(self) -> None:
        """Make all hosts exist and run, named, tagged, and with their alarms set anew.

        Raises:
            ClusterConfigurationError: Something that a creation needs does not exist or does not fit.
            AWSError: AWS refused, or a host did not come up; launching again goes on from there.
        """
        journal = Journal(self.state_dir)
        existing = self._arrange(launching.find_instances(self._ec2, self._cluster_tags, journal))
        missing = find_missing(existing, self.factories_num)
        checked = self._check(missing)
        for note in (*checked.notes, *list_notes(self.name, existing, self._settings, self.factories_num)):
            if note not in self._told:
                self.observer(Notice(message=note))
        start = StartContext(
            ec2=self._ec2,
            cloudwatch=self._cloudwatch,
            cluster=self._cluster_tags,
            journal=journal,
            settings=self._settings,
            alarm_for=self._build_alarm,
            observer=self.observer,
            tokens=self._tokens,
            created=self.created,
        )
        self.hosts = self._make_hosts(bring_up(start, existing, missing, checked.images))

    def terminate_instances(self) -> list[Host]:
        """Terminate every instance with the cluster's tags, remove its alarms, and see that both are gone.

        Returns:
            What was terminated; empty where nothing existed.

        Raises:
            AWSError: Something is still there.
        """
        with lock.hold(self.state_dir):
            journal = Journal(self.state_dir)
            found = launching.find_instances(self._ec2, self._cluster_tags, journal, settle=True)
            ending = instances.find(self._ec2, self._cluster_tags, [HostState.SHUTTING_DOWN])
            self._end([*found, *ending])
            self._remove_alarms()
            journal.close({creation.token for creation in journal.unfinished()}, "terminated")
        self.hosts = []
        return [replace(self._make_host(one.name, one), state=HostState.TERMINATED) for one in found]

    def rollback_env(self, *, unfinished: bool = False) -> None:
        """Terminate what this object created, and nothing else.

        Args:
            unfinished: Terminate what earlier launches created too, if they were killed before their hosts ran.
        """
        journal = Journal(self.state_dir)
        tokens = set(self._tokens)
        if unfinished:
            tokens |= {creation.token for creation in journal.unfinished()}
        if not tokens:
            return
        own = launching.find_own(self._ec2, self._cluster_tags, journal, tokens)
        self._end(own)
        journal.close(tokens, "rolled back")
        gone = {instance.id for instance in own}
        self.hosts = [host for host in self.hosts if host.instance_id not in gone]
        self._tokens.clear()
        self.created.clear()

    def _end(self, doomed: list[EC2Instance]) -> None:
        """Terminate instances and remove their alarms."""
        ids = [instance.id for instance in doomed]
        instances.terminate(self._ec2, ids)
        if ids:
            alarms.remove(self._cloudwatch, ids)

    def _remove_alarms(self) -> None:
        """Remove the alarms that are left of the cluster, also those of hosts that ended by themselves."""
        left = alarms.find_owned(self._cloudwatch, self._alarm_owner)
        if not left:
            return
        alarms.remove_named(self._cloudwatch, left)
        left = alarms.find_owned(self._cloudwatch, self._alarm_owner)
        if left:
            raise AWSError(f"alarms are still there: {', '.join(left)}", operation="DeleteAlarms")

    # Helpers.

    def _check(self, missing: Mapping[Role, list[int]]) -> Checked:
        """Check what creating these hosts needs; once for the plan and the launch that follows it."""
        counts = {role: len(indices) for role, indices in missing.items()}
        if not counts:
            return Checked({}, ())
        if self._checked is None or self._checked[0] != counts:
            checked = check(self._ec2, self._ssm, self._settings, counts, names=FIELD_NAMES, public=self.use_public)
            for role, indices in missing.items():
                request = launching.build_request(
                    self._settings, checked.images[role], cluster=self._cluster_tags, role=role, indices=indices
                )
                launching.rehearse(self._ec2, request)
            self._checked = (counts, checked)
        return self._checked[1]

    def _make_hosts(self, existing: Existing) -> list[Host]:
        self._launched.update({instance.id: instance.launched for instance in existing.all})
        return [self._make_host(name, instance) for name, instance in existing.named(self.name)]

    def _make_host(self, name: str, instance: EC2Instance) -> Host:
        index = read_index(self.name, name) or 0
        return instances.to_host(instance, name=name, index=index, use_public=self.use_public)
