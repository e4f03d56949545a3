"""The firewall of Ray's ports on a host, as text: only the hosts of the cluster reach them."""

from __future__ import annotations

import hashlib
import ipaddress
import re

UNIT = "flambe-ray.service"  # the default; its table and chain have no suffix
_ALLOWED = re.compile(r"^# allowed: (.*)$", re.M)

_SCRIPT = """#!/bin/sh
# Let only the hosts of the cluster reach Ray's ports. Written by flambe.cluster.ray_node; edits are lost.
# allowed: {allowed}
PATH=/usr/sbin:/usr/bin:/sbin:/bin
start_nft() {{
  nft -f - <<'END'
table inet {table}
delete table inet {table}
table inet {table} {{
  chain input {{
    type filter hook input priority -10; policy accept;
    iif lo accept
{accept}    tcp flags & (fin | syn | rst | ack) == syn tcp dport {{ {ports} }} reject with tcp reset
  }}
}}
END
}}
start_iptables() {{
  stop_iptables
  for command in iptables ip6tables; do
    $command -w -N {chain} || return 1
    $command -w -A {chain} -i lo -j RETURN
  done
{returns}  for ports in {words}; do
    for command in iptables ip6tables; do
      $command -w -A {chain} -p tcp --syn --dport "$ports" -j REJECT --reject-with tcp-reset || return 1
    done
  done
  for command in iptables ip6tables; do $command -w -I INPUT 1 -j {chain} || return 1; done
}}
stop_iptables() {{
  for command in iptables ip6tables; do
    while $command -w -D INPUT -j {chain}; do :; done
    $command -w -F {chain}
    $command -w -X {chain}
  done 2>/dev/null
  return 0
}}
if command -v nft >/dev/null; then tool=nft
elif command -v iptables >/dev/null; then tool=iptables
else echo "neither nft nor iptables is installed: Ray's ports are open to the network" >&2; exit 3; fi
case "$tool $1" in
  "nft start") start_nft ;;
  "nft stop") nft delete table inet {table} 2>/dev/null || : ;;
  "nft check") nft list table inet {table} >/dev/null 2>&1 ;;
  "iptables start") start_iptables ;;
  "iptables stop") stop_iptables ;;
  "iptables check") iptables -w -C INPUT -j {chain} 2>/dev/null ;;
  *) echo "usage: $0 start | stop | check" >&2; exit 2 ;;
esac
"""


def script_text(unit, allowed, ports):
    """Write the script that closes ``ports`` (numbers or ``first-last``) except for loopback and these addresses.

    Each unit on a host has its own table (nftables) or chain (iptables).
    """
    suffix = "" if unit == UNIT else hashlib.sha256(unit.encode()).hexdigest()[:8]
    table, chain = ("flambe_ray_" + suffix).rstrip("_"), ("FLAMBE-RAY-" + suffix.upper()).rstrip("-")
    known = sorted({str(ipaddress.ip_network(one, strict=False)) for one in allowed})
    families = {4: [one for one in known if ":" not in one], 6: [one for one in known if ":" in one]}
    accept = "".join(
        "    {} saddr {{ {} }} accept\n".format("ip" if family == 4 else "ip6", ", ".join(found))
        for family, found in families.items()
        if found
    )
    returns = "".join(
        "  {} -w -A {} -s {} -j RETURN || return 1\n".format("iptables" if family == 4 else "ip6tables", chain, one)
        for family, found in families.items()
        for one in found
    )
    return _SCRIPT.format(
        allowed=" ".join(known),
        table=table,
        chain=chain,
        accept=accept,
        returns=returns,
        ports=", ".join(map(str, ports)),
        words=" ".join(str(one).replace("-", ":") for one in ports),
    )


def read_allowed(text):
    """Return the addresses that a script allows."""
    match = _ALLOWED.search(text or "")
    return match.group(1).split() if match else []
