"""The fields of a cluster of existing hosts; the first six are those of flambé's ``flambe.cluster.SSHCluster``."""

from __future__ import annotations

from dataclasses import replace

from flambe_ansible.validation import aws_fields, fields, rules, ssh_rules
from flambe_ansible.validation.addresses import FORM
from flambe_ansible.validation.cross import FLAMBE_RULE, RUNTIME_RULES, TIMEOUTS_RULE
from flambe_ansible.validation.schema import Change, Field, Kind, Schema

ORCHESTRATOR_IP = Field(
    name="orchestrator_ip",
    kind=Kind.ADDRESS,
    expected=f"{FORM}; or a pair [public, private]",
    doc="The orchestrator's address. In a pair, the first address is for this machine, the second for the other hosts.",
    change=Change.OTHER_CLUSTER,
    required=True,
    rule=ssh_rules.place,
)
FACTORIES_IPS = Field(
    name="factories_ips",
    kind=Kind.ADDRESSES,
    expected="a list of addresses, each in the form of orchestrator_ip",
    doc="The factories' addresses. The length of the list is the number of factories.",
    change_note="new hosts are added; on removed hosts Ray keeps running until you stop it there",
    required=True,
    rule=ssh_rules.places,
)
PORT = Field(
    name="port",
    kind=Kind.INTEGER,
    expected="a port from 1 to 65535",
    doc="The SSH port of hosts whose address has none.",
    default=22,
    rule=rules.within(1, 65_535),
)
PROXY_JUMP = Field(
    name="proxy_jump",
    expected="a bastion as [user@]host[:port]; several hops are separated by commas",
    doc="The bastion between this machine and the hosts, as ssh's ProxyJump; `none` is a direct connection.",
    default_note="the ProxyJump for the address in ~/.ssh/config",
    rule=ssh_rules.jump,
)
HOST_KEYS = Field(
    name="host_keys",
    kind=Kind.HOST_KEYS,
    expected="a mapping from addresses to a public key or a list of keys",
    doc="The SSH host keys of hosts and bastion. For an address listed here, no other key is accepted.",
    default_note="the keys for the address in your known_hosts",
    rule=ssh_rules.host_keys,
)
TIMEOUTS = tuple(
    replace(
        one,
        default=-1,
        doc=one.doc.replace("shuts down", "is powered off").replace("shut down", "are powered off"),
    )
    for one in aws_fields.TIMEOUTS
)
SSH_CLUSTER = Schema(
    tag="!SSHCluster",
    fields=(
        fields.NAME,
        ORCHESTRATOR_IP,
        FACTORIES_IPS,
        fields.KEY,
        replace(fields.USERNAME, required=True, default=None),
        fields.SETUP_CMDS,
        PORT,
        PROXY_JUMP,
        HOST_KEYS,
        *TIMEOUTS,
        *(
            replace(one, doc="Whether to refuse hosts whose SSH key is neither in `host_keys` nor in your known_hosts.")
            if one.name == "strict_host_keys"
            else one
            for one in fields.EXTRA_FIELDS
        ),
    ),
    cross_rules=(ssh_rules.HOSTS_RULE, ssh_rules.KEYS_RULE, TIMEOUTS_RULE, FLAMBE_RULE, *RUNTIME_RULES),
    refused={
        "factories_num": "is the length of factories_ips",
        **dict.fromkeys(
            (one.name for one in aws_fields.COSTS), "needs hosts with prices, and those of !SSHCluster have none"
        ),
    },
)
