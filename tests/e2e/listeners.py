"""What hosts listen on beyond loopback, whether others reach it, and a web server to try it with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from flambe_ansible.lab import LabInfo
from tests.e2e import cloud

# Start a web server on a host, and wait until it listens.
SERVE = (
    "sudo systemd-run --quiet --unit=server-{port} python3 -m http.server {port}"
    " && until ss -ltnH | grep -q ':{port} '; do sleep 0.1; done"
)
# Print the status of its answer, or 000 without a connection.
GET = (
    "curl --silent --connect-timeout 2 --max-time 60 --output /dev/null --write-out %{{http_code}}"
    " http://{address}:{port}; :"
)
COMMAND = "sudo ss -ltnuH | awk '{print $1, $5}'"  # TCP and UDP
_SYSTEM = {("tcp", 22), ("udp", 68)}  # sshd, and the host's DHCP client
_LOOPBACK = re.compile(r"127\.|\[::1\]|\[::ffff:127\.")


def read_listeners(outputs: Mapping[str, str]) -> dict[str, set[int]]:
    """Return the ports on which each host listens beyond loopback, without those of its system.

    ``outputs`` has what ``COMMAND`` printed on each host, by name.
    """
    found: dict[str, set[int]] = {}
    for host, output in outputs.items():
        places = [(kind, *address.rpartition(":")[::2]) for kind, address in map(str.split, output.splitlines())]
        beyond = {(kind, int(port)) for kind, address, port in places if not _LOOPBACK.match(address)} - _SYSTEM
        assert all(kind == "tcp" for kind, _ in beyond), (host, beyond)
        found[host] = {port for _, port in beyond}
    return found


def find_open(lab: LabInfo, stranger: str, address: str, ports: Iterable[int], tmp: Path) -> list[int]:
    """Return the ports that a host outside the cluster reaches; it tries all at once."""
    knock = f'timeout 3 bash -c "exec 3<>/dev/tcp/{address}/$port" 2>/dev/null && echo $port'
    command = f"for port in {' '.join(map(str, ports))}; do ({knock}) & done; wait"
    return sorted(map(int, cloud.ssh(lab, stranger, command, tmp).split()))
