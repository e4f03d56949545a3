"""The address from which this machine connects to the hosts.

``ray up`` and SkyPilot let SSH in from everywhere; the AWS console ("My IP") and Flintrock ask a service, as here.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from http.client import HTTPException

CHECK_URL = "https://checkip.amazonaws.com"  # AWS's service for this; the answer is the client's address
TIMEOUT = 10.0  # seconds
LONGEST_ANSWER = 100  # bytes

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class UnknownAddressError(Exception):
    """The address could not be determined; the message is the reason."""


def find_public_address() -> Network:
    """Return the public address of this machine, or of the gateway in front of it.

    A proxy is not used: SSH does not use it either.
    """
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(CHECK_URL, timeout=TIMEOUT) as answer:
            text = answer.read(LONGEST_ANSWER).decode(errors="replace").strip()
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", "") or error
        raise UnknownAddressError(f"{CHECK_URL} did not answer: {reason}") from error
    try:
        return ipaddress.ip_network(ipaddress.IPv4Address(text))  # the hosts have no others
    except ValueError as error:
        raise UnknownAddressError(f"{CHECK_URL} did not answer with an IPv4 address") from error


def find_local_address(toward: str) -> Network:
    """Return the address of this machine on its route to another IPv4 address; nothing is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((toward, 9))
            return ipaddress.ip_network(probe.getsockname()[0])
    except OSError as error:
        raise UnknownAddressError(f"this machine has no route to {toward}: {error.strerror or error}") from error
