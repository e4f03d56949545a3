"""Faults of the lab: what calls get, how often, and how they are added and cleared."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from flambe_ansible.errors import LabError, LabUsageError
from flambe_ansible.lab import consistency, disk, fault_client, host_faults
from flambe_ansible.lab.client import LabInfo
from flambe_ansible.lab.cloud import REGION
from flambe_ansible.lab.fault_kinds import KINDS, Fault, Target, make_fault
from flambe_ansible.lab.faults import Faults
from flambe_ansible.lab.host_faults import HostFaults
from flambe_ansible.lab.state import Settings
from tests.unit.lab.served import SECRETS, ServedLab, serve


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with serve(tmp_path_factory.mktemp("lab")) as served:
        yield served


@pytest.fixture
def lab(shared: ServedLab) -> Iterator[ServedLab]:
    yield shared
    shared.fleet.faults.clear()
    for instance in shared.cloud.instances():
        shared.fleet.terminate(instance)


@pytest.fixture
def info(lab: ServedLab) -> LabInfo:
    values = dict.fromkeys(("subnet_id", "security_group", "key_name", "image_id", "network"), "")
    return LabInfo(
        name="served",
        endpoint=lab.endpoint,
        region=REGION,
        access_key=SECRETS[0],
        secret_key=SECRETS[1],
        key=Path("key"),
        state_dir=Path("state"),
        up=True,
        **values,
    )


def add(lab: ServedLab, kind: str, **options: Any) -> Fault:
    return lab.fleet.faults.add(make_fault({"kind": kind, **options}))


def run(lab: ServedLab, **changed: Any) -> list[str]:
    request = {"ImageId": lab.cloud.image_id, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, **changed}
    return [one["InstanceId"] for one in lab.client().run_instances(**request)["Instances"]]


def refused(call: Any, *args: Any, **kwargs: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_no_capacity_for_a_type_until_it_is_cleared(lab: ServedLab) -> None:
    add(lab, "capacity", type="t3.small", after=1)
    [instance] = run(lab)
    assert refused(run, lab) == refused(run, lab) == ("InsufficientInstanceCapacity", 500)
    assert run(lab, InstanceType="t3.large")
    lab.client().stop_instances(InstanceIds=[instance])
    assert refused(lab.client().start_instances, InstanceIds=[instance]) == ("InsufficientInstanceCapacity", 500)
    assert refused(run, lab, DryRun=True)[0] == "DryRunOperation", "a dry run does not need capacity"
    lab.fleet.faults.clear()
    assert run(lab)


def test_capacity_for_some_of_the_instances(lab: ServedLab) -> None:
    add(lab, "partial-fill", times=3)
    assert len(run(lab, MaxCount=4)) == 3
    assert refused(run, lab, MinCount=4, MaxCount=4) == ("InsufficientInstanceCapacity", 500)
    lab.fleet.faults.clear()
    add(lab, "partial-fill", count=2)
    assert len(run(lab, MaxCount=4)) == 2


@pytest.mark.parametrize(
    ("kind", "service", "call", "expected"),
    [
        ("throttling", "ec2", "describe_instances", ("RequestLimitExceeded", 503)),
        ("throttling", "cloudwatch", "describe_alarms", ("Throttling", 400)),
        ("throttling", "ssm", "get_parameter", ("ThrottlingException", 400)),
        ("expired-credentials", "ec2", "describe_instances", ("RequestExpired", 400)),
        ("expired-credentials", "sts", "get_caller_identity", ("ExpiredToken", 403)),
        ("expired-credentials", "ssm", "get_parameter", ("ExpiredTokenException", 403)),
        ("clock-skew", "ec2", "describe_instances", ("RequestExpired", 400)),
    ],
)
def test_calls_get_the_error_of_their_service(
    lab: ServedLab, kind: str, service: str, call: str, expected: tuple[str, int]
) -> None:
    add(lab, kind, times=1)
    arguments = {"Name": "/aws/service/x"} if call == "get_parameter" else {}
    assert refused(getattr(lab.client(service), call), **arguments) == expected
    assert lab.fleet.faults.list_all() == []


def test_a_clock_that_is_wrong_by_less_than_a_quarter_of_an_hour_is_accepted(lab: ServedLab) -> None:
    add(lab, "clock-skew", seconds=800)
    lab.client().describe_instances()


def test_a_call_without_a_response_was_carried_out(lab: ServedLab) -> None:
    add(lab, "lost-response")
    with pytest.raises(ConnectionClosedError):
        run(lab, ClientToken="once")
    [made] = [one for one in lab.cloud.instances() if one.state == "running"]
    assert run(lab, ClientToken="once") == [made.id]
    lines = [json.loads(line) for line in lab.log.read_text().splitlines()]
    assert lines[-2]["error"] == "lost-response"


def test_new_instances_are_shown_late(lab: ServedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=50.0)
    monkeypatch.setattr(consistency, "time", SimpleNamespace(monotonic=lambda: clock.now))
    add(lab, "late-visibility", seconds=7, times=1)
    assert refused(run, lab, DryRun=True)[0] == "DryRunOperation"
    late, shown = run(lab) + run(lab)

    def find(instance: str) -> int:
        filters = [{"Name": "instance-id", "Values": [instance]}]
        return len(lab.client().describe_instances(Filters=filters)["Reservations"])

    assert (find(late), find(shown)) == (0, 1)
    clock.now += 8
    assert find(late) == 1


def test_instances_die_while_they_are_pending(lab: ServedLab) -> None:
    add(lab, "dies-pending", times=1)
    [instance] = run(lab)
    [state] = [one.state for one in lab.cloud.instances() if one.id == instance]
    assert state == "pending"
    [found] = [one for one in lab.cloud.instances() if one.id == instance]
    assert lab.fleet._since[found.id] < 0, "its boot has failed"


# Faults of hosts.


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the settings of a lab with a new host's disk, and its instance."""
    monkeypatch.setattr("flambe_ansible.lab.state.root", lambda: tmp_path)
    settings = Settings(name="a", network="10.213.4.0/24", port=1, image="")
    keys = disk.folder(settings, "i-1") / "upper/home/ubuntu/.ssh/authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.write_text("ssh-ed25519 AAAA\n")
    (disk.folder(settings, "i-1") / "upper/etc/ssh").mkdir(parents=True)
    tags = [{"key": "Name", "value": "demo_factory_0"}]
    instance = SimpleNamespace(id="i-1", instance_type="t3.small", lifecycle=None, get_tags=lambda: tags)
    return settings, instance


