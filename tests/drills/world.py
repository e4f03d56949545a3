"""An account in this process, and the real command line in child processes that can be killed.

The account is a lab's API without hosts. The stages of a launch that need SSH are replaced; everything else is the
product: the commands, the configuration, the provider, the journal and the calls to AWS.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible import cli
from flambe_ansible.cluster import cluster as cluster_module
from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.ec2 import baked, groups, instances, launching, pacing, session
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.lab.fault_kinds import make_fault
from flambe_ansible.lab.fleet import set_state
from flambe_ansible.lab.gate import Gate
from flambe_ansible.launch import baking, lock
from flambe_ansible.providers import own_resources
from tests.drills import stages
from tests.unit.lab.served import InstantFleet, ServedLab, serve

LIVE = ("pending", "running", "stopping", "stopped")
VISIBLE_SECONDS = 1.0  # instead of 90
LATE_SECONDS = 0.2  # instead of 5
CHILD_SECONDS = 60.0
NAME = "drill"
EXIT_CODES = {0, 3, 4, 5, 6, 7, 9, 10, 11, 130}  # documented ones, except those of an internal or a usage error
FILE = """!AWSCluster
name: drill
creator: ada@example.com
factories_num: {factories}
factories_type: t3.large
orchestrator_type: t3.small
runtime: none
region_name: us-east-1
ssh_sources: [203.0.113.0/24]
orchestrator_timeout: 2
factories_timeout: 1
"""


class DrillFleet(InstantFleet):
    """Instances that are pending until the next call."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._doomed: set[str] = set()

    def launch(self, instance: Any, user_data: str) -> None:
        super().launch(instance, user_data)
        set_state(instance, "pending")

    def fail(self, instance: Any) -> None:
        super().fail(instance)
        self._doomed.add(instance.id)

    def capture(self, image: Any) -> None:
        """Leave the image pending until the next call."""

    def step(self) -> None:
        """Let the pending instances run, or fail, and complete the pending images."""
        for image in self.cloud.images():
            image.state, image.ebs_snapshot.status = "available", "completed"
        for instance in self.cloud.instances():
            if instance.state != "pending":
                continue
            if instance.id in self._doomed:
                instance.state_reason.code = "Server.InternalError"
                instance.state_reason.message = "Server.InternalError: Internal error on launch"
                instance.teardown_defaults()
                self.terminate(instance)
            else:
                set_state(instance, "running")


