"""Rules for the hosts of an ``SSHCluster``: addresses, host keys, bastions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flambe_ansible.ssh.known_hosts import normalise
from flambe_ansible.validation.addresses import (
    Address,
    AddressError,
    HostAddress,
    is_text_list,
    known_hosts_name,
    parse_address,
    parse_host_address,
    parse_jump,
)
from flambe_ansible.validation.schema import CrossRule, Flaw, show, suggest

_MOST_HOSTS = 1000
_KEY_FORM = "a public key such as ssh-ed25519 AAAA..., from /etc/ssh/ssh_host_*_key.pub on the host"


def place(value: Any) -> list[Flaw]:
    """Check the address or the pair of addresses of one host."""
    if not isinstance(value, str) and not is_text_list(value):
        return [Flaw(message=f"is {show(value)}")]
    if not isinstance(value, str) and len(value) == 2:
        flaws = [flaw for index, one in enumerate(value) for flaw in _check(parse_address, one, (index,))]
        return flaws or _check_private(value, (1,))
    return _check(parse_host_address, value) or _check_private(value, ())


def places(value: Sequence[Any]) -> list[Flaw]:
    """Check the factories' addresses."""
    if not value:
        return [Flaw(message="is empty", expected="at least one address")]
    if len(value) > _MOST_HOSTS:
        return [Flaw(message=f"has {len(value)} addresses", expected=f"at most {_MOST_HOSTS}")]
    return [
        replace(flaw, expected=flaw.expected or "an address or [public, private]", path=(index, *flaw.path))
        for index, one in enumerate(value)
        for flaw in place(one)
    ]


def jump(value: str) -> list[Flaw]:
    """Check a ProxyJump."""
    return _check(parse_jump, value)


def host_keys(value: Mapping[Any, Any]) -> list[Flaw]:
    """Check each entry of a mapping from addresses to keys."""
    flaws = []
    for address, keys in value.items():
        try:
            parse_address(address if isinstance(address, str) else "")
        except AddressError as error:
            text = f"has the key {show(address)}, which is not a valid address"
            flaws.append(Flaw(message=text, expected=error.expected, path=(str(address),), at_key=True))
            continue
        if not isinstance(keys, str) and not is_text_list(keys):
            flaws.append(Flaw(message=f"is {show(keys)}", expected=_KEY_FORM, path=(address,)))
            continue
        try:
            if not read_keys(keys):
                flaws.append(Flaw(message="is empty", expected=_KEY_FORM, path=(address,)))
        except ValueError as error:
            flaws.append(Flaw(message=f"is {error}", expected=_KEY_FORM, path=(address,)))
    return flaws


def read_keys(keys: str | Sequence[str]) -> list[str]:
    """Read public keys as ``type base64``: bare, with a comment, or as lines of known_hosts or ssh-keyscan."""
    lines = keys.splitlines() if isinstance(keys, str) else [line for key in keys for line in key.splitlines()]
    found = []
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2 and not words[0].startswith(("ssh-", "ecdsa-", "sk-")):
            words = words[1:]  # drop the host name of a known_hosts line
        found.append(normalise(" ".join(words)))
    return found


def name_host(address: Address, *, port: int) -> str:
    """Return the name in known_hosts of an address, with its port or the given default."""
    return known_hosts_name(address.host, address.port or port)


def check_hosts(values: Mapping[str, Any]) -> list[Flaw]:
    """Check that no host is listed twice."""
    flaws = []
    ways: dict[str, str] = {}
    privates: dict[str, str] = {}
    for path, where in _iterate(values):
        label = "orchestrator_ip" if path[0] == "orchestrator_ip" else f"factories_ips[{path[1]}]"
        way = name_host(where.public, port=values["port"])
        other = ways.setdefault(way, label)
        if other == label:
            other = privates.setdefault(where.private.host, label)
        if other == label:
            continue
        if other == "orchestrator_ip":
            message = "is the address of the orchestrator"
            flaws.append(Flaw(message=message, expected="a separate host for each factory", path=path))
        elif ways[way] != label:
            flaws.append(Flaw(message=f"is the same host as {other}", expected="each host once", path=path))
        else:
            message = f"has the same private address as {other}"
            expected = "[public, private] with a different private address"
            flaws.append(Flaw(message=message, expected=expected, path=path))
    return flaws


def check_keys(values: Mapping[str, Any]) -> list[Flaw]:
    """Check that host keys belong to hosts of the cluster."""
    known = {name for _, where in _iterate(values) for name in names_of(where, port=values["port"])}
    for hop in parse_jump(values["proxy_jump"]) if values.get("proxy_jump") else ():
        known |= {hop.host, name_host(hop, port=22)}
    flaws = []
    for text in values["host_keys"]:
        address = parse_address(text)
        if name_host(address, port=values["port"]) not in known and (address.port or address.host not in known):
            expected, meant = (
                "an address from orchestrator_ip, factories_ips or proxy_jump",
                suggest(text, sorted(known)),
            )
            message, path = "is not a host of the cluster", ("host_keys", text)
            flaws.append(Flaw(message=message, expected=expected, suggestion=meant, path=path, at_key=True))
    return flaws


def names_of(where: HostAddress, *, port: int) -> list[str]:
    """List the names that may be used for a host in ``host_keys``."""
    names = [name for one in (where.public, where.private) for name in (name_host(one, port=port), one.host)]
    return list(dict.fromkeys(names))


HOSTS_RULE = CrossRule(needs=("orchestrator_ip", "factories_ips", "port"), check=check_hosts)
KEYS_RULE = CrossRule(needs=("orchestrator_ip", "factories_ips", "port", "host_keys"), check=check_keys)


def _iterate(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], HostAddress]]:
    """Yield all hosts, each with the path of its value."""
    yield ("orchestrator_ip",), parse_host_address(values["orchestrator_ip"])
    for index, one in enumerate(values["factories_ips"]):
        yield ("factories_ips", index), parse_host_address(one)


def _check(parse: Callable[[Any], object], value: Any, path: tuple[int, ...] = ()) -> list[Flaw]:
    """Return the error of a parser as a flaw."""
    try:
        parse(value)
    except AddressError as error:
        return [Flaw(message=error.message, expected=error.expected, suggestion=error.suggestion, path=path)]
    return []


def _check_private(value: Any, path: tuple[int, ...]) -> list[Flaw]:
    """Check the address that Ray and the other hosts use."""
    private = parse_host_address(value).private
    expected = "an address that the other hosts can reach"
    expected = expected if path else f"[public, private], where private is {expected}"
    if private.is_loopback:
        message = f"is {private.host}, a loopback address, which other hosts cannot reach"
        return [Flaw(message=message, expected=expected, path=path)]
    if private.is_ipv6:
        expected = "an IPv4 address" if path else "[public, private], where private is an IPv4 address"
        message = f"is {private.host}, but Ray on the hosts only supports IPv4"
        return [Flaw(message=message, expected=expected, path=path)]
    return []
