"""iptables rules that are identified by a comment, and removal of unused tables."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterable, Sequence

from flambe_ansible.lab.system import run

TABLES = ("filter", "mangle", "nat")


def list_rules(mark: str) -> list[tuple[str, list[str]]]:
    """List the rules with a comment, as (table, arguments of -A)."""
    found = []
    for table in TABLES:
        for line in run("iptables-save", "-t", table).splitlines():
            words = shlex.split(line)
            if words[:1] == ["-A"] and ("--comment", mark) in itertools.pairwise(words):
                found.append((table, words))
    return found


def remove_rules(mark: str) -> None:
    """Remove the rules with a comment."""
    for table, words in list_rules(mark):
        run("iptables", "-w", "-t", table, "-D", *words[1:])


def add_rule(table: str, chain: str, rule: Sequence[str], mark: str, *, last: bool = False) -> None:
    """Add a rule with a comment, first or last in its chain."""
    run("iptables", "-w", "-t", table, "-A" if last else "-I", chain, *rule, "-m", "comment", "--comment", mark)


def list_tables() -> list[str]:
    """List the iptables tables in the kernel; iptables would create the tables that it reads."""
    found = json.loads(run("nft", "--json", "list", "tables"))["nftables"]
    tables = (entry["table"] for entry in found if "table" in entry)
    return sorted(table["name"] for table in tables if table["family"] == "ip" and table["name"] in TABLES)


def drop_empty_tables(kept: Iterable[str]) -> None:
    """Remove iptables tables without rules, except those to keep."""
    for table in set(list_tables()) - set(kept):
        lines = run("iptables-save", "-t", table).splitlines()
        chains = [line.split() for line in lines if line.startswith(":")]
        if any(line.startswith("-A") for line in lines) or any(words[1] != "ACCEPT" for words in chains):
            continue
        run("nft", "delete", "table", "ip", table)
