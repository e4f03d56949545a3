"""The real lab: root, systemd-nspawn, sshd and boto3."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from flambe_ansible import lab as labs
from flambe_ansible.cluster.lab import LabCluster
from flambe_ansible.ec2 import alarms, session
from flambe_ansible.errors import LabError
from flambe_ansible.lab import LabInfo, namespace, python37, state
from tests.e2e import cloud
from tests.e2e.listeners import GET, SERVE
from tests.e2e.machine import find_leftovers, look
from tests.unit.lab.test_groups import RULES, render

pytestmark = pytest.mark.lab


_QUESTIONS = ("id -un", "hostname", "ps -p 1 -o comm=", "sudo -n id -u", "sudo grep ^ubuntu: /etc/shadow", "df -h /tmp")


@pytest.fixture
def host(lab: LabInfo) -> Iterator[str]:
    """Launch a host for one test."""
    (instance,) = cloud.run(lab)
    yield instance
    cloud.client(lab).terminate_instances(InstanceIds=[instance])


def test_up_changes_nothing_on_a_running_lab(lab: LabInfo) -> None:
    assert lab.up
    assert labs.up(lab.name) == lab == labs.info(lab.name)
    assert labs.status(lab.name).up


def test_only_the_owner_can_read_keys(lab: LabInfo) -> None:
    for name in ("client.json", "key.pem", "calls.jsonl", "secrets.json", "cloud.pickle"):
        found = (lab.state_dir / name).stat()
        assert stat.S_IMODE(found.st_mode) == 0o600, name
    assert lab.secret_key not in repr(lab)
    assert lab.secret_key not in (lab.state_dir / "calls.jsonl").read_text()


def test_the_api_listens_only_on_loopback(lab: LabInfo) -> None:
    port = int(lab.endpoint.rsplit(":", 1)[1])
    gateway = lab.network.rsplit(".", 1)[0] + ".1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((gateway, port), timeout=2)


@pytest.mark.parametrize(
    "wrong", [{"access_key": "AKIAIOSFODNN7EXAMPLE"}, {"secret_key": "wrong"}, {"region": "eu-west-1"}]
)
def test_another_key_is_refused_like_in_aws(lab: LabInfo, wrong: dict[str, str]) -> None:
    with pytest.raises(ClientError) as caught:
        cloud.client(lab, **wrong).describe_instances()
    assert caught.value.response["Error"]["Code"] == "AuthFailure"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401


@pytest.mark.parametrize("path", ["/", "/moto-api/reset", "/latest/meta-data/"])
def test_unsigned_requests_are_refused(lab: LabInfo, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(
            urllib.request.Request(lab.endpoint + path, data=b"Action=DescribeInstances"), timeout=10
        )
    assert caught.value.code == 401


def test_a_host_is_a_separate_machine(lab: LabInfo, host: str, tmp_path: Path) -> None:
    found = cloud.describe(lab, host)[0]
    assert "PublicIpAddress" not in found
    assert found["PrivateIpAddress"].rsplit(".", 1)[0] == lab.network.rsplit(".", 1)[0]
    address = found["PrivateIpAddress"]
    scanned = subprocess.run(["ssh-keyscan", address], capture_output=True, text=True, check=True).stdout
    keys = {line.split(" ", 1)[1] for line in scanned.splitlines() if line and not line.startswith("#")}
    assert keys == cloud.known_keys(lab, host)
    output = cloud.ssh(
        lab,
        host,
        "; ".join(_QUESTIONS),
        tmp_path,
    ).splitlines()
    assert output[:4] == ["ubuntu", "ip-" + address.replace(".", "-"), "systemd", "0"]
    assert output[4].split(":")[1] == "*"
    assert "tmpfs" not in output[-1]
    assert cloud.ssh(lab, host, "systemctl is-system-running --wait", tmp_path) == "running"
    assert cloud.ssh(lab, host, "cat /etc/machine-id", tmp_path) != Path("/etc/machine-id").read_text().strip()


def test_a_socket_in_a_host_leaves_the_network_of_the_process(
    lab: LabInfo, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def make(*arguments: int) -> socket.socket:
        seen.extend(str(Path(f"/proc/{name}/ns/net").readlink()) for name in (process, "thread-self", os.getpid()))
        return original(*arguments)

    settings = state.load(lab.name)
    assert settings
    process = namespace.find(settings, host)
    assert process
    before, original = str(Path("/proc/self/ns/net").readlink()), socket.socket
    with monkeypatch.context() as patch:
        patch.setattr(namespace.socket, "socket", make)
        opened = namespace.open_socket(process)
    opened.close()
    inside, thread, machine = seen
    assert inside == thread != machine == before
    assert str(Path("/proc/thread-self/ns/net").readlink()) == before


def test_hosts_start_together_and_reach_each_other(lab: LabInfo, tmp_path: Path) -> None:
    ids = [
        one["InstanceId"]
        for one in cloud.client(lab).run_instances(**cloud.request(lab, MinCount=2, MaxCount=2))["Instances"]
    ]
    assert {one["State"]["Name"] for one in cloud.describe(lab, *ids)} <= {"pending", "running"}
    cloud.wait_for(lab, ids, "running")
    other = cloud.describe(lab, ids[1])[0]["PrivateIpAddress"]
    assert cloud.ssh(lab, ids[0], f"ping -c 1 -W 5 {other} >/dev/null && echo seen", tmp_path) == "seen"
    cloud.client(lab).terminate_instances(InstanceIds=ids)


def test_security_groups_filter(lab: LabInfo, tmp_path: Path) -> None:
    """Two hosts in different groups: rules apply to running hosts at once, and open connections go on."""
    ec2 = cloud.client(lab)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    closed, friends = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("shut", "pals")
    )
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    web = {**ssh, "FromPort": 8000, "ToPort": 8001}
    memberships = ([closed], [friends, lab.security_group])  # no rule of the first lets the lab's check of sshd in
    target, other = (
        ec2.run_instances(**cloud.request(lab, SecurityGroupIds=groups))["Instances"][0]["InstanceId"]
        for groups in memberships
    )
    cloud.wait_for(lab, [target, other], "running")
    address = cloud.describe(lab, target)[0]["PrivateIpAddress"]
    with pytest.raises(TimeoutError):
        socket.create_connection((address, 22), timeout=1)
    ec2.authorize_security_group_ingress(GroupId=closed, IpPermissions=[ssh])
    cloud.ssh(lab, target, SERVE.format(port=8001), tmp_path)
    get = GET.format(address=address, port=8001)
    assert cloud.ssh(lab, other, get, tmp_path) == "000"

    mutual = {"IpProtocol": "tcp", "FromPort": 8001, "ToPort": 8001, "UserIdGroupPairs": [{"GroupId": friends}]}
    ec2.authorize_security_group_ingress(GroupId=closed, IpPermissions=[mutual])
    assert cloud.ssh(lab, other, get, tmp_path) == "200"
    with pytest.raises(TimeoutError):
        socket.create_connection((address, 8001), timeout=1)
    ec2.authorize_security_group_ingress(GroupId=closed, IpPermissions=[web])
    with socket.create_connection((address, 8001), timeout=60) as connection:
        ec2.revoke_security_group_ingress(GroupId=closed, IpPermissions=[web, mutual])
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(15).startswith(b"HTTP/1.0 200")
    assert cloud.ssh(lab, other, get, tmp_path) == "000"

    for group in (closed, friends):
        with pytest.raises(ClientError, match=r"DependencyViolation"):
            ec2.delete_security_group(GroupId=group)
    boot = cloud.ssh(lab, target, _BOOT_ID, tmp_path)
    cloud.ssh(lab, target, "sudo nft flush ruleset", tmp_path)
    ec2.reboot_instances(InstanceIds=[target])
    wait_for_other_boot(lab, target, boot, tmp_path)
    cloud.ssh(lab, target, SERVE.format(port=8001), tmp_path)
    assert cloud.ssh(lab, other, get, tmp_path) == "000"
    ec2.terminate_instances(InstanceIds=[target, other])
    cloud.wait_for(lab, [target, other], "terminated")
    for group in (closed, friends):
        ec2.delete_security_group(GroupId=group)


def test_a_host_is_unreachable_from_outside(lab: LabInfo, host: str) -> None:
    """A separate network namespace of this machine has a route to the host and gets no answer."""
    address = cloud.describe(lab, host)[0]["PrivateIpAddress"]
    namespace = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    link = f"flt-{namespace.pid}"  # on a machine with other runs of this test
    net = ipaddress.ip_address("198.18.0.0") + 4 * (namespace.pid % 2**15)
    outer, inner = net + 1, net + 2
    try:
        cloud.wait_until(
            lambda: Path(f"/proc/{namespace.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink(),
            "a namespace",
        )
        for line in (
            f"ip link add {link} type veth peer name flt-in netns {namespace.pid}",
            f"ip addr add {outer}/30 dev {link}",
            f"ip link set {link} up",
            f"nsenter --net --target {namespace.pid} ip addr add {inner}/30 dev flt-in",
            f"nsenter --net --target {namespace.pid} ip link set flt-in up",
            f"nsenter --net --target {namespace.pid} ip route add default via {outer}",
        ):
            subprocess.run(line.split(), check=True)
        socket.create_connection((address, 22), timeout=5).close()
        script = f"import socket; socket.create_connection(('{address}', 22), timeout=3)"
        done = subprocess.run(
            ["nsenter", "--net", "--target", str(namespace.pid), "python3", "-c", script],
            capture_output=True,
            text=True,
        )
        assert "TimeoutError" in done.stderr or "timed out" in done.stderr
    finally:
        namespace.kill()
        namespace.wait()


@pytest.fixture
def bridged_hosts() -> Iterator[tuple[int, str]]:
    """Connect two network namespaces by a bridge; yield the first one's process and the second one's address."""
    holders = [subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) for _ in range(2)]
    bridge = f"flt-br{holders[0].pid}"
    here = Path("/proc/self/ns/net").readlink()
    addresses = ["198.51.100.65", "198.51.100.66"]
    try:
        subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
        for holder, address in zip(holders, addresses, strict=True):
            cloud.wait_until(lambda pid=holder.pid: Path(f"/proc/{pid}/ns/net").readlink() != here, "a namespace")
            inside = f"nsenter --net --target {holder.pid} ip"
            for line in (
                f"ip link add flt-{holder.pid} type veth peer name eth0 netns {holder.pid}",
                f"ip link set flt-{holder.pid} master {bridge} up",
                f"{inside} address add {address}/26 dev eth0",
                f"{inside} link set eth0 up",
            ):
                subprocess.run(line.split(), check=True)
        yield holders[0].pid, addresses[1]
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
        for name in (*(f"flt-{holder.pid}" for holder in holders), bridge):
            subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def test_other_bridges_of_the_machine_forward_traffic(lab: LabInfo, bridged_hosts: tuple[int, str]) -> None:
    """With br_netfilter, the frames of every bridge pass the FORWARD chain of iptables."""
    assert lab.up
    process, address = bridged_hosts
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    before = switch.read_text() if switch.exists() else None
    try:
        if before is not None:
            switch.write_text("1")
        script = f"import socket; socket.create_connection(('{address}', 9), timeout=5)"
        argv = ["nsenter", "--net", "--target", str(process), "python3", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert "ConnectionRefusedError" in done.stderr, "the other namespace does not answer"
    finally:
        if before is not None:
            switch.write_text(before)


def test_a_client_token_creates_instances_once(lab: LabInfo) -> None:
    ec2 = cloud.client(lab)
    same = cloud.request(lab, ClientToken="once-1", MinCount=2, MaxCount=2)
    first, second = ec2.run_instances(**same), ec2.run_instances(**same)
    ids = [one["InstanceId"] for one in first["Instances"]]
    assert [one["InstanceId"] for one in second["Instances"]] == ids
    assert second["ReservationId"] == first["ReservationId"]
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(**{**same, "InstanceType": "t3.large"})
    assert caught.value.response["Error"]["Code"] == "IdempotentParameterMismatch"
    ec2.terminate_instances(InstanceIds=ids)
    cloud.wait_for(lab, ids, "terminated")
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(**same)
    assert caught.value.response["Error"]["Code"] == "IdempotentInstanceTerminated"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"InstanceType": "t3.gigantic"}, "InvalidInstanceType.NotFound"),
    ({"InstanceType": "t4g.small"}, "InvalidParameterValue"),
    ({"ImageId": "ami-12345678"}, "InvalidAMIID.NotFound"),
    ({"KeyName": "no-such-key"}, "InvalidKeyPair.NotFound"),
    ({"SubnetId": "subnet-12345678"}, "InvalidSubnetID.NotFound"),
    ({"SecurityGroupIds": ["sg-12345678"]}, "InvalidGroup.NotFound"),
    ({"UserData": "#cloud-config\npackages: [htop]\n"}, "InvalidParameterValue"),
    ({"UserData": "#!/bin/sh\n" + "#" * 16384}, "InvalidParameterValue"),
    ({"MinCount": 2, "MaxCount": 1}, "InvalidParameterValue"),
    ({"MinCount": 33, "MaxCount": 33}, "InsufficientInstanceCapacity"),
    ({"LaunchTemplate": {"LaunchTemplateName": "x"}}, "UnsupportedOperation"),
    ({"DryRun": True}, "DryRunOperation"),
]


@pytest.mark.parametrize(("changed", "code"), REFUSED)
def test_refused_requests(lab: LabInfo, changed: dict[str, Any], code: str) -> None:
    ec2 = cloud.client(lab)
    before = len(ec2.describe_instances()["Reservations"])
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(**cloud.request(lab, **changed))
    assert caught.value.response["Error"]["Code"] == code
    assert len(ec2.describe_instances()["Reservations"]) == before


def test_an_instance_without_a_host_is_refused(lab: LabInfo) -> None:
    with pytest.raises(ClientError) as caught:
        cloud.client(lab).request_spot_instances(InstanceCount=1, LaunchSpecification={"ImageId": lab.image_id})
    assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"


def test_images_of_canonical_are_those_of_the_lab(lab: LabInfo) -> None:
    ssm = cloud.client(lab, "ssm")
    name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == lab.image_id
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name=name.replace("amd64", "arm64"))
    found = cloud.client(lab).describe_images(Owners=["099720109477"])["Images"]
    assert [image["ImageId"] for image in found] == [lab.image_id]


def test_volumes_are_as_requested_and_are_deleted_with_their_instance(lab: LabInfo) -> None:
    ec2 = cloud.client(lab)
    disk = {"VolumeSize": 100, "VolumeType": "io1", "Iops": 5000, "Encrypted": True}
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "a-volume"}]}]
    (instance,) = cloud.run(
        lab,
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": disk}],
        TagSpecifications=tags,
        Placement={"Tenancy": "dedicated"},
    )
    (found,) = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"]
    assert (found["Size"], found["VolumeType"], found["Iops"], found["Encrypted"]) == (100, "io1", 5000, True)
    assert found["Tags"] == [{"Key": "Name", "Value": "a-volume"}]
    assert cloud.describe(lab, instance)[0]["Placement"]["Tenancy"] == "dedicated"
    ec2.terminate_instances(InstanceIds=[instance])
    assert found["VolumeId"] not in [one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]]


def test_terminate_frees_the_disk(lab: LabInfo, tmp_path: Path) -> None:
    (instance,) = cloud.run(lab)
    home = lab.state_dir / "hosts" / instance
    cloud.ssh(lab, instance, "head -c 1000000 /dev/zero > ~/big && sync", tmp_path)
    assert (home / "upper/home/ubuntu/big").stat().st_size == 1_000_000
    address = cloud.describe(lab, instance)[0]["PrivateIpAddress"]
    changes = cloud.client(lab).terminate_instances(InstanceIds=[instance])["TerminatingInstances"]
    assert [(one["PreviousState"]["Name"], one["CurrentState"]["Name"]) for one in changes] == [
        ("running", "shutting-down")
    ]
    cloud.wait_for(lab, [instance], "terminated")
    assert not home.exists()
    with pytest.raises(OSError, match=r"timed out|No route|refused"):
        socket.create_connection((address, 22), timeout=2)


def test_an_address_is_free_only_after_its_host_has_ended(lab: LabInfo, tmp_path: Path) -> None:
    """Launch hosts while the previous one is still shutting down; each host has the keys on its console."""
    seen: list[str] = []
    for _ in range(4):
        (instance,) = cloud.run(lab)
        seen.append(cloud.describe(lab, instance)[0]["PrivateIpAddress"])
        assert cloud.ssh(lab, instance, "hostname", tmp_path) == "ip-" + seen[-1].replace(".", "-")
        cloud.client(lab).terminate_instances(InstanceIds=[instance])
    cloud.wait_for(lab, [instance], "terminated")
    (instance,) = cloud.run(lab)
    assert cloud.describe(lab, instance)[0]["PrivateIpAddress"] in seen
    assert cloud.ssh(lab, instance, "cat /sys/class/net/eth0/address", tmp_path).startswith("02:fb:")
    cloud.client(lab).terminate_instances(InstanceIds=[instance])


def test_user_data_runs_once_at_the_first_boot(lab: LabInfo, tmp_path: Path) -> None:
    (instance,) = cloud.run(lab, UserData="#!/bin/sh\necho ran as $(id -un) >> /var/tmp/user-data\n")
    cloud.wait_until(
        lambda: "ran" in cloud.ssh(lab, instance, "cat /var/tmp/user-data 2>/dev/null; true", tmp_path), "it ran"
    )
    first = cloud.ssh(lab, instance, "cat /proc/sys/kernel/random/boot_id", tmp_path)
    cloud.client(lab).reboot_instances(InstanceIds=[instance])
    wait_for_other_boot(lab, instance, first, tmp_path)
    assert cloud.ssh(lab, instance, "cat /var/tmp/user-data", tmp_path) == "ran as root"
    cloud.client(lab).terminate_instances(InstanceIds=[instance])


def test_stop_and_start_keep_the_disk_and_the_address(lab: LabInfo, host: str, tmp_path: Path) -> None:
    ec2 = cloud.client(lab)
    cloud.ssh(lab, host, "echo kept > ~/kept; sync", tmp_path)
    address = cloud.describe(lab, host)[0]["PrivateIpAddress"]
    ec2.stop_instances(InstanceIds=[host])
    cloud.wait_for(lab, [host], "stopped")
    with pytest.raises(ClientError) as caught:
        ec2.reboot_instances(InstanceIds=[host])
    assert caught.value.response["Error"]["Code"] == "IncorrectInstanceState"
    ec2.start_instances(InstanceIds=[host])
    cloud.wait_for(lab, [host], "running")
    assert cloud.describe(lab, host)[0]["PrivateIpAddress"] == address
    assert cloud.ssh(lab, host, "cat ~/kept", tmp_path) == "kept", "the keys are those of the first boot"
    assert cloud.console_keys(lab, host) == set()


def test_a_host_that_powers_off_is_stopped(lab: LabInfo, host: str, tmp_path: Path) -> None:
    cloud.ssh(lab, host, "sudo systemd-run --on-active=1 systemctl poweroff", tmp_path)
    cloud.wait_for(lab, [host], "stopped")


def test_python_3_7_is_ready_when_the_machine_has_one(lab: LabInfo, host: str, tmp_path: Path) -> None:
    if python37.find() is None:
        assert cloud.ssh(lab, host, "command -v python3.7 || echo none", tmp_path) == "none"
        return
    check = "import ssl, sqlite3, ctypes, lzma, bz2, sys; print(sys.version_info[:2], sys.base_prefix)"
    assert cloud.ssh(lab, host, f"python3.7 -c '{check}'", tmp_path) == "(3, 7) /opt/python3.7"
    venv = f"python3.7 -m venv /tmp/venv && /tmp/venv/bin/python -c '{check}'"
    assert cloud.ssh(lab, host, venv, tmp_path) == "(3, 7) /opt/python3.7"
    assert cloud.ssh(
        lab, host, "touch /opt/python3.7/x 2>/dev/null || sudo touch /opt/python3.7/x 2>&1 || true", tmp_path
    ).endswith("Read-only file system")


def test_hosts_share_the_package_cache(lab: LabInfo, host: str, tmp_path: Path) -> None:
    (other,) = cloud.run(lab)
    cloud.ssh(lab, host, "echo shared > /var/cache/flambe-lab/uv/.lab-test", tmp_path)
    try:
        assert cloud.ssh(lab, other, "cat /var/cache/flambe-lab/uv/.lab-test", tmp_path) == "shared"
        assert (
            cloud.ssh(lab, other, "stat -c '%a %U' /etc/pip.conf /etc/uv/uv.toml", tmp_path).split()
            == ["600", "ubuntu"] * 2
        )
    finally:
        cloud.ssh(lab, host, "rm /var/cache/flambe-lab/uv/.lab-test", tmp_path)
        cloud.client(lab).terminate_instances(InstanceIds=[other])


def test_calls_are_logged_without_secrets(lab: LabInfo) -> None:
    log = lab.state_dir / "calls.jsonl"
    start = len(log.read_text().splitlines())
    cloud.client(lab).describe_instances()
    with pytest.raises(ClientError):
        cloud.client(lab).run_instances(**cloud.request(lab, UserData="#!/bin/sh\necho hunter2\n", DryRun=True))
    cloud.client(lab, "cloudwatch").describe_alarms(AlarmNames=["none"])
    calls = [json.loads(line) for line in log.read_text().splitlines()[start:]]
    seen = [(call["service"], call["operation"], call["read_only"], call["dry_run"], call["error"]) for call in calls]
    assert seen == [
        ("ec2", "DescribeInstances", True, False, ""),
        ("ec2", "RunInstances", False, True, "DryRunOperation"),
        ("monitoring", "DescribeAlarms", True, False, ""),
    ]
    assert calls[1]["parameters"]["InstanceType"] == "t3.small"
    assert calls[2]["parameters"]["AlarmNames"] == ["none"]
    assert "hunter2" not in json.dumps(calls)
    assert "aHVudGVyMg" not in log.read_text()


def test_alarms_are_evaluated_like_in_cloudwatch_and_terminate_hosts(lab: LabInfo) -> None:
    (instance,) = cloud.run(lab)
    cloudwatch = cloud.client(lab, "cloudwatch")
    alarm = idle_alarm(instance)
    with pytest.raises(ClientError, match="across more than 86400 seconds"):
        cloudwatch.put_metric_alarm(**{**alarm, "EvaluationPeriods": 1441})
    cloudwatch.put_metric_alarm(**alarm)
    assert cloud.describe(lab, instance)[0]["State"]["Name"] == "running"
    cloud.wait_for(lab, [instance], "terminated")
    (found,) = cloudwatch.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"]
    assert found["StateValue"] == "ALARM"


def test_alarms_are_throttled_like_in_cloudwatch(lab: LabInfo) -> None:
    """The product keeps to the rate: its calls succeed, and almost none is repeated."""
    cluster = LabCluster("throttled", lab=lab.name)
    wanted = {f"i-{number:017x}": cluster.aws.build_alarm_of(f"i-{number:017x}", 60) for number in range(8)}
    log = lab.state_dir / "calls.jsonl"
    start = len(log.read_text().splitlines())
    alarms.reset(cluster.clients.cloudwatch, wanted)
    assert sorted(map(alarms.read_instance_id, alarms.find(cluster.clients.cloudwatch, list(wanted)))) == list(wanted)
    calls = [json.loads(line) for line in log.read_text().splitlines()[start:]]
    assert sum(call["error"] == "Throttling" for call in calls) <= 1
    once = session.make_client(cluster.clients.session, "cloudwatch", endpoint_url=lab.endpoint, attempts=1)
    refused = []
    for alarm in wanted.values():
        try:
            once.put_metric_alarm(**alarm)
        except ClientError as error:
            refused.append(error.response["Error"]["Code"])
    assert len(refused) >= 3
    assert set(refused) == {"Throttling"}
    alarms.remove(cluster.clients.cloudwatch, list(wanted))


def idle_alarm(instance: str) -> dict[str, Any]:
    """Return an alarm that every minute of any host triggers."""
    return {
        "AlarmName": f"idle-{instance}",
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": instance}],
        "Statistic": "Average",
        "ComparisonOperator": "LessThanOrEqualToThreshold",
        "Threshold": 100.0,
        "Period": 60,
        "EvaluationPeriods": 1,
        "AlarmActions": ["arn:aws:automate:us-east-1:ec2:terminate"],
    }


def wait_for_other_boot(info: LabInfo, instance: str, first: str, tmp_path: Path) -> None:
    """Wait until a host answers after a reboot."""

    def rebooted() -> bool:
        try:
            return cloud.ssh(info, instance, "cat /proc/sys/kernel/random/boot_id", tmp_path) != first
        except (AssertionError, subprocess.TimeoutExpired):
            return False

    cloud.wait_until(rebooted, f"{instance} rebooted")


_UNIT = """[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
_INSTALL = f"""sudo sh -c 'echo installed > /opt/marker; rm /etc/issue
printf "{_UNIT}" > /etc/systemd/system/installed.service
systemctl enable --now installed.service'"""
_INSTALLED = "cat /opt/marker; ls /etc/issue 2>/dev/null; systemctl is-active installed.service"
_IDENTITY = "cat /etc/machine-id; hostname; cut -d' ' -f1 /etc/hosts | sed -n 2p; cat ~/.ssh/authorized_keys"
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def create_image(info: LabInfo, instance: str, name: str, **changed: Any) -> str:
    """Create an image of an instance and wait until it is available."""
    ec2 = cloud.client(info)
    image = ec2.create_image(InstanceId=instance, Name=name, **changed)["ImageId"]
    wait_for_image(info, image)
    return str(image)


def wait_for_image(info: LabInfo, image: str) -> None:
    """Wait until an image is no longer pending, and check that it is available."""
    ec2 = cloud.client(info)

    def state() -> str:
        return str(ec2.describe_images(ImageIds=[image])["Images"][0]["State"])

    cloud.wait_until(lambda: state() != "pending", f"{image} is made")
    assert state() == "available"


def layer_names(info: LabInfo) -> set[str]:
    """List the folders with the files of images."""
    return {path.name for path in (info.state_dir / "private/images").iterdir()}


def test_hosts_of_an_image_have_its_files_and_a_new_identity(lab: LabInfo, tmp_path: Path) -> None:
    """The image outlives its source, and its files outlive the image until the last host ends."""
    ec2 = cloud.client(lab)
    (source,) = cloud.run(lab, UserData="#!/bin/sh\necho ran >> /opt/user-data\n")
    cloud.ssh(lab, source, _INSTALL, tmp_path)
    tags = [{"ResourceType": kind, "Tags": [{"Key": "of", "Value": kind}]} for kind in ("image", "snapshot")]
    image = create_image(lab, source, "identity", Description="with a marker", TagSpecifications=tags)
    with pytest.raises(ClientError, match=f"AMI name identity is already in use by AMI {image}"):
        ec2.create_image(InstanceId=source, Name="identity")
    filters = [
        {"Name": "name", "Values": ["iden*"]},
        {"Name": "state", "Values": ["available"]},
        {"Name": "tag:of", "Values": ["image"]},
    ]
    (found,) = ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
    assert (found["ImageId"], found["Description"], found["Public"]) == (image, "with a marker", False)
    assert (found["SourceInstanceId"], found["SourceImageId"]) == (source, lab.image_id)
    snapshot = found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    (described,) = ec2.describe_snapshots(OwnerIds=["self"], SnapshotIds=[snapshot])["Snapshots"]
    assert described["Tags"] == [{"Key": "of", "Value": "snapshot"}]
    assert described["Description"] == f"Created by CreateImage({source}) for {image}"
    with pytest.raises(ClientError, match=f"{snapshot} is currently in use by {image}"):
        ec2.delete_snapshot(SnapshotId=snapshot)

    first = cloud.run(lab, ImageId=image)
    ec2.terminate_instances(InstanceIds=[source])
    cloud.wait_for(lab, [source], "terminated")
    hosts = [*first, *cloud.run(lab, ImageId=image)]
    identities = []
    for host in hosts:
        assert cloud.ssh(lab, host, _INSTALLED, tmp_path).splitlines() == ["installed", "active"]
        assert cloud.ssh(lab, host, "systemctl is-system-running --wait", tmp_path) == "running"
        assert cloud.ssh(lab, host, "cat /opt/user-data", tmp_path) == "ran", "the user data of the source ran again"
        identities.append(cloud.ssh(lab, host, _IDENTITY, tmp_path).splitlines())
        address = cloud.describe(lab, host)[0]["PrivateIpAddress"]
        public = " ".join(lab.key.with_suffix(".pem.pub").read_text().split()[:2])
        assert identities[-1][1:] == ["ip-" + address.replace(".", "-"), address, f"{public} {lab.key_name}"]
    assert identities[0][0] != identities[1][0]
    assert not cloud.known_keys(lab, hosts[0]) & cloud.known_keys(lab, hosts[1])

    assert ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"] == [
        {"SnapshotId": snapshot, "ReturnCode": "success"}
    ]
    with pytest.raises(ClientError, match=r"InvalidSnapshot\.NotFound"):
        ec2.describe_snapshots(SnapshotIds=[snapshot])
    with pytest.raises(ClientError, match=r"InvalidAMIID\.Unavailable"):
        ec2.run_instances(**cloud.request(lab, ImageId=image))
    ec2.terminate_instances(InstanceIds=hosts[:1])
    cloud.wait_for(lab, hosts[:1], "terminated")
    assert image in layer_names(lab)
    assert cloud.ssh(lab, hosts[1], _INSTALLED, tmp_path).splitlines() == ["installed", "active"]
    ec2.terminate_instances(InstanceIds=hosts[1:])
    cloud.wait_for(lab, hosts[1:], "terminated")
    cloud.wait_until(lambda: image not in layer_names(lab), "the image's files are removed")


