"""Checks of existing hosts."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import create_autospec

import pytest

from flambe_ansible.cluster.ssh import SSHCluster
from flambe_ansible.doctor.hosts import NO_KEY, examine_hosts
from flambe_ansible.errors import HostConnectionError, HostKeyError, UnsupportedHostError
from flambe_ansible.findings import Level
from flambe_ansible.fleet.access import Access, Limits
from flambe_ansible.gpus import Gpu, GpuState, HostGpus
from flambe_ansible.hosts import Role, make_host
from flambe_ansible.ssh import Connections
from flambe_ansible.ssh.probing import Probe
from tests.unit.keys import private_key, write_key

HEAD = make_host("c_orchestrator", Role.ORCHESTRATOR, ip="10.0.0.1")
SILENT, POOR = (make_host(f"c_factory_{one}", Role.FACTORY, index=one, ip=f"10.0.0.{one + 2}") for one in (0, 1))
NO_RSYNC = "no rsync; run there as root: apt-get install rsync"


def make_access() -> Access:
    """Make the access to an orchestrator with an unknown key, a silent factory, and one without rsync."""
    connections = create_autospec(Connections, instance=True)
    connections.trusted.side_effect = lambda host: [] if host is HEAD else ["ssh-ed25519 AAAA"]
    connections.probe_each.return_value = {POOR.name: UnsupportedHostError(f"{POOR.name}: {NO_RSYNC}", host=POOR.name)}
    connections.probes = {HEAD.name: Probe(os_name="Debian GNU/Linux 12", python_version="3.11.2")}
    access = create_autospec(Access, instance=True)
    access.connections = connections
    access.trust.side_effect = HostKeyError("c_factory_0: another key", host=SILENT.name)
    access.open_each.return_value = {
        SILENT.name: HostConnectionError("c_factory_0: no SSH at 10.0.0.2 port 22", host=SILENT.name, hint="check it")
    }
    return access


def test_every_host_has_a_finding() -> None:
    access = make_access()
    head, silent, poor = examine_hosts([HEAD, SILENT, POOR], access, patience=Limits().for_query, machines=["x86_64"])
    assert (head.check, head.level, head.notes) == ("orchestrator", Level.NOTE, (NO_KEY,))
    assert head.fact == "10.0.0.1: Debian GNU/Linux 12, Python 3.11.2, sudo, rsync"
    assert (silent.check, silent.level, silent.exit_code) == ("factory 0", Level.FAILED, 5)
    assert (silent.problems[0].message, silent.problems[0].expected) == ("no SSH at 10.0.0.2 port 22", "check it")
    assert poor.problems[0].message == NO_RSYNC
    assert access.connections.probe_each.call_args.args[0] == [HEAD, POOR]


def test_gpus_are_shown_and_refused() -> None:
    access = make_access()
    found = HostGpus(state=GpuState.OK, gpus=(Gpu(index=0, name="NVIDIA H200", memory=143771),), visible=1)
    access.connections.probes = {
        HEAD.name: Probe(os_name="Debian", python_version="3.11.2", gpus=found),
        POOR.name: Probe(gpus=found),
    }
    access.open_each.return_value, access.connections.probe_each.return_value = {}, {}
    error = UnsupportedHostError(f"{POOR.name}: too new", host=POOR.name)
    head, poor = examine_hosts(
        [HEAD, POOR],
        access,
        patience=Limits().for_query,
        machines=["x86_64"],
        refuse=lambda hosts, gpus: {host.name: error for host in hosts if host is POOR and gpus[host.name] is found},
    )
    assert head.fact == "10.0.0.1: Debian, Python 3.11.2, sudo, rsync, 1 x NVIDIA H200, 140 GiB"
    assert (poor.level, poor.problems[0].message) == (Level.FAILED, "too new")


def test_the_hosts_of_a_cluster_are_examined_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(tmp_path / "state"))
    key = write_key(tmp_path / "key", private_key())
    cluster = SSHCluster("c", "127.0.0.1", ["127.0.0.1"], str(key), "me", port=9, answer_timeout=5.0, proxy_jump="none")
    findings = cluster.diagnose()
    assert [(one.check, one.level, one.exit_code) for one in findings] == [
        ("orchestrator", Level.FAILED, 5), ("factory 0", Level.FAILED, 5),
    ]  # fmt: skip
    assert "no SSH at 127.0.0.1 port 9" in findings[0].problems[0].message
    assert not [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert cluster.hosts == []
