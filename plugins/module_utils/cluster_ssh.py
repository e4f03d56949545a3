"""Key pair, authorized_keys, known_hosts and ssh_config of a cluster, as text."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import subprocess
import tempfile

BLOCK = "flambe.cluster"
COMMENT = "flambe-cluster"
PRIVATE_KEY = "ray_bootstrap_key.pem"
PUBLIC_KEY = "ray_bootstrap_key.pub"
DEFAULT_PORT = 22
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*\Z")


def derive_public(private):
    """Derive the public key of a private key; "" if the private key is invalid."""
    with tempfile.TemporaryDirectory(prefix="flambe-") as folder:
        path = os.path.join(folder, "key")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(private)
        argv = ["ssh-keygen", "-y", "-P", "", "-f", path]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return canonical(done.stdout.decode("ascii", "replace")) if done.returncode == 0 else ""


def make_pair():
    """Generate an ed25519 pair in memory; return (private key, public key)."""
    with tempfile.TemporaryDirectory(prefix="flambe-") as folder:
        path = os.path.join(folder, "key")
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f", path]
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        with open(path, encoding="ascii") as private, open(path + ".pub", encoding="ascii") as public:
            return private.read(), canonical(public.read())


def canonical(line):
    """Write a public key as ``type base64 flambe-cluster``; "" if the line is not a key."""
    fields = line.split()
    return " ".join([*fields[:2], COMMENT]) if len(fields) >= 2 else ""


def authorise(text, public):
    """Authorise a public key exactly once and remove previous keys of the cluster; keep all other lines."""
    blob = public.split()[1]
    ours, others = [], []
    for line in (text or "").splitlines():
        known = blob in line.split() or (not line.startswith("#") and line.split()[-1:] == [COMMENT])
        (ours if known else others).append(line)
    return text if ours == [public] else "\n".join([*others, public]) + "\n"


def known_lines(hosts, members, previous):
    """Write the known_hosts lines of a cluster, ``names type base64 member``, in the order of ``members``.

    Args:
        hosts: For each host of this play: ``name``, ``names``, ``host_keys`` and ``port`` of its sshd.
        members: The names of all hosts of the cluster; lines of other hosts are removed.
        previous: The previous managed lines; those of members outside of this play are kept.
    """
    fresh = {host["name"]: host for host in hosts}
    lines = []
    for member in members:
        if member in fresh:
            port = fresh[member].get("port") or DEFAULT_PORT
            pattern = "{}" if port == DEFAULT_PORT else f"[{{}}]:{port}"
            names = ",".join(map(pattern.format, usable_names(fresh[member]["names"])))
            lines += [f"{names} {key} {member}" for key in fresh[member]["host_keys"] if names]
        else:
            lines += [line for line in previous if line.split()[-1:] == [member]]
    return lines


def config_lines(known, user, options):
    """Write the ssh_config of a cluster from its ``known_lines``; ``options`` are (keyword, value) for all hosts."""
    written = {line.split()[-1]: [split_port(name) for name in line.split()[0].split(",")] for line in known}
    if not written:
        return []
    names = {member: [name for name, _key in pairs] for member, pairs in written.items()}
    lines = []
    for member, aliases in names.items():
        target = find_target(member, aliases)
        others = [alias for alias in usable_names([member, *aliases]) if alias != target]
        if target and others:
            lines += ["Host {}".format(" ".join(others)), f"  HostName {target}"]
        port = written[member][0][1]
        if port != DEFAULT_PORT:
            lines += ["Host {}".format(" ".join(dict.fromkeys([member, *aliases]))), f"  Port {port}"]
    everyone = sorted({alias for aliases in names.values() for alias in aliases})
    lines += ["Host {}".format(" ".join(everyone)), f"  User {user}"]
    lines += ["  {} {}".format(*option) for option in options]
    # Options that a user adds below must not apply to the last Host.
    return [*lines, "Match all"]


def find_target(member, aliases):
    """Return the address or name at which a host is reached; None if only its inventory name is known.

    All its names lead there: Ray may use the source address of another network, which the other hosts cannot reach.
    ``member`` is its name in the inventory; the first of ``aliases`` is the configured name or address.
    """
    if is_address(aliases[0]) or aliases[0] != member:
        return aliases[0]
    return next((alias for alias in aliases if is_address(alias)), None)


def split_port(name):
    """Split a name of known_hosts, ``name`` or ``[name]:port``, into name and port."""
    if not name.startswith("["):
        return name, DEFAULT_PORT
    bare, _colon, port = name[1:].rpartition("]:")
    return bare, int(port)


def usable_names(names):
    """Return the names that known_hosts can hold, without duplicates, in order."""
    return [name for name in dict.fromkeys(names) if _NAME.match(name) and name != "localhost"]


def is_address(name):
    """Return whether a name is an IP address."""
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def own_address(towards="192.0.2.1"):
    """Return the source address of this host's route to another; "" if it has none. Nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))
        return probe.getsockname()[0]
    return ""
