"""The lab behaves like AWS where moto does not: consoles, consistency, alarms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from flambe_ansible.ec2 import alarms as product
from flambe_ansible.ec2.console import parse_host_keys
from flambe_ansible.lab import alarms, consistency, console, disk
from flambe_ansible.lab.alarms import Meter
from flambe_ansible.lab.state import Settings
from tests.unit.lab.served import ServedLab, serve

Request = dict[str, Any]


def run(lab: ServedLab, **changed: Any) -> str:
    """Create one instance, and return its id."""
    request = {"ImageId": lab.cloud.image_id, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, **changed}
    instance: str = lab.client().run_instances(**request)["Instances"][0]["InstanceId"]
    return instance


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with serve(tmp_path_factory.mktemp("lab"), console_delay=30.0) as served:
        yield served


@pytest.fixture
def lab(shared: ServedLab) -> Iterator[ServedLab]:
    yield shared
    for instance in shared.cloud.instances():
        shared.fleet.terminate(instance)


def let_time_pass(lab: ServedLab, instance: str, seconds: float) -> None:
    """Make the last boot of an instance older."""
    mark = disk.up_mark(lab.fleet.settings, instance)
    booted = mark.stat().st_mtime - seconds
    os.utime(mark, (booted, booted))


def read_keys(lab: ServedLab, instance: str, **options: Any) -> list[str]:
    return parse_host_keys(lab.client().get_console_output(InstanceId=instance, **options).get("Output", ""))


def test_a_console_shows_host_keys_late_and_at_the_first_boot_only(lab: ServedLab) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html."""
    instance = run(lab)
    assert read_keys(lab, instance, Latest=True) == []
    let_time_pass(lab, instance, 31)
    assert len(read_keys(lab, instance, Latest=True)) == 1
    ec2 = lab.client()
    ec2.stop_instances(InstanceIds=[instance])
    ec2.start_instances(InstanceIds=[instance])
    let_time_pass(lab, instance, 31)
    assert read_keys(lab, instance, Latest=True) == []


def test_without_nitro_there_is_only_the_posted_output(lab: ServedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = run(lab, InstanceType="t2.small")
    with pytest.raises(ClientError) as caught:
        read_keys(lab, instance, Latest=True)
    assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"
    assert read_keys(lab, instance) == []
    let_time_pass(lab, instance, 31)
    assert len(read_keys(lab, instance)) == 1
    monkeypatch.setattr(console, "render", lambda *_args: "newer output")
    assert len(read_keys(lab, instance)) == 1, "the output is posted once"


def test_the_console_ends_with_host_keys_in_the_format_of_cloud_init(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "host_keys", lambda *_args: ["ssh-ed25519 AAAA root@a"])
    monkeypatch.setattr(disk, "console_tail", lambda *_args, lines: "x" * console.LIMIT + "\nlast")
    shown = console.render(Settings(name="a", network="10.213.4.0/24", port=1, image=""), "i-1")
    block = "-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA root@a\n-----END SSH HOST KEY KEYS-----\n"
    assert shown.endswith(f"x\nlast\n{block}")
    assert len(shown) == console.LIMIT


@pytest.fixture
def meter(lab: ServedLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Meter, SimpleNamespace]]:
    """Return a meter, with a clock that a test sets and the CPU seconds of all hosts."""
    clock = SimpleNamespace(now=1_000_000.0, used=0.0)
    times = SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now)
    monkeypatch.setattr(alarms, "time", times)
    monkeypatch.setattr(alarms.host, "cpu_seconds", lambda *_args: clock.used)
    lab.gate._throttle.check = lambda _operation: None  # type: ignore[method-assign]
    lab.cloud.cloudwatch.alarms.clear()
    yield Meter(lab.fleet), clock