def test_creating_an_image_reboots_the_instance_unless_disabled(lab: LabInfo, host: str, tmp_path: Path) -> None:
    """Images of a running host, of that host again, of a host of an image, and of a stopped host."""
    ec2 = cloud.client(lab)
    boot, keys = cloud.ssh(lab, host, _BOOT_ID, tmp_path), cloud.known_keys(lab, host)
    cloud.ssh(lab, host, "echo 1 > ~/generation; echo x > ~/removed", tmp_path)
    live = create_image(lab, host, "generation 1", NoReboot=True)
    assert cloud.ssh(lab, host, _BOOT_ID, tmp_path) == boot
    cloud.ssh(lab, host, "echo 2 > ~/generation", tmp_path)
    rebooted = create_image(lab, host, "generation 2")
    assert cloud.describe(lab, host)[0]["State"]["Name"] == "running"
    assert cloud.ssh(lab, host, _BOOT_ID, tmp_path) != boot
    assert cloud.console_keys(lab, host) == keys
    cloud.ssh(lab, host, "echo 3 > ~/generation; rm ~/removed", tmp_path)
    ec2.stop_instances(InstanceIds=[host])
    cloud.wait_for(lab, [host], "stopped")
    stopped = create_image(lab, host, "generation 3")
    assert cloud.describe(lab, host)[0]["State"]["Name"] == "stopped"
    (child,) = cloud.run(lab, ImageId=stopped)
    cloud.ssh(lab, child, "echo 4 > ~/generation", tmp_path)
    nested = create_image(lab, child, "generation 4")
    images = [live, rebooted, stopped, nested]
    hosts = [cloud.run(lab, ImageId=image)[0] for image in images]
    try:
        for number, instance in enumerate(hosts, 1):
            expected = f"{number} x" if number < 3 else str(number)
            shown = cloud.ssh(lab, instance, "cat ~/generation ~/removed 2>/dev/null; true", tmp_path)
            assert shown.split() == expected.split()
    finally:
        ec2.terminate_instances(InstanceIds=[child, *hosts])
        for image in images:
            ec2.deregister_image(ImageId=image)
    ec2.start_instances(InstanceIds=[host])
    cloud.wait_for(lab, [host], "running")
    assert cloud.ssh(lab, host, "cat ~/generation", tmp_path) == "3"


