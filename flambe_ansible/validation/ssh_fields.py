"""The fields of a cluster of hosts that are there already; flambé's ``flambe.cluster.SSHCluster`` has the first six."""

from __future__ import annotations

from dataclasses import replace

from flambe_ansible.validation import fields, rules, ssh_rules
from flambe_ansible.validation.addresses import FORM
from flambe_ansible.validation.cross import FLAMBE_RULE, RUNTIME_RULES
from flambe_ansible.validation.schema import Change, Field, Kind, Schema

ORCHESTRATOR_IP = Field(
    name="orchestrator_ip",
    kind=Kind.ADDRESS,
    expected=f"{FORM}; or [public, private]",
    doc="Where the orchestrator is. Of a pair the first is for this machine, the second for the other hosts and Ray.",
    change=Change.OTHER_CLUSTER,
    required=True,
    rule=ssh_rules.place,
)
FACTORIES_IPS = Field(
    name="factories_ips",
    kind=Kind.ADDRESSES,
    expected="a list of addresses, each as orchestrator_ip",
    doc="Where the factories are; their number is the length of this list.",
    change=Change.IN_PLACE,
    change_note="hosts that are added join; Ray goes on on those that are taken out until you stop it there",
    required=True,
    rule=ssh_rules.places,
)
PORT = Field(
    name="port",
    kind=Kind.INTEGER,
    expected="a port from 1 to 65535",
    doc="The port of sshd on hosts whose address names none.",
    change=Change.IN_PLACE,
    default=22,
    rule=rules.within(1, 65_535),
)
PROXY_JUMP = Field(
    name="proxy_jump",
    kind=Kind.STRING,
    expected="a bastion: [user@]host[:port], several separated by commas",
    doc="The bastion through which this machine reaches the hosts, as ssh's ProxyJump.",
    change=Change.IN_PLACE,
    default_note="what your ~/.ssh/config says for each address",
    rule=ssh_rules.jump,
)
HOST_KEYS = Field(
    name="host_keys",
    kind=Kind.HOST_KEYS,
    expected="a mapping of addresses to public keys, one or a list",
    doc="The SSH host keys of hosts and bastion; no others are believed of an address that stands here.",
    change=Change.IN_PLACE,
    default_note="what your known_hosts says for each address",
    rule=ssh_rules.host_keys,
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
        *(
            replace(one, doc="Refuse a host whose SSH key neither `host_keys` nor your known_hosts tell.")
            if one.name == "strict_host_keys"
            else one
            for one in fields.EXTRA_FIELDS
        ),
    ),
    cross_rules=(ssh_rules.HOSTS_RULE, ssh_rules.KEYS_RULE, FLAMBE_RULE, *RUNTIME_RULES),
    refused={"factories_num": "is the number of factories_ips"},
)
