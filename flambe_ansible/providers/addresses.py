"""Private addresses: names are resolved on the orchestrator, and each address is checked on its host.

Ray identifies nodes by IP address, so names are resolved before Ray starts, on the orchestrator, since
a name of the cluster's network may be unknown to this machine. Many systems give a host's own name the address
127.0.1.1; for the orchestrator's own name the address is used from which it sends to its first factory.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from flambe_ansible.errors import HostError, UnsupportedHostError
from flambe_ansible.files import read_versioned, write_json
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Connections, quote

ADDRESSES_FILE = "addresses.json"
VERSION = 1

# Reads a JSON list of names, the first the host's own or ""; prints a JSON object of those that it could resolve.
_RESOLVE = """
import json, socket, sys

def resolve(name):
    try:
        return socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0]
    except OSError:
        return ""

def send_from(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return probe.getsockname()[0]

names, own, towards = json.load(sys.stdin)
found = {name: resolve(name) for name in names}
other = found.get(towards, towards)
if own in found and other and (not found[own] or found[own].startswith("127.")):
    found[own] = send_from(other)
print(json.dumps({name: address for name, address in found.items() if address}))
"""


def find_names(hosts: Sequence[Host]) -> list[str]:
    """Return the private addresses that are names."""
    return list(dict.fromkeys(host.private_ip for host in hosts if not is_address(host.private_ip)))


def resolve(connections: Connections, hosts: Sequence[Host]) -> dict[str, str]:
    """Resolve the private names of hosts on the orchestrator."""
    head, *others = hosts
    names = find_names(hosts)
    question = json.dumps([names, head.private_ip, others[0].private_ip if others else ""])
    command = quote(["/usr/bin/env", "python3", "-c", f"exec({_RESOLVE!r})"])  # one line: csh requires it
    answer = connections.ask(head, command, input=question, about="the addresses of the other hosts")
    found = {name: text for name, text in json.loads(answer.stdout).items() if is_address(text)}
    missing = [name for name in names if name not in found]
    if missing:
        raise UnsupportedHostError(
            f"{head.name} cannot resolve {', '.join(missing)}, by which the hosts reach each other",
            host=head.name,
            hint="write [address, private IP address] instead of the name",
        )
    return found


def check_each(connections: Connections, hosts: Sequence[Host]) -> dict[str, HostError]:
    """Check that each host has its private address, so that Ray can listen on it; return the errors by host name.

    The hosts were probed.
    """
    errors: dict[str, HostError] = {}
    for host in hosts:
        own = [address for address in connections.probes[host.name].addresses if "." in address]
        if own and host.private_ip not in own:
            pair = f"[{host.public_ip or host.private_ip}, {own[0]}]"
            errors[host.name] = UnsupportedHostError(
                f"{host.name}: {host.private_ip} is not an address of this host, which has {', '.join(own)}",
                host=host.name,
                hint=f"write {pair}: the other hosts and Ray use the second address",
            )
    return errors


def read(state_dir: Path) -> Mapping[str, str]:
    """Read the addresses that were resolved last, by name.

    Raises:
        StateVersionError: Another version of this package wrote the file.
    """
    try:
        document = read_versioned(
            state_dir / ADDRESSES_FILE, version=VERSION, remedy="remove it, then launch again", unversioned=dict
        )
    except ValueError:
        return {}
    known = document.get("addresses", document) if document else {}
    return {name: address for name, address in known.items() if isinstance(address, str)}


def write(state_dir: Path, resolved: Mapping[str, str]) -> None:
    """Record resolved addresses, by name."""
    read(state_dir)  # refuses a file of another version
    write_json(state_dir / ADDRESSES_FILE, {"version": VERSION, "addresses": dict(resolved)})


def is_address(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
