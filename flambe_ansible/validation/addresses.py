"""Parse host addresses: an IP address or a host name, with an optional port."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flambe_ansible.validation.schema import show

_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_BRACKETS = re.compile(r"\[(?P<host>[^\]]*)\](?::(?P<port>.*))?")
_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@\s]+)@)?(?P<address>[^@\s]+)")
_LARGEST_PORT = 65_535
FORM = "an IP address or a host name, optionally with a port: 10.0.0.5, gpu1.example.org, 10.0.0.5:2222, [fd00::5]:2222"


class AddressError(ValueError):
    """A text is not a valid address; the attributes are those of :class:`~flambe_ansible.validation.schema.Flaw`."""

    def __init__(self, message: str, *, expected: str = "", suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.suggestion = suggestion


@dataclass(frozen=True)
class Address:
    """An IP address in its shortest form, or a host name in lower case; the port is None if it was not given."""

    host: str
    port: int | None = None

    @property
    def is_name(self) -> bool:
        """Whether this is a host name, which must be resolved."""
        return not _is_ip(self.host)

    @property
    def is_ipv6(self) -> bool:
        """Whether this is an IPv6 address."""
        return ":" in self.host

    @property
    def is_loopback(self) -> bool:
        """Whether this is a loopback address."""
        return self.host == "localhost" if self.is_name else ipaddress.ip_address(self.host).is_loopback


@dataclass(frozen=True)
class HostAddress:
    """The addresses of one host in a configuration: a pair, or one address twice."""

    public: Address  # for this machine
    private: Address  # for the other hosts
    is_pair: bool = False


def parse_address(text: str) -> Address:
    """Parse one address."""
    if not text.strip():
        raise AddressError("is empty")
    if text != text.strip():
        raise AddressError(f"is {show(text)}, with spaces around it", suggestion=text.strip())
    if "@" in text:
        raise AddressError(f"is {show(text)}", expected="an address without a user name (set `username` instead)")
    if "://" in text:
        raise AddressError(f"is {show(text)}", suggestion=text.partition("://")[2].rstrip("/"))
    host, port = _split(text)
    return Address(_canonical(host, text), None if port is None else _read_port(port, text))


def parse_host_address(value: str | Sequence[str]) -> HostAddress:
    """Parse the addresses of one host: one address, or a pair of a public and a private one."""
    if isinstance(value, str):
        address = parse_address(value)
        return HostAddress(address, address)
    if len(value) != 2:
        raise AddressError(f"has {len(value)} addresses", expected="one address, or [public, private]")
    return HostAddress(parse_address(value[0]), parse_address(value[1]), is_pair=True)


def known_hosts_name(host: str, port: int) -> str:
    """Return the name of a host in a known_hosts file: ``10.0.0.5``, ``[10.0.0.5]:2222``."""
    return host if port == 22 else f"[{host}]:{port}"


def parse_jump(text: str) -> list[Address]:
    """Parse the hops of a ProxyJump: ``[user@]host[:port]``, separated by commas."""
    hops = []
    for hop in text.split(","):
        found = _HOP.fullmatch(hop.strip())
        if not found or hop.strip().startswith("-"):
            raise AddressError(f"is {show(text)}", expected="[user@]host[:port]; several hops are separated by commas")
        hops.append(parse_address(found["address"]))
    return hops


def _split(text: str) -> tuple[str, str | None]:
    """Split an address into host and port."""
    bracketed = _BRACKETS.fullmatch(text)
    if bracketed:
        if ":" not in bracketed["host"]:
            raise AddressError(f"is {show(text)}", expected="brackets only around IPv6 addresses")
        return bracketed["host"], bracketed["port"]
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None


def _read_port(text: str, whole: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _LARGEST_PORT:
        return int(text)
    raise AddressError(f"is {show(whole)}", expected=f"a port from 1 to {_LARGEST_PORT} after the colon")


def _canonical(host: str, whole: str) -> str:
    if _is_ip(host):
        address = ipaddress.ip_address(host)
        if address.is_unspecified or address.is_multicast:
            raise AddressError(f"is {show(whole)}, which cannot be the address of a host")
        return str(address)
    if re.fullmatch(r"[0-9.]+", host) or ":" in host:
        raise AddressError(f"is {show(whole)}, which is not a valid IP address")
    if "/" in host:
        raise AddressError(f"is {show(whole)}", expected="the address of one host, not a network or a path")
    if not _NAME.fullmatch(host):
        raise AddressError(f"is {show(whole)}")
    return host.lower()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_text_list(value: Any) -> bool:
    """Return whether a value is a list of strings."""
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