def tick(meter: Meter, clock: SimpleNamespace, seconds: int, *, cpus: float) -> None:
    """Let time pass; the hosts use so many processors."""
    for _ in range(seconds // 10):
        clock.now += 10
        clock.used += 10 * cpus
        meter.tick()


def put_alarm(lab: ServedLab, instance: str, **changed: Any) -> None:
    alarm = product.build_alarm(instance, minutes=10, region="us-east-1", owner="me", cpu_thresh=10.0)
    parameters = {key: value for key, value in {**alarm, **changed}.items() if value is not None}
    lab.client("cloudwatch").put_metric_alarm(**parameters)


def find_state(lab: ServedLab, instance: str) -> str:
    return next(one.state for one in lab.cloud.instances() if one.id == instance)


@pytest.mark.parametrize(("kind", "ends"), [("t3.small", True), ("t2.micro", False)])
def test_cpu_use_is_in_percent_of_the_processors_of_the_type(
    lab: ServedLab, meter: tuple[Meter, SimpleNamespace], kind: str, ends: bool
) -> None:
    """0.15 processors are 7.5 % of the two of a t3.small, and 15 % of the one of a t2.micro."""
    instance = run(lab, InstanceType=kind)
    put_alarm(lab, instance)
    tick(*meter, 1300, cpus=0.15)
    assert find_state(lab, instance) == ("terminated" if ends else "running")


def test_an_alarm_does_nothing_during_its_warm_up(lab: ServedLab, meter: tuple[Meter, SimpleNamespace]) -> None:
    """The idle time before the alarm does not count: the launcher depends on it."""
    instance = run(lab)
    tick(*meter, 1300, cpus=0.0)
    put_alarm(lab, instance)
    tick(*meter, 590, cpus=0.0)
    assert find_state(lab, instance) == "running"
    put_alarm(lab, instance)  # the warm-up of an existing alarm does not start again
    tick(*meter, 20, cpus=0.0)
    assert find_state(lab, instance) == "terminated"


def test_an_alarm_without_warm_up_counts_the_idle_time_before_it(
    lab: ServedLab, meter: tuple[Meter, SimpleNamespace]
) -> None:
    instance = run(lab)
    tick(*meter, 1300, cpus=0.0)
    put_alarm(lab, instance, WarmUpConfiguration=None)
    tick(*meter, 10, cpus=0.0)
    assert find_state(lab, instance) == "terminated"


@pytest.mark.parametrize(("treatment", "ends"), [("notBreaching", False), ("breaching", True)])
def test_missing_data_count_as_the_alarm_states(
    lab: ServedLab, meter: tuple[Meter, SimpleNamespace], treatment: str, ends: bool
) -> None:
    instance = run(lab)
    put_alarm(lab, instance, TreatMissingData=treatment, WarmUpConfiguration=None)
    tick(*meter, 30, cpus=0.0)
    assert find_state(lab, instance) == ("terminated" if ends else "running")


@pytest.fixture(scope="module")
def eventual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with serve(tmp_path_factory.mktemp("lab"), consistency="eventual") as served:
        yield served


@pytest.fixture
def late(eventual: ServedLab, no_pauses: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedLab]:
    monkeypatch.setattr(consistency, "DELAY", 0.4)
    yield eventual
    for instance in eventual.cloud.instances():
        eventual.fleet.terminate(instance)


def test_new_instances_and_tags_are_shown_late(late: ServedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html."""
    clock = SimpleNamespace(now=50.0)
    monkeypatch.setattr(consistency, "time", SimpleNamespace(monotonic=lambda: clock.now))
    ec2 = late.client()
    instance = run(late)
    filters = [{"Name": "instance-id", "Values": [instance]}]
    for call in (ec2.describe_instances, ec2.terminate_instances, ec2.start_instances):
        with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
            call(InstanceIds=[instance])
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        ec2.create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "new"}])
    assert ec2.describe_instances(Filters=filters)["Reservations"] == []
    clock.now += 1
    [group] = ec2.describe_instances(Filters=filters)["Reservations"]
    assert group["Instances"][0]["State"]["Name"] == "running"
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "new"}])
    assert "Tags" not in ec2.describe_instances(Filters=filters)["Reservations"][0]["Instances"][0]
    clock.now += 1
    found = ec2.describe_instances(Filters=filters)["Reservations"][0]["Instances"][0]
    assert found["Tags"] == [{"Key": "a", "Value": "new"}]


def test_a_launch_creates_each_host_once_under_eventual_consistency(late: ServedLab) -> None:
    for wanted in (3, 3, 4):
        cluster = late.cluster(factories_num=wanted - 1)
        hosts = cluster.aws.create(observer=lambda _event: None, created=[])
        running = [one for one in late.cloud.instances() if one.state == "running"]
        assert len(hosts) == len(running) == wanted
        assert len({host.name for host in hosts}) == wanted
    assert {host.name for host in late.cluster().aws.terminate()} == {host.name for host in hosts}
    assert [one for one in late.cloud.instances() if one.state == "running"] == []


def test_a_launch_that_was_killed_is_completed_under_eventual_consistency(late: ServedLab) -> None:
    """The process ended right after the requests: the next launch waits for their instances."""

    def stop(event: Any) -> None:
        if getattr(event, "step", "") == "boot":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        late.cluster().aws.create(observer=stop, created=[])
    assert len(late.cluster().aws.create(observer=lambda _event: None, created=[])) == 3
    assert len([one for one in late.cloud.instances() if one.state == "running"]) == 3