def test_files_of_faults_are_on_the_disk_of_matching_new_hosts(host: Any) -> None:
    settings, instance = host
    faults = Faults(settings)
    for kind in KINDS.values():
        if kind.target is Target.NEW_HOST:
            faults.add(make_fault({"kind": kind.name, "host": "demo_factory_*", "times": 1}))
    faults.add(make_fault({"kind": "apt-lock", "host": "demo_orchestrator"}))
    HostFaults(settings, faults).prepare(instance, disk.HostSpec(id="i-1", address="10.213.4.4"))
    assert [one.host for one in faults.list_all()] == ["demo_orchestrator"]
    home = disk.folder(settings, "i-1")
    upper = home / "upper"
    assert "ExecStartPre=/bin/sleep 60" in (upper / "etc/systemd/system/ssh.service.d/50-fault.conf").read_text()
    assert host_faults.is_slow(settings, "i-1")
    assert not (upper / "home/ubuntu/.ssh/authorized_keys").exists()
    assert (upper / "etc/ssh/ssh_fault_key").exists()
    assert (home / "disk.size").read_text() == "16\n"
    compile((upper / "var/lib/flambe-lab/hold_locks.py").read_text(), "hold_locks.py", "exec")
    wanted = {one.name for one in (upper / "etc/systemd/system/basic.target.wants").iterdir()}
    assert wanted == {"fault-key.service", "fault-apt.service"}