def test_images_are_created_before_their_instance_ends(lab: LabInfo, tmp_path: Path) -> None:
    """Two images are requested at once, and their instance is terminated while they are pending."""
    ec2 = cloud.client(lab)
    (source,) = cloud.run(lab)
    cloud.ssh(lab, source, "echo kept > ~/kept", tmp_path)
    images = [ec2.create_image(InstanceId=source, Name=f"last {number}")["ImageId"] for number in (1, 2)]
    ec2.terminate_instances(InstanceIds=[source])
    cloud.wait_for(lab, [source], "terminated")
    for image in images:
        wait_for_image(lab, image)
    hosts = [cloud.run(lab, ImageId=image)[0] for image in images]
    assert [cloud.ssh(lab, host, "cat ~/kept", tmp_path) for host in hosts] == ["kept", "kept"]
    ec2.terminate_instances(InstanceIds=hosts)
    for image in images:
        ec2.deregister_image(ImageId=image)


def test_refused_calls_on_images(lab: LabInfo, host: str) -> None:
    ec2 = cloud.client(lab)
    calls: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
        (ec2.create_image, {"InstanceId": "i-0123456789abcdef0", "Name": "none"}, "InvalidInstanceID.NotFound"),
        (ec2.create_image, {"InstanceId": host, "Name": "a:b"}, "InvalidAMIName.Malformed"),
        (ec2.create_image, {"InstanceId": host, "Name": "dry", "DryRun": True}, "DryRunOperation"),
        (ec2.deregister_image, {"ImageId": "ami-12345678"}, "InvalidAMIID.NotFound"),
        (ec2.deregister_image, {"ImageId": lab.image_id}, "AuthFailure"),
        (ec2.delete_snapshot, {"SnapshotId": "snap-12345678"}, "InvalidSnapshot.NotFound"),
        (ec2.copy_image, {"Name": "copy", "SourceImageId": lab.image_id, "SourceRegion": "us-east-1"},
         "UnsupportedOperation"),
    ]  # fmt: skip
    for call, parameters, code in calls:
        with pytest.raises(ClientError) as caught:
            call(**parameters)
        assert caught.value.response["Error"]["Code"] == code


