"""The fields of a cluster in the lab: the fields of AWS clusters that the lab does not set itself."""

from __future__ import annotations

from dataclasses import replace

from flambe_ansible.validation import aws_fields, fields, rules
from flambe_ansible.validation.cross import BUDGET_RULE, CAPACITY_RULES, FLAMBE_RULE, RUNTIME_RULES, TIMEOUTS_RULE
from flambe_ansible.validation.schema import Change, Field, Schema

FROM_THE_LAB = (
    "key",
    "key_name",
    "security_group",
    "subnet_id",
    "subnet_ids",
    "ssh_sources",
    "region_name",
    "username",
    "volume_type",
    "dedicated",
    "use_public",
)

LAB = Field(
    name="lab",
    expected=fields.NAME_FORM,
    doc="The lab that the hosts are created in: the name given to `flambe-ans lab up --name`.",
    change=Change.OTHER_CLUSTER,
    default="default",
    rule=rules.form(rules.NAME),
)

LAB_CLUSTER = Schema(
    tag="!LabCluster",
    fields=(
        fields.NAME,
        replace(fields.FACTORIES_NUM, required=False, default=1),
        LAB,
        replace(aws_fields.TYPES[0], required=False, default_note="t3.small"),
        replace(aws_fields.TYPES[1], required=False, default="t3.small"),
        replace(aws_fields.CREATOR, required=False, default_note="your user name on this machine"),
        aws_fields.TAGS,
        *aws_fields.TIMEOUTS,
        replace(
            aws_fields.VOLUME_SIZE,
            doc="The volume size that the lab reports, in GB. The hosts share this machine's disk.",
        ),
        fields.SETUP_CMDS,
        *(replace(one, default_note="the lab's own image") for one in aws_fields.IMAGES),
        *aws_fields.COSTS,
        *(one for one in (*aws_fields.CAPACITY, *fields.EXTRA_FIELDS) if one.name not in FROM_THE_LAB),
    ),
    cross_rules=(TIMEOUTS_RULE, BUDGET_RULE, *CAPACITY_RULES, FLAMBE_RULE, *RUNTIME_RULES),
    refused=dict.fromkeys(FROM_THE_LAB, "is set by the lab"),
)
