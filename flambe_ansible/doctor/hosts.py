"""Checks of existing hosts: the connection, the host key, and what every host must have."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from flambe_ansible.errors import HostError, HostKeyError
from flambe_ansible.events import ignore
from flambe_ansible.findings import Finding, make_problem
from flambe_ansible.fleet.access import Access
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Patience

NO_KEY = "no trusted host key is known: a launch accepts the one that the host shows"
KEY_REMEDY = "set host_keys, or log in once with ssh and compare the key's fingerprint"


Refuse = Callable[[Sequence[Host], Mapping[str, HostGpus]], Mapping[str, HostError]]


def examine_apart(
    hosts: Sequence[Host],
    known_hosts: Path,
    make_access: Callable[[Path], Access],
    *,
    patience: Callable[[Host], Patience],
    machines: Sequence[str],
    refuse: Refuse,
) -> list[Finding]:
    """Check hosts as ``examine_hosts``, and keep no key of a host that is not trusted yet.

    Args:
        hosts: The hosts.
        known_hosts: The cluster's own known_hosts, which stays unchanged.
        make_access: Returns connections to the hosts, with a copy of it.
        patience: How long each host may take.
        machines: The accepted processors, as ``uname -m`` prints them.
        refuse: As in ``examine_hosts``.
    """
    with TemporaryDirectory() as folder:
        aside = Path(folder) / "known_hosts"
        if known_hosts.exists():
            shutil.copy(known_hosts, aside)
        with closing(make_access(aside)) as access:
            return examine_hosts(hosts, access, patience=patience, machines=machines, refuse=refuse)


def examine_hosts(
    hosts: Sequence[Host],
    access: Access,
    *,
    patience: Callable[[Host], Patience],
    machines: Sequence[str],
    refuse: Refuse = lambda _hosts, _found: {},
) -> list[Finding]:
    """Connect to hosts and check that they meet the requirements.

    Args:
        hosts: The hosts.
        access: Their connections; host keys that it accepts are written to its known_hosts.
        patience: How long each host may take.
        machines: The accepted processors, as ``uname -m`` prints them.
        refuse: Returns an error for each host whose GPUs the runtime cannot use, by name.
    """
    with suppress(HostKeyError):  # reported for its host below
        access.trust(hosts)
    connections = access.connections
    unknown = {host.name for host in hosts if not connections.trusted(host)}
    errors = access.open_each(hosts, patience=patience, observer=ignore)
    errors |= connections.probe_each([host for host in hosts if host.name not in errors], machines=machines)
    errors |= refuse(hosts, {name: probe.gpus for name, probe in connections.probes.items()})
    return [_make_finding(host, errors.get(host.name), host.name in unknown, access) for host in hosts]


def _make_finding(host: Host, error: HostError | None, unknown: bool, access: Access) -> Finding:
    check = "orchestrator" if host.role is Role.ORCHESTRATOR else f"factory {host.index}"
    if error:
        problem = make_problem("", error.message.removeprefix(f"{host.name}: "), expected=error.hint or "")
        return Finding(check=check, problems=(problem,), exit_code=error.exit_code)
    probe = access.connections.probes[host.name]
    gpus = f", {probe.gpus}" if str(probe.gpus) else ""
    fact = f"{host.address}: {probe.os_name}, Python {probe.python_version}, sudo, rsync{gpus}"
    return Finding(check=check, fact=fact, notes=(NO_KEY,) if unknown else (), remedy=KEY_REMEDY)