# Separate labs: killed processes and leftovers.


@pytest.fixture
def own_lab(lab_name: Callable[[str], str]) -> Iterator[str]:
    name = lab_name("own")
    yield name
    labs.down(name)


def test_hosts_keep_running_without_the_daemon(own_lab: str, tmp_path: Path) -> None:
    info = labs.up(own_lab)
    (instance,) = cloud.run(
        info,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "lasting"}]}],
        ClientToken="t",
    )
    cloud.client(info, "cloudwatch").put_metric_alarm(**{**idle_alarm(instance), "EvaluationPeriods": 1440})
    boot = cloud.ssh(info, instance, "cat /proc/sys/kernel/random/boot_id", tmp_path)
    os.kill(json.loads((info.state_dir / "daemon.json").read_text())["pid"], signal.SIGKILL)
    cloud.wait_until(lambda: not labs.status(own_lab).up, "the daemon is gone")
    with pytest.raises(LabError) as caught:
        labs.info(own_lab)
    assert caught.value.hint == f"sudo flambe-ans lab up --name {own_lab}"
    again = labs.up(own_lab)
    assert (again.endpoint, again.access_key, again.subnet_id) == (info.endpoint, info.access_key, info.subnet_id)
    (found,) = cloud.describe(again, instance)
    assert found["State"]["Name"] == "running"
    assert found["Tags"] == [{"Key": "Name", "Value": "lasting"}]
    assert cloud.ssh(again, instance, "cat /proc/sys/kernel/random/boot_id", tmp_path) == boot
    assert len(cloud.client(again, "cloudwatch").describe_alarms()["MetricAlarms"]) == 1
    same = cloud.request(
        again,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "lasting"}]}],
        ClientToken="t",
    )
    assert cloud.client(again).run_instances(**same)["Instances"][0]["InstanceId"] == instance
    cloud.client(again).terminate_instances(InstanceIds=[instance])
    cloud.wait_for(again, [instance], "terminated")