def test_running_hosts_are_hit_once_and_after_the_delay(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, instance = host
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(host_faults, "time", SimpleNamespace(monotonic=lambda: clock.now))
    faults = Faults(settings)
    faults.add(make_fault({"kind": "reboot", "delay": 5, "times": 2}))
    faults.add(make_fault({"kind": "spot-interruption"}))
    hosts = HostFaults(settings, faults)
    assert list(hosts.find_due([instance])) == []
    clock.now += 6
    assert list(hosts.find_due([instance])) == [("reboot", instance)]
    assert list(hosts.find_due([instance])) == []
    instance.lifecycle = "spot"
    assert list(hosts.find_due([instance])) == [("spot-interruption", instance)]


@pytest.mark.parametrize("ends", ["time", "clear"])
def test_a_network_is_down_until_the_fault_ends(host: Any, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    settings, instance = host
    clock = SimpleNamespace(now=100.0)
    done: list[str] = []
    monkeypatch.setattr(host_faults, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(HostFaults, "_set_link", lambda _self, _host, state: done.append(state))
    faults = Faults(settings)
    faults.add(make_fault({"kind": "network-cut", "seconds": 30 if ends == "time" else 0}))
    hosts = HostFaults(settings, faults)
    for _ in range(2):
        assert list(hosts.find_due([instance])) == []
        hosts.cut_networks([instance])
    assert done == ["down"]
    clock.now += 40
    if ends == "clear":
        hosts.cut_networks([instance])
        assert done == ["down"]
        faults.clear()
    hosts.cut_networks([instance])
    assert done == ["down", "up"]


# Adding and clearing.


def test_faults_are_added_listed_and_cleared_through_the_api(lab: ServedLab, info: LabInfo) -> None:
    first = fault_client.add(info, kind="throttling", call="CreateTags", times=2, type=None)
    second = fault_client.add(info, kind="slow-boot")
    assert (first.call, first.times, second.seconds) == ("CreateTags", 2, 60.0)
    assert fault_client.list_all(info) == [first, second]
    assert fault_client.clear(info, first.id) == [first]
    assert fault_client.clear(info) == [second]
    assert fault_client.list_all(info) == []


def test_a_clock_that_is_wrong_can_be_corrected(lab: ServedLab, info: LabInfo) -> None:
    fault_client.add(info, kind="clock-skew")
    assert len(fault_client.clear(info)) == 1


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"kind": "capcity"}, "'capcity' is not a kind of fault", "did you mean capacity?"),
        ({"kind": "capacity", "call": "CreateTags"}, "capacity does not act on CreateTags", "it acts on RunInstances"),
        ({"kind": "throttling", "call": "CreateTag"}, "the lab has no API call CreateTag", "did you mean CreateTags?"),
        ({"kind": "throttling", "call": "x"}, "'x' is not an API call", "RunInstances"),
        ({"kind": "slow-boot", "call": "RunInstances"}, "--call has no effect on slow-boot", "sshd starts"),
        ({"kind": "capacity", "seconds": 3.0}, "--seconds has no effect on capacity", "creating or starting"),
        ({"kind": "throttling", "times": 0}, "times is 0; expected 1 to 1000000", ""),
    ],
)
def test_a_wrong_fault_is_refused(info: LabInfo, options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(LabUsageError) as caught:
        fault_client.add(info, **options)
    assert caught.value.exit_code == 2
    assert caught.value.message == message
    assert hint in (caught.value.hint or "")
    assert fault_client.list_all(info) == []


def test_faults_need_the_key_of_the_lab(lab: ServedLab, info: LabInfo) -> None:
    with pytest.raises(LabError) as caught:
        fault_client.add(replace(info, secret_key="other"), kind="throttling")
    assert not isinstance(caught.value, LabUsageError)
    assert lab.fleet.faults.list_all() == []


def test_a_lab_that_does_not_answer_is_named_with_the_command_that_starts_it(info: LabInfo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(LabError, match="the lab served does not answer") as caught:
        fault_client.list_all(replace(info, endpoint=closed))
    assert caught.value.hint == "sudo flambe-ans lab up --name served"


def test_faults_are_kept_for_the_next_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flambe_ansible.lab.state.root", lambda: tmp_path)
    settings = Settings(name="a", network="10.213.4.0/24", port=1, image="")
    settings.folder.mkdir(parents=True)
    faults = Faults(settings)
    faults.add(make_fault({"kind": "throttling", "times": 3}))
    added = faults.add(make_fault({"kind": "partial-fill"}))
    assert faults.take("throttling", call="CreateTags")
    later = Faults(settings)
    assert [one.times for one in later.list_all()] == [2, 0]
    assert later.list_all()[1] == added
    assert later.add(make_fault({"kind": "reboot"})).id == 3


def test_each_kind_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/lab.md").read_text()
    assert [kind.name for kind in KINDS.values() if f"| `{kind.name}` |" not in page] == []
