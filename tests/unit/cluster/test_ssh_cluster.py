"""Clusters of existing hosts: their configuration and host keys before any connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible import SSHCluster
from flambe_ansible.errors import BastionKeyError, ClusterConfigurationError, HostKeyError, UnsupportedHostError
from flambe_ansible.fleet.access import Access
from flambe_ansible.gpus import Gpu, GpuState, HostGpus
from flambe_ansible.hosts import Host, HostState, Role
from flambe_ansible.launch.plan import Action
from flambe_ansible.providers import addresses
from flambe_ansible.ssh import Completed, Connections, Probe, user_config
from tests.unit.keys import private_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsxo1X4yYHCHZTrWWD5VdHEOzn8+tVAaHmU6J3A1q9F"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsxo1X4yYHCHZTrWWD5VdHEOzn8+tVAaHmU6J3A1q9G"
THIRD = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsxo1X4yYHCHZTrWWD5VdHEOzn8+tVAaHmU6J3A1q9H"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SSHCluster]:
    """Return a function that makes a cluster of three hosts; the user's known_hosts is empty."""
    monkeypatch.setattr(user_config, "find_keys", create_autospec(user_config.find_keys, return_value=[]))
    key = tmp_path / "key"
    key.write_text(private_key())
    key.chmod(0o600)

    def make_(**more: Any) -> SSHCluster:
        values: dict[str, Any] = {
            "name": "rack",
            "orchestrator_ip": "10.0.0.5",
            "factories_ips": ["10.0.0.6:2222", ["gpu.example.org", "10.0.0.7"]],
            "key": str(key),
            "username": "me",
        }
        return SSHCluster(**{**values, **more})

    return make_


def describe(host: Host) -> tuple[str, str, int, str, int, str | None]:
    return host.name, host.address, host.port, host.private_ip, host.private_port, host.public_ip


ADDRESSES = {
    "as written": (
        {},
        ("rack_orchestrator", "10.0.0.5", 22, "10.0.0.5", 22, None),
        ("rack_factory_0", "10.0.0.6", 2222, "10.0.0.6", 2222, None),
        ("rack_factory_1", "gpu.example.org", 22, "10.0.0.7", 22, "gpu.example.org"),
    ),
    "a port for all": (
        {"port": 2200},
        ("rack_orchestrator", "10.0.0.5", 2200, "10.0.0.5", 2200, None),
        ("rack_factory_0", "10.0.0.6", 2222, "10.0.0.6", 2222, None),
        ("rack_factory_1", "gpu.example.org", 2200, "10.0.0.7", 2200, "gpu.example.org"),
    ),
    "private addresses": (
        {"use_public": False, "orchestrator_ip": ["[fd00::5]:2200", "10.0.0.5"]},
        ("rack_orchestrator", "10.0.0.5", 22, "10.0.0.5", 22, "fd00::5"),
        ("rack_factory_0", "10.0.0.6", 2222, "10.0.0.6", 2222, None),
        ("rack_factory_1", "10.0.0.7", 22, "10.0.0.7", 22, "gpu.example.org"),
    ),
}


@pytest.mark.parametrize(("more", "orchestrator", "first", "second"), ADDRESSES.values(), ids=ADDRESSES)
def test_hosts_come_from_the_configuration(
    make: Callable[..., SSHCluster], more: dict[str, Any], orchestrator: object, first: object, second: object
) -> None:
    cluster = make(**more)
    cluster.parse()
    hosts = cluster.find_hosts()
    assert [describe(host) for host in hosts] == [orchestrator, first, second]
    assert [host.role for host in hosts] == [Role.ORCHESTRATOR, Role.FACTORY, Role.FACTORY]
    assert {host.state for host in hosts} == {HostState.RUNNING}
    assert cluster.factories_num == 2
    cluster.load_all_instances()
    assert cluster.hosts == hosts


def test_nothing_is_created_or_terminated(make: Callable[..., SSHCluster]) -> None:
    cluster = make()
    plan = cluster.plan()
    assert [host.action for host in plan.hosts] == [Action.REUSE] * 3
    assert (plan.provider, plan.changes_hosts, plan.to_create) == ("ssh", False, ())
    cluster.rollback_env()
    for refuse in (cluster.terminate_instances, cluster.check_termination):
        with pytest.raises(ClusterConfigurationError, match="not managed by flambe-ans; nothing was changed") as e:
            refuse()
        assert "\n" not in str(e.value)