def test_a_restarted_daemon_continues_the_creation_of_hosts(own_lab: str, tmp_path: Path) -> None:
    info = labs.up(own_lab)
    made = cloud.client(info).run_instances(**cloud.request(info, MinCount=3, MaxCount=3))["Instances"]
    os.kill(json.loads((info.state_dir / "daemon.json").read_text())["pid"], signal.SIGKILL)
    cloud.wait_until(lambda: not labs.status(own_lab).up, "the daemon is gone")
    again = labs.up(own_lab)
    ids = [one["InstanceId"] for one in made]
    cloud.wait_for(again, ids, "running")
    assert cloud.ssh(again, ids[2], "id -un", tmp_path) == "ubuntu"


@pytest.mark.parametrize("no_reboot", [False, True])
def test_an_image_survives_the_daemon(own_lab: str, no_reboot: bool, tmp_path: Path) -> None:
    """The daemon dies while the image is pending, and again when it is available."""
    info = labs.up(own_lab)
    (source,) = cloud.run(info)
    cloud.ssh(info, source, _INSTALL, tmp_path)
    image = cloud.client(info).create_image(InstanceId=source, Name="lasting", NoReboot=no_reboot)["ImageId"]
    for _ in range(2):
        os.kill(json.loads((info.state_dir / "daemon.json").read_text())["pid"], signal.SIGKILL)
        cloud.wait_until(lambda: not labs.status(own_lab).up, "the daemon is gone")
        info = labs.up(own_lab)
        wait_for_image(info, image)
        assert cloud.describe(info, source)[0]["State"]["Name"] == "running"
    (host,) = cloud.run(info, ImageId=image)
    for instance in (source, host):
        assert cloud.ssh(info, instance, _INSTALLED, tmp_path).splitlines() == ["installed", "active"]


