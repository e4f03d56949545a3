"""The fields of AWS clusters, some of which clusters in the lab and of existing hosts share."""

from __future__ import annotations

from dataclasses import replace

from flambe_ansible.validation import rules
from flambe_ansible.validation.cross import (
    BUDGET_RULE,
    CAPACITY_RULES,
    FLAMBE_RULE,
    GP2_IO1_LARGEST,
    GP3_LARGEST,
    IO1_SMALLEST,
    KEY_RULES,
    LONGEST_TIMEOUT,
    NEVER,
    RUNTIME_RULES,
    SOURCES_RULE,
    TIMEOUTS_RULE,
    VOLUME_RULE,
    VOLUME_TYPES,
)
from flambe_ansible.validation.fields import EXTRA_FIELDS, FACTORIES_NUM, KEY, NAME, SETUP_CMDS, USERNAME
from flambe_ansible.validation.schema import Change, Field, Kind, Schema
from flambe_ansible.validation.tags import MAX_TAGS, tags

_HOURS = f"-1 (never), 0 (after five idle minutes) or whole hours from 1 to {LONGEST_TIMEOUT}"

TYPES = tuple(
    Field(
        name=name,
        expected="an EC2 instance type such as t3.large",
        doc=f"The instance type of {hosts}",
        change=Change.NEW_HOSTS,
        required=True,
        rule=rules.form(rules.INSTANCE_TYPE, hint=" "),
    )
    for name, hosts in (
        (
            "factories_type",
            "the factories, unless `factories_types` is set: x86_64, or arm64 with runtime ray. flambe supports GPUs up"
            " to the T4 of g4dn.",
        ),
        ("orchestrator_type", "the orchestrator: x86_64, or arm64 with runtime ray; at least t2.small, no GPU needed."),
    )
)
CREATOR = Field(
    name="creator",
    expected="1 to 256 characters, such as your email address",
    doc="The owner of the cluster, stored in the tag `creator`. Hosts are found by this tag.",
    change=Change.OTHER_CLUSTER,
    required=True,
    rule=rules.text(longest=256),
)
OWN = "one that the launch makes for the cluster, and `down` deletes"
NETWORK = (
    Field(
        name="key_name",
        expected="the name of an EC2 key pair, 1 to 255 characters",
        doc="The EC2 key pair whose private half is `key`.",
        change=Change.NEW_HOSTS,
        default_note=OWN,
        rule=rules.text(longest=255),
    ),
    Field(
        name="security_group",
        expected="a security group id such as sg-0987654321",
        doc="The security group. It must allow SSH (port 22) from you and all traffic among its members.",
        change=Change.NEW_HOSTS,
        default_note=OWN,
        rule=rules.form(rules.SECURITY_GROUP, hint="sg-"),
    ),
    Field(
        name="subnet_id",
        expected="a subnet id such as subnet-0123456789abcdef0",
        doc="The subnet of all hosts.",
        change=Change.NEW_HOSTS,
        default_note="a default subnet in a zone that offers the types",
        rule=rules.form(rules.SUBNET, hint="subnet-"),
    ),
)
SSH_SOURCES = Field(
    name="ssh_sources",
    kind=Kind.ADDRESSES,
    expected="a list of networks such as 203.0.113.0/24",
    doc="The networks from which SSH is allowed, if the cluster has its own security group.",
    default_note="the address of this machine, asked from checkip.amazonaws.com",
    rule=rules.networks,
)
VOLUME_TYPE = Field(
    name="volume_type",
    expected="gp2, io1 or gp3",
    doc="The type of the root volume. io1 gets 5000 IOPS and costs much more.",
    change=Change.NEW_HOSTS,
    default="gp2",
    rule=rules.choice(*VOLUME_TYPES),
)
REGION = Field(
    name="region_name",
    expected="an AWS region such as us-east-1",
    doc="The AWS region.",
    change=Change.OTHER_CLUSTER,
    default_note="the region of your AWS configuration, else us-east-1",
    rule=rules.region,
)
TAGS = Field(
    name="tags",
    kind=Kind.TAGS,
    expected=f"a mapping of text to text, at most {MAX_TAGS} tags",
    doc="Additional tags for all hosts and volumes.",
    change_note="tags are added and updated, never removed",
    rule=tags,
)
COSTS = (
    Field(
        name="max_price_per_hour",
        kind=Kind.NUMBER,
        expected="a price in US dollars, above 0",
        doc="What all hosts may cost per hour, with their disks: a launch that exceeds it is refused.",
        default_note="no limit",
        rule=rules.within(0.0001, 1_000_000),
    ),
    Field(
        name="budget",
        kind=Kind.NUMBER,
        expected="an amount in US dollars, above 0",
        doc="What the cluster may cost. When it is used up, all hosts power themselves off, also busy ones:"
        " [Budget](idle-shutdown.md#budget).",
        change_note="the next launch moves the end",
        default_note="no limit",
        rule=rules.within(0.0001, 1_000_000),
    ),
)
IMAGES = tuple(
    Field(
        name=f"{role}_ami",
        expected="an image id such as ami-0123456789abcdef0",
        doc=f"The AMI of {hosts}.",
        change=Change.NEW_HOSTS,
        default_note=note,
        rule=rules.form(rules.IMAGE, hint="ami-"),
    )
    for role, hosts, note in (
        ("orchestrator", "the orchestrator", "the newest Ubuntu LTS"),
        ("factory", "the factories", "the newest Ubuntu LTS; with the NVIDIA driver if the type has GPUs"),
    )
)
DEDICATED = Field(
    name="dedicated",
    kind=Kind.BOOLEAN,
    expected="true or false",
    doc="Whether the hosts run on dedicated hardware.",
    change=Change.NEW_HOSTS,
    default=False,
)
TIMEOUTS = tuple(
    Field(
        name=f"{hosts}_timeout",
        kind=Kind.INTEGER,
        expected=_HOURS,
        doc=f"Idle hours after which {label} shut{s} down: [Automatic shutdown](idle-shutdown.md).{more}",
        change_note="each launch restarts the idle time",
        default=default,
        rule=rules.within(NEVER, LONGEST_TIMEOUT),
    )
    for hosts, label, s, more, default in (
        ("orchestrator", "the orchestrator", "s", " Must not be shorter than `factories_timeout`.", -1),
        ("factories", "the factories", "", "", 1),
    )
)
VOLUME_SIZE = Field(
    name="volume_size",
    kind=Kind.INTEGER,
    expected=f"a whole number of GB from 8 to {GP2_IO1_LARGEST} ({GP3_LARGEST} for gp3; io1 at least {IO1_SMALLEST})",
    doc="The root volume of each host, in GB. At least the size of the image.",
    change=Change.NEW_HOSTS,
    default=100,
    rule=rules.within(8, GP3_LARGEST),
)
INSTEAD = {"factories_type": "factories_types"}
CAPACITY = (
    Field(
        name="factories_types",
        kind=Kind.ADDRESSES,
        expected="a list of EC2 instance types, such as [g5.xlarge, g4dn.xlarge]",
        doc="Instead of `factories_type`: the types of the factories. The next one is used when capacity, quota or"
        " price is missing for one.",
        change=Change.NEW_HOSTS,
        rule=rules.choices(rules.form(rules.INSTANCE_TYPE, hint=" ")),
    ),
    Field(
        name="subnet_ids",
        kind=Kind.ADDRESSES,
        expected="a list of subnet ids of one VPC, such as [subnet-0123456789abcdef0, subnet-0fedcba9876543210]",
        doc="Instead of `subnet_id`: the subnets of the hosts. The next one is used when its zone has no capacity.",
        change=Change.NEW_HOSTS,
        rule=rules.choices(rules.form(rules.SUBNET, hint="subnet-")),
    ),
    Field(
        name="min_factories",
        kind=Kind.INTEGER,
        expected="a whole number from 1 to factories_num",
        doc="The launch succeeds with this many factories if there is no capacity for all of them.",
        change_note="each launch tries to create the missing ones",
        default_note="factories_num",
        rule=rules.within(1, 1000),
    ),
    Field(
        name="factories_spot",
        kind=Kind.ANY,
        expected="true, false, or a mapping with max_price, such as {max_price: 0.5}",
        doc="Whether the factories are Spot Instances. AWS may terminate them at any time; the next launch creates them"
        " anew.",
        change=Change.NEW_HOSTS,
        default=False,
        rule=rules.spot,
        options=(
            Field(
                name="max_price",
                kind=Kind.NUMBER,
                expected="0.001 to 1000 USD",
                doc="The highest price of one factory per hour, in USD. With it, AWS interrupts more often.",
                change=Change.NEW_HOSTS,
                default_note="the On-Demand price",
                rule=rules.within(0.001, 1000),
            ),
        ),
    ),
)
AWS_CLUSTER = Schema(
    tag="!AWSCluster",
    fields=(
        NAME,
        FACTORIES_NUM,
        *TYPES,
        *NETWORK,
        CREATOR,
        replace(KEY, required=False, default_note=OWN),
        VOLUME_TYPE,
        REGION,
        USERNAME,
        TAGS,
        *IMAGES,
        DEDICATED,
        *TIMEOUTS,
        VOLUME_SIZE,
        SETUP_CMDS,
        SSH_SOURCES,
        *COSTS,
        *CAPACITY,
        *EXTRA_FIELDS,
    ),
    cross_rules=(
        TIMEOUTS_RULE,
        BUDGET_RULE,
        VOLUME_RULE,
        *KEY_RULES,
        SOURCES_RULE,
        *CAPACITY_RULES,
        FLAMBE_RULE,
        *RUNTIME_RULES,
    ),
    instead=INSTEAD,
)
