"""The script that closes Ray's ports."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ray_firewall


def make(allowed: list[str], ports: list[int | str], unit: str = "flambe-ray.service") -> str:
    text: str = ray_firewall.script_text(unit, allowed, ports)
    return text


def run(folder: Path, text: str, tool: str, command: str) -> tuple[int, str]:
    """Run the script with stand-ins for the tools; return its exit code and what they were called with."""
    script = folder / "ray-firewall"
    script.write_text(text.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={folder}"))
    for name in (tool, f"{tool[:2]}6{tool[2:]}") if tool else ():
        (folder / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\ncase "$*" in *"-D INPUT"*) exit 1;; '
            f'"-f -") {"/bin/cat"} >> {folder}/calls;; esac\n'
        )
        (folder / name).chmod(0o755)
    done = subprocess.run(["/bin/sh", script, command], env={**os.environ}, capture_output=True, text=True, check=False)
    calls = folder / "calls"
    return done.returncode, (calls.read_text() if calls.exists() else "") + done.stderr


def test_nftables(tmp_path: Path) -> None:
    code, calls = run(tmp_path, make(["10.0.0.5", "10.1.0.0/16", "10.0.0.4"], [6379, "10002-19999"]), "nft", "start")
    assert code == 0
    assert "ip saddr { 10.0.0.4/32, 10.0.0.5/32, 10.1.0.0/16 } accept" in calls
    assert "tcp flags & (fin | syn | rst | ack) == syn tcp dport { 6379, 10002-19999 } reject with tcp reset" in calls
    assert calls.index("delete table inet flambe_ray") < calls.index("type filter hook input")


def test_iptables(tmp_path: Path) -> None:
    code, calls = run(tmp_path, make(["10.0.0.4", "fd00::1"], [6379, "10002-19999"]), "iptables", "start")
    assert code == 0
    assert "iptables -w -A FLAMBE-RAY -s 10.0.0.4/32 -j RETURN\n" in calls
    assert "ip6tables -w -A FLAMBE-RAY -s fd00::1/128 -j RETURN\n" in calls
    assert "iptables -w -A FLAMBE-RAY -p tcp --syn --dport 10002:19999 -j REJECT --reject-with tcp-reset\n" in calls
    assert calls.index("-A FLAMBE-RAY -i lo -j RETURN") < calls.index("-I INPUT 1 -j FLAMBE-RAY")


def test_two_units_on_a_host_have_their_own_table_and_chain(tmp_path: Path) -> None:
    other = make(["10.0.0.4"], [7379], unit="second.service")
    _, calls = run(tmp_path, other, "nft", "stop")
    [table] = {line.split()[-1] for line in calls.splitlines()}
    assert re.fullmatch(r"flambe_ray_[0-9a-f]{8}", table)
    (tmp_path / "nft").unlink()
    _, calls = run(tmp_path, other, "iptables", "start")
    chains = set(re.findall(r"FLAMBE-RAY\S*", calls))
    assert chains == {f"FLAMBE-RAY-{table[-8:].upper()}"}
    assert all(len(chain) <= 28 for chain in chains)  # the limit of iptables


@pytest.mark.parametrize("command", ["start", "stop", "check"])
def test_without_a_tool(tmp_path: Path, command: str) -> None:
    code, output = run(tmp_path, make(["10.0.0.4"], [6379]), "", command)
    assert code == 3
    assert output == "neither nft nor iptables is installed: Ray's ports are open to the network\n"


def test_allowed_addresses_are_read_back() -> None:
    text = make(["10.0.0.4", "10.1.0.0/16"], [6379])
    assert ray_firewall.read_allowed(text) == ["10.0.0.4/32", "10.1.0.0/16"]
    assert make(ray_firewall.read_allowed(text), [6379]) == text
    assert ray_firewall.read_allowed(None) == []