def test_another_orchestrator_is_another_cluster(make: Callable[..., SSHCluster]) -> None:
    assert make().state_dir == make(factories_ips=["10.0.0.8"], use_public=False).state_dir
    assert make().state_dir != make(orchestrator_ip="10.0.0.8").state_dir
    assert make().state_dir != make(orchestrator_ip="10.0.0.5:2200").state_dir


KEYS = {
    "by its address": ({"10.0.0.5": KEY}, "rack_orchestrator", [KEY]),
    "by address and port": ({"10.0.0.6:2222": KEY}, "rack_factory_0", [KEY]),
    "by address without its port": ({"10.0.0.6": f"{KEY}\n{OTHER} me@host"}, "rack_factory_0", [KEY, OTHER]),
    "by the public address": ({"GPU.example.org": [KEY]}, "rack_factory_1", [KEY]),
    "by the private address": ({"10.0.0.7": [f"10.0.0.7 {KEY}"]}, "rack_factory_1", [KEY]),
    "of another": ({"10.0.0.7": KEY}, "rack_orchestrator", None),
}


@pytest.mark.parametrize(("host_keys", "name", "expected"), KEYS.values(), ids=KEYS)
def test_keys_from_the_configuration(
    make: Callable[..., SSHCluster], host_keys: Any, name: str, expected: list[str] | None
) -> None:
    cluster = make(host_keys=host_keys)
    cluster.parse()
    host = next(host for host in cluster.find_hosts() if host.name == name)
    assert cluster.expected_host_keys(host) == expected


def test_keys_from_the_users_known_hosts(make: Callable[..., SSHCluster], monkeypatch: pytest.MonkeyPatch) -> None:
    known = {("10.0.0.6", 2222): [KEY], ("10.0.0.7", 22): [OTHER], ("10.0.0.5", 22): [KEY]}
    monkeypatch.setattr(user_config, "find_keys", lambda address, *, port, username: known.get((address, port), []))
    cluster = make(host_keys={"10.0.0.5": THIRD})
    assert [cluster.expected_host_keys(host) for host in cluster.find_hosts()] == [[THIRD], [KEY], [OTHER]]