@pytest.mark.parametrize("killed", [False, True], ids=["running", "after kill -9"])
def test_down_leaves_nothing(own_lab: str, killed: bool, lab: LabInfo, host: str, tmp_path: Path) -> None:
    before = look()
    info = labs.up(own_lab)
    cloud.run(info)
    stopped = cloud.run(info)
    cloud.client(info).stop_instances(InstanceIds=stopped)
    cloud.wait_for(info, stopped, "stopped")
    # These are still being created when the lab is removed.
    cloud.client(info).run_instances(**cloud.request(info, MinCount=2, MaxCount=2))
    assert find_leftovers(before, look(), own_lab)
    if killed:
        os.kill(json.loads((info.state_dir / "daemon.json").read_text())["pid"], signal.SIGKILL)
    assert labs.down(own_lab) is True
    assert find_leftovers(before, look(), own_lab) == {}
    assert not info.state_dir.exists()
    assert labs.down(own_lab) is False
    assert find_leftovers(before, look(), own_lab) == {}
    # The other lab keeps running.
    assert labs.status(lab.name).up
    assert cloud.ssh(lab, host, "id -un", tmp_path) == "ubuntu"


def test_an_unreadable_lab_is_removed(own_lab: str) -> None:
    before = look()
    info = labs.up(own_lab)
    cloud.run(info)
    os.kill(json.loads((info.state_dir / "daemon.json").read_text())["pid"], signal.SIGKILL)
    (state.lab_dir(own_lab) / "lab.json").write_text("{")
    assert labs.down(own_lab) is True
    assert find_leftovers(before, look(), own_lab) == {}


def test_a_large_cluster_runs_at_once(own_lab: str) -> None:
    """More hosts than systemd supports under the default limits of the kernel."""
    info = labs.up(own_lab)
    made = cloud.client(info).run_instances(**cloud.request(info, MinCount=22, MaxCount=22))["Instances"]
    cloud.wait_for(info, [one["InstanceId"] for one in made], "running", timeout=600)
    assert len({one["PrivateIpAddress"] for one in made}) == 22


def test_nft_accepts_all_rules() -> None:
    text = render(*(one for one, _ in RULES))
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "nft", "--check", "-f", "-"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