class DrillGate(Gate):
    """A gate that looks at the account at each call, and can kill the process that called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._throttle.check = lambda _operation: None  # type: ignore[method-assign] # the drills do not wait
        self.busy = 0  # calls that are being answered
        self.most = 0  # live instances of the cluster, at any instant
        self.child = 0  # the process to kill
        self.kill_at = 0  # at its call that changes something with this number
        self.kill_with = signal.SIGKILL
        self.changes: list[str] = []

    def __call__(self, *args: Any) -> Any:
        self.busy += 1
        try:
            return super().__call__(*args)
        finally:
            self.busy -= 1

    def _answer(self, service: str, operation: str, parameters: Any, environ: Any, body: bytes) -> Any:
        try:
            answer = super()._answer(service, operation, parameters, environ, body)
        finally:
            self.most = max(self.most, sum(1 for one in list_own(self._cloud) if one.state in LIVE))
            self._fleet.step()  # type: ignore[attr-defined]
        if is_change(operation, parameters):
            self.changes.append(operation)
            if self.child and len(self.changes) == self.kill_at:
                os.kill(self.child, self.kill_with)
                time.sleep(0.02)  # the process ends before it can receive the answer
        return answer


def is_change(operation: str, parameters: Any) -> bool:
    """Return whether a call changes something."""
    return not operation.startswith(("Describe", "Get", "List")) and str(parameters.get("DryRun")).lower() != "true"


def read_tags(instance: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in instance.get_tags()}


def list_own(cloud: Any) -> list[Any]:
    """List the instances of the cluster, ended ones included."""
    return [one for one in cloud.instances() if read_tags(one).get("Cluster-Name") == NAME]


@dataclass(frozen=True)
class Done:
    """How a child process ended."""

    code: int  # negative: the signal
    output: str

    def check_manners(self) -> list[str]:
        """Return what is wrong with its exit code and output."""
        problems = []
        if self.code >= 0 and self.code not in EXIT_CODES:
            problems.append(f"exit code {self.code}")
        if "Traceback" in self.output or "unexpected " in self.output:
            problems.append("a traceback")
        if self.code > 0 and "error: " not in self.output:
            problems.append("no message")
        return problems


@dataclass
class World:
    """The account, a cluster's file, and the state folder of this machine."""

    served: ServedLab
    folder: Path
    state: Path
    factories: int = 1
    foreign: dict[str, dict[str, str]] = field(default_factory=dict)  # tags by id

    @property
    def gate(self) -> DrillGate:
        assert isinstance(self.served.gate, DrillGate)
        return self.served.gate

    @property
    def file(self) -> Path:
        return self.folder / "cluster.yaml"

    def reset(self, factories: int) -> None:
        """Empty the account and the state folder; a foreign instance has the name of a factory."""
        cloud = self.served.cloud
        self.served.fleet.faults.clear()
        for instance in cloud.instances():
            if instance.state != "terminated":
                cloud.ec2.terminate_instances([instance.id])
            self.served.fleet.terminate(instance)
            cloud.forget(instance)
        cloud.cloudwatch.alarms.clear()
        cloud.tokens.__init__()
        for image in cloud.images():
            cloud.ec2.amis.pop(image.id)
            cloud.ec2.snapshots.pop(image.ebs_snapshot.id, None)
        for group in self._own_groups():
            cloud.ec2.delete_security_group(group_id=group.id)
        for name in self._own_pairs():
            cloud.ec2.delete_key_pair(name)
        for state in (self.state, self.folder / "other-state"):
            shutil.rmtree(state, ignore_errors=True)
        visibility = self.gate._visibility
        visibility._new, visibility._old_tags = {}, {}
        self.factories = factories
        self.file.write_text(FILE.format(factories=factories))
        tags = [{"Key": "Name", "Value": f"{NAME}_factory_0"}, {"Key": "creator", "Value": "ada@example.com"}]
        made = self.served.client().run_instances(
            ImageId=cloud.image_id,
            InstanceType="t3.small",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        self.foreign = {one["InstanceId"]: {tag["Key"]: tag["Value"] for tag in tags} for one in made["Instances"]}
        self.served.fleet.step()  # type: ignore[attr-defined]
        self.gate.most, self.gate.changes = 0, []

    def add_fault(self, kind: str, **options: Any) -> None:
        self.served.fleet.faults.add(make_fault({"kind": kind, **options}))

    def clear_faults(self) -> None:
        self.served.fleet.faults.clear()

    # Commands.

    def launch(self, *, on_failure: str = "terminate", plan: stages.Plan | None = None) -> Done:
        return self.run("launch", str(self.file), "--yes", "--on-failure", on_failure, plan=plan)

    def down(self, *, plan: stages.Plan | None = None) -> Done:
        return self.run("down", str(self.file), "--yes", plan=plan)

    def start(self, *arguments: str, plan: stages.Plan | None = None, state: Path | None = None) -> tuple[int, Path]:
        """Start the command line in a child process; return its id and the file of its output."""
        output = self.folder / f"output-{time.monotonic_ns()}"
        self.gate.changes = []
        child = os.fork()
        if child == 0:
            _run_child(arguments, output, plan or stages.Plan(), state or self.state)
        return child, output

    def run(self, *arguments: str, plan: stages.Plan | None = None) -> Done:
        """Run the command line in a child process, and wait for its end."""
        self.gate.child, self.gate.kill_at = 0, 0
        with self.served.fleet.lock:  # the child's first call waits until its number is known
            child, output = self.start(*arguments, plan=plan)
            if plan and plan.moment == "during" and plan.call:
                self.gate.child, self.gate.kill_at, self.gate.kill_with = child, plan.call, plan.signal
        try:
            return self.wait(child, output)
        finally:
            self.gate.child = 0

    def wait(self, child: int, output: Path) -> Done:
        """Wait for the end of a child process."""
        descriptor = os.pidfd_open(child)
        try:
            ended, _, _ = select.select([descriptor], [], [], CHILD_SECONDS)
            if not ended:
                os.kill(child, signal.SIGKILL)
        finally:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        while self.gate.busy:  # a call that a killed process has sent is still carried out
            time.sleep(0.01)
        text = output.read_text(errors="replace") if output.exists() else ""
        output.unlink(missing_ok=True)
        return Done(os.waitstatus_to_exitcode(status), text if ended else f"{text}\nTraceback: it did not end")

    # What is there.

    def live(self) -> list[Any]:
        return [one for one in list_own(self.served.cloud) if one.state in LIVE]

    def find_problems(self, *, hosts: int | None) -> list[str]:
        """Return what must not be: another number of hosts, orphans, missing alarms, a changed foreign instance.

        ``hosts`` None allows any number that is not too large.
        """
        cloud, live = self.served.cloud, self.live()
        ids = {one.id for one in live}
        problems = []
        if hosts is not None and len(live) != hosts:
            problems.append(f"{len(live)} hosts instead of {hosts}")
        heads = [one for one in live if read_tags(one)["Role"] == "Orchestrator"]
        names = [read_tags(one)["Name"] for one in live]
        if hosts and (len(heads) != 1 or len(set(names)) != len(names)):
            problems.append(f"wrong hosts: {names}")
        strangers = [
            one.id for one in cloud.instances() if one.state in LIVE and one not in live and one.id not in self.foreign
        ]
        if strangers:
            problems.append(f"instances without the tags of the cluster: {strangers}")
        if self.gate.most > 1 + self.factories:
            problems.append(f"at most {self.gate.most} hosts at one instant")
        alarmed = [
            name.removeprefix("Flambe_Instance_Terminate_CPU_Utilization_")[:19] for name in cloud.cloudwatch.alarms
        ]
        strays = sorted(set(alarmed) - ids)
        if strays and hosts is not None:
            problems.append(f"alarms without a host: {strays}")
        bare = sorted(one.id for one in live if one.state == "running" and one.id not in alarmed)
        if bare and hosts:
            problems.append(f"hosts without an alarm: {bare}")
        loose = [one.id for one in cloud.ec2.volumes.values() if not one.attachment]
        if loose:
            problems.append(f"volumes without an instance: {loose}")
        if hosts == 0 and (self._own_groups() or self._own_pairs()):
            problems.append("a security group or a key pair without a host")
        return problems + self._check_foreign()

    def _check_foreign(self) -> list[str]:
        found = {one.id: one for one in self.served.cloud.instances() if one.id in self.foreign}
        return [
            f"the foreign instance {one} was changed"
            for one, tags in self.foreign.items()
            if one not in found or found[one].state != "running" or read_tags(found[one]) != tags
        ]

    def _own_groups(self) -> list[Any]:
        ec2 = self.served.cloud.ec2
        return [
            group
            for groups in ec2.groups.values()
            for group in list(groups.values())
            if group.name.startswith("flambe-drill")
        ]

    def _own_pairs(self) -> list[str]:
        return [name for name in self.served.cloud.ec2.key_pairs if name.startswith("flambe-drill")]


def _run_child(arguments: Sequence[str], output: Path, plan: stages.Plan, state: Path) -> None:
    """Run the command line in this process, a fork, and end it."""
    code = 70
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ["FLAMBE_ANS_STATE"] = str(state)
        import sys

        for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
            stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
        stages.start(plan)
        code = cli.run(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        os.write(2, f"Traceback: {error!r}".encode())
    finally:
        os._exit(code)


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """Serve the account, and replace times and the stages that need SSH."""
    with (
        serve(folder / "lab", fleet_class=DrillFleet, gate_class=DrillGate) as served,
        pytest.MonkeyPatch.context() as patch,
    ):
        for module in (instances, launching, own_resources, groups):
            patch.setattr(module, "POLL_SECONDS", 0.02)
        for module in (instances, launching, own_resources):
            patch.setattr(module, "VISIBLE_SECONDS", VISIBLE_SECONDS)
        patch.setattr(lock, "_PATIENCE", 0.05)
        patch.setattr(launching, "RETRY_PAUSES", (0.01, 0.01, 0.01, 0.01))
        patch.setattr(pacing.Pace, "wait", lambda _self: None)
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_args: 0.001)
        patch.setattr(AWSCluster, "endpoint_url", property(lambda _self: served.endpoint))
        patch.setattr(session, "make_session", lambda _region=None: served.session)
        patch.setattr(session, "make_client", stages.watch_clients(session.make_client))
        patch.setattr(Cluster, "_access", property(stages.StandIn))
        patch.setattr(Reservation, "take", lambda _self, _connections, _host: stages.pass_stage("reserve"))
        patch.setattr(Reservation, "check", lambda _self: stages.pass_stage("check"))
        patch.setattr(cluster_module.converging, "converge", stages.converge)
        patch.setattr(baking, "prepare", lambda *_args: stages.pass_stage("play"))
        patch.setattr(baking, "seal", lambda *_args: None)
        patch.setattr(baking, "clean", lambda _fleet: stages.pass_stage("clean"))
        patch.setattr(baked, "POLL_SECONDS", 0.02)
        patch.setattr(baked, "RETRY_PAUSES", (0.01, 0.01, 0.01, 0.01))
        for service in ("ec2", "cloudwatch", "sts", "ssm", "service-quotas"):
            served.client(service)  # the models of the API are read once
        world = World(served, folder, folder / "state")
        yield world


def show_late(world: World, patch: pytest.MonkeyPatch) -> None:
    """Empty the account, in which the next new hosts are not shown while another launch begins."""
    world.reset(1)
    for module in (instances, launching, own_resources):
        patch.setattr(module, "VISIBLE_SECONDS", 7.0)
    world.add_fault("late-visibility", seconds=5.0, times=1)