def test_a_key_that_the_user_has_revoked_is_refused_even_if_it_is_configured(
    make: Callable[..., SSHCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {("10.0.0.5", 22): [OTHER, f"@revoked {KEY}"]}
    monkeypatch.setattr(user_config, "find_keys", lambda address, *, port, username: known.get((address, port), []))
    with make(host_keys={"10.0.0.5": KEY}) as cluster:
        orchestrator = cluster.find_hosts()[0]
        assert cluster.expected_host_keys(orchestrator) == [KEY, f"@revoked {KEY}"]
        cluster._access.trust([orchestrator])
        assert f"@revoked {orchestrator.key_alias} {KEY}" in cluster.known_hosts.read_text().splitlines()


def test_configured_keys_replace_keys_trusted_before(make: Callable[..., SSHCluster]) -> None:
    with make(host_keys={"10.0.0.5": KEY}) as before:
        before._access.trust(before.find_hosts())
        assert before.connections.trusted(before.find_hosts()[0]) == [KEY]
    with make(host_keys={"10.0.0.5": OTHER, "bastion": THIRD}, proxy_jump="you@bastion:2200") as cluster:
        hosts = cluster.find_hosts()
        cluster.connections.trust(hosts[1], [KEY])
        cluster._access.trust(hosts)
        assert [cluster.connections.trusted(host) for host in hosts] == [[OTHER], [KEY], []]
        assert f"[bastion]:2200 {THIRD}" in cluster.known_hosts.read_text().splitlines()


def test_a_wrong_key_is_reported_with_the_field_to_correct(
    make: Callable[..., SSHCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make(proxy_jump="you@bastion")
    hosts = cluster.find_hosts()

    wait = create_autospec(cluster.connections.wait_each)
    monkeypatch.setattr(cluster.connections, "wait_each", wait)
    name = hosts[0].name
    wait.return_value = {name: HostKeyError("x", host=name, hint="elsewhere")}
    with pytest.raises(HostKeyError) as caught:
        cluster.attach(hosts)
    assert "host_keys" in (caught.value.hint or "")
    wait.return_value = {name: BastionKeyError("x", host=name, hint="elsewhere")}
    with pytest.raises(BastionKeyError) as unknown:
        cluster.attach(hosts)
    assert "ssh you@bastion" in (unknown.value.hint or "")


def test_the_inventory_contains_the_proxy_and_the_keys(make: Callable[..., SSHCluster]) -> None:
    cluster = make(host_keys={"10.0.0.5": KEY}, proxy_jump="you@bastion")
    everything = cluster.inventory()["all"]["children"]
    orchestrator = everything["orchestrator"]["hosts"]["rack_orchestrator"]
    assert "ProxyCommand=ssh" in orchestrator["ansible_ssh_common_args"]
    assert "-l you" in orchestrator["ansible_ssh_common_args"]
    assert "HostKeyAlias=10.0.0.5 " in orchestrator["ansible_ssh_common_args"]
    assert cluster.known_hosts.read_text() == f"10.0.0.5 {KEY}\n"
    first = everything["factories"]["hosts"]["rack_factory_0"]
    assert (first["ansible_port"], first["private_port"], first["private_ip"]) == (2222, 2222, "10.0.0.6")


class Answers:
    """Fake connections with an answer of each host."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def ask(
        self,
        host: Host,
        _command: str,
        *,
        about: str,
        input: str = "",  # noqa: A002 - as in ssh
        check: bool = True,
    ) -> Completed:
        self.asked.append(input)
        return Completed(returncode=0, stdout=self.answers[host.name], stderr="")


def test_private_names_are_resolved_once(make: Callable[..., SSHCluster]) -> None:
    cluster = make(factories_ips=[["203.0.113.6", "node-six"], "node-seven"])
    assert addresses.find_names(cluster.find_hosts()) == ["node-six", "node-seven"]
    connections: Any = Answers(rack_orchestrator='{"node-six": "10.0.0.6", "node-seven": "10.0.0.7"}')
    addresses.write(cluster.state_dir, addresses.resolve(connections, cluster.find_hosts()))
    assert json.loads(connections.asked[0]) == [["node-six", "node-seven"], "10.0.0.5", "node-six"]
    assert [host.private_ip for host in cluster.find_hosts()] == ["10.0.0.5", "10.0.0.6", "10.0.0.7"]
    assert cluster.find_hosts()[2].address == "node-seven"


def test_a_name_that_cannot_be_resolved(make: Callable[..., SSHCluster]) -> None:
    connections: Any = Answers(rack_orchestrator="{}")
    hosts = make(factories_ips=["node-six"]).find_hosts()
    with pytest.raises(UnsupportedHostError, match="rack_orchestrator cannot resolve node-six"):
        addresses.resolve(connections, hosts)


def make_probed(addresses_of: Mapping[str, str]) -> Any:
    """Make connections whose hosts have these addresses."""
    probes = {name: Probe(addresses=tuple(text.split())) for name, text in addresses_of.items()}
    return SimpleNamespace(probes=probes)


def test_a_private_address_must_belong_to_the_host(make: Callable[..., SSHCluster]) -> None:
    hosts = make().find_hosts()
    own = {host.name: f"{host.private_ip} fd00::1 172.17.0.1\n" for host in hosts}
    right: Any = make_probed(own)
    assert addresses.check_each(right, hosts) == {}
    silent: Any = make_probed({**own, "rack_factory_0": ""})
    assert addresses.check_each(silent, hosts) == {}
    wrong: Any = make_probed({**own, "rack_factory_0": "192.168.1.6 172.17.0.1\n"})
    [error] = addresses.check_each(wrong, hosts).values()
    assert isinstance(error, UnsupportedHostError)
    assert error.message.startswith("rack_factory_0: 10.0.0.6 is not an address of this host")
    assert "[10.0.0.6, 192.168.1.6]" in (error.hint or "")


def test_hosts_are_never_replaced(make: Callable[..., SSHCluster]) -> None:
    with pytest.raises(ClusterConfigurationError, match="SSHCluster are not managed by flambe-ans"):
        make().find_dead()


@pytest.mark.parametrize(
    "change", [lambda cluster: cluster.remove_hosts(["rack_factory_0"]), lambda cluster: cluster.check_suspension()]
)
def test_hosts_are_added_and_removed_in_the_file(make: Callable[..., SSHCluster], change: Any) -> None:
    with pytest.raises(ClusterConfigurationError, match="not managed by flambe-ans; nothing was changed") as caught:
        change(make())
    assert "factories_ips" in (caught.value.hint or "")


def test_arguments_are_checked(make: Callable[..., SSHCluster]) -> None:
    with pytest.raises(ClusterConfigurationError) as caught:
        make(factories_ips=["10.0.0.5", "10.0.0.300"], port=0, host_keys={"10.0.0.9": KEY}).parse()
    fields = [problem.field for problem in caught.value.problems]
    assert fields == ["factories_ips[1]", "port"]
    with pytest.raises(ClusterConfigurationError, match="the address of the orchestrator"):
        make(factories_ips=("10.0.0.5",)).parse()


def test_entries_for_plain_ssh_require_the_known_keys(make: Callable[..., SSHCluster]) -> None:
    cluster = make(host_keys={"10.0.0.5": KEY, "10.0.0.6:2222": KEY}, proxy_jump="me@bastion")
    notices: list[Any] = []
    cluster.observer = notices.append
    first, second, third = cluster.ssh_config().split("\n\n")
    for line in ("Host rack_orchestrator", "HostName 10.0.0.5", "User me", "HostKeyAlias 10.0.0.5", "Port 22"):
        assert line in [one.strip() for one in first.splitlines()]
    assert "    Port 2222\n" in second
    assert "    HostKeyAlias 10.0.0.6_2222\n" in second
    assert "    HostName gpu.example.org\n" in third
    for entry in (first, second, third):
        assert "    StrictHostKeyChecking yes\n" in entry
        assert f"    UserKnownHostsFile {cluster.known_hosts}\n" in entry
        assert "-W '[%h]:%p' -- bastion" in entry
    assert [one.message for one in notices] == [
        "no trusted host key is known of rack_factory_1: ssh refuses these hosts until `flambe-ans status` has reached"
        " them"
    ]


H200 = HostGpus(
    state=GpuState.OK,
    gpus=(Gpu(index=0, name="NVIDIA H200", memory=143771, driver="580.159.04", capability="9.0"),),
    visible=1,
)


def probe_each(connections: Connections, hosts: Any, **_options: Any) -> dict[str, Any]:
    """Act as if every host had answered; the last one has a GPU."""
    gpus = {host.name: H200 if host.name == "rack_factory_1" else HostGpus(state=GpuState.NONE) for host in hosts}
    connections.probes.update({name: Probe(gpus=one) for name, one in gpus.items()})
    return {}


def test_flambe_refuses_hosts_with_newer_gpus(make: Callable[..., SSHCluster], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Access, "open_each", lambda *_args, **_options: {})
    monkeypatch.setattr(Connections, "probe_each", probe_each)
    cluster = make(flambe_version="0.4.18", host_keys={"10.0.0.5": KEY})
    cluster.load_all_instances()
    [failed] = cluster.connect_each()
    assert failed.host.name == "rack_factory_1"
    assert "GPU 0 (NVIDIA H200) has CUDA compute capability 9.0; runtime flambe supports" in failed.error.message
    assert [host.name for host in cluster.hosts] == ["rack_orchestrator", "rack_factory_0"]
    plan = cluster.plan()
    assert [one.gpus for one in plan.hosts] == ["", "", "1 x NVIDIA H200, 140 GiB, driver 580.159.04"]
    assert failed.error.message in plan.notes
    for changes in ({"runtime": "ray"}, {"flambe_version": "0.4.18", "nvidia_driver": "ignore"}):
        accepted = make(**changes)
        accepted.load_all_instances()
        assert accepted.connect_each() == []
    variables = accepted.inventory()["all"]["children"]["factories"]["hosts"]
    assert [(one["gpu_count"], one["gpu_state"]) for one in variables.values()] == [(0, "none"), (1, "ok")]
    assert variables["rack_factory_1"]["gpus"][0]["memory"] == 143771
