"""The fields of each kind of cluster: the one place that says what may stand in a configuration.

Names, order and defaults follow flambé's ``flambe.cluster.AWSCluster``; what flambé does not have comes last.
``docs/configuration.md`` shows these tables, and a test holds it to them.
"""

from __future__ import annotations

from dataclasses import replace

from flambe_ansible.validation import rules
from flambe_ansible.validation.checkout import flambe_checkout
from flambe_ansible.validation.cross import (
    FLAMBE_RULE,
    GP2_IO1_LARGEST,
    GP3_LARGEST,
    IO1_SMALLEST,
    LONGEST_TIMEOUT,
    NEVER,
    RUNTIME_RULES,
    TIMEOUTS_RULE,
    VOLUME_RULE,
    VOLUME_TYPES,
)
from flambe_ansible.validation.keyfile import private_key
from flambe_ansible.validation.schema import Change, Field, Kind, Schema
from flambe_ansible.validation.tags import MAX_TAGS, tags

_HOURS = f"-1 (never), 0 (after five idle minutes) or 1 to {LONGEST_TIMEOUT} whole hours"
_TYPE = "an EC2 instance type such as t3.large"
_AMI = "an image id such as ami-0123456789abcdef0"
NAME_FORM = "1 to 64 characters: letters, digits, - and _, the first a letter or a digit"


NAME = Field(
    name="name",
    kind=Kind.STRING,
    expected=NAME_FORM,
    doc="The cluster's name; its hosts are `<name>_orchestrator` and `<name>_factory_<i>`.",
    change=Change.OTHER_CLUSTER,
    required=True,
    rule=rules.form(rules.NAME),
)
FACTORIES_NUM = Field(
    name="factories_num",
    kind=Kind.INTEGER,
    expected="a whole number from 1 to 1000",
    doc="How many factories there are; each may have several GPUs and with them several workers.",
    change=Change.IN_PLACE,
    change_note="a larger number adds hosts; a smaller one changes nothing and says so",
    required=True,
    rule=rules.within(1, 1000),
)
KEY = Field(
    name="key",
    kind=Kind.PATH,
    expected="the path of a private SSH key that only you can read (mode 0600)",
    doc="Your private SSH key, the same for all hosts; it is never copied to a host.",
    change=Change.IN_PLACE,
    change_note="as long as the hosts know the key",
    required=True,
    rule=private_key,
)
USERNAME = Field(
    name="username",
    kind=Kind.STRING,
    expected="a Linux user name",
    doc="The user to log in as, the same on all hosts; needs sudo without a password.",
    change=Change.IN_PLACE,
    change_note="the user must be there",
    default="ubuntu",
    rule=rules.form(rules.USER),
)
SETUP_CMDS = Field(
    name="setup_cmds",
    kind=Kind.COMMANDS,
    expected="a list of commands, each a line of text after a dash",
    doc="Commands for bash, run in order on every host; idempotent, without input.",
    change=Change.IN_PLACE,
    change_note="run again where they are new or changed",
    rule=rules.commands,
)
RUNTIMES = ("flambe", "none")  # the names that runtimes.make_runtime takes
EXTRA_FIELDS = (
    Field(
        name="runtime",
        kind=Kind.STRING,
        expected=" or ".join(RUNTIMES),
        doc="What the hosts get installed: flambe with its Ray, or nothing (`none`: keys, setup commands and secrets).",
        change=Change.IN_PLACE,
        change_note="a runtime that is installed already is not removed",
        default="flambe",
        rule=rules.choice(*RUNTIMES),
    ),
    Field(
        name="flambe_version",
        kind=Kind.STRING,
        expected='one release of flambe, such as "0.4.18"',
        doc="The release of flambe that every host gets.",
        change=Change.IN_PLACE,
        default_note="the flambe installed here, else 0.4.18",
        rule=rules.flambe_version,
    ),
    Field(
        name="flambe_source",
        kind=Kind.PATH,
        expected="the folder of a checkout of flambe, with its pyproject.toml or setup.py",
        doc="A checkout of flambe that is built here and that every host gets, instead of `flambe_version`.",
        change=Change.IN_PLACE,
        change_note="so is what changed in the checkout",
        default_note="the checkout, where flambe is an editable install here",
        rule=flambe_checkout,
    ),
    Field(
        name="use_public",
        kind=Kind.BOOLEAN,
        expected="true or false",
        doc="Whether to connect to public addresses; false for VPNs and private subnets.",
        change=Change.IN_PLACE,
        default=True,
    ),
    Field(
        name="strict_host_keys",
        kind=Kind.BOOLEAN,
        expected="true or false",
        doc="Refuse a host whose SSH key no console output tells, instead of keeping the first key seen.",
        change=Change.IN_PLACE,
        default=False,
    ),
    Field(
        name="setup_timeout",
        kind=Kind.NUMBER,
        expected="1 to 86400 seconds",
        doc="Seconds that one of `setup_cmds` may take.",
        change=Change.IN_PLACE,
        default=3600.0,
        rule=rules.within(1, 86_400),
    ),
    Field(
        name="expose_sites",
        kind=Kind.BOOLEAN,
        expected="true or false",
        doc=(
            "Whether TensorBoard and the report site listen for everybody who reaches the orchestrator; no password "
            "guards them."
        ),
        change=Change.IN_PLACE,
        change_note="at the next submit",
        default=False,
    ),
)
BASE_FIELDS = (
    NAME,
    FACTORIES_NUM,
    KEY,
    replace(USERNAME, required=True, default=None),
    SETUP_CMDS,
    *EXTRA_FIELDS,
)

TYPES = (
    Field(
        name="factories_type",
        kind=Kind.STRING,
        expected=_TYPE,
        doc="The instance type of the factories: x86_64; torch 1.3 knows GPUs up to CUDA 10.1 (p2, p3, g3, g4dn).",
        change=Change.NEW_HOSTS,
        required=True,
        rule=rules.form(rules.INSTANCE_TYPE, hint=" "),
    ),
    Field(
        name="orchestrator_type",
        kind=Kind.STRING,
        expected=_TYPE,
        doc="The instance type of the orchestrator; it needs no GPU. At least t2.small.",
        change=Change.NEW_HOSTS,
        required=True,
        rule=rules.form(rules.INSTANCE_TYPE, hint=" "),
    ),
)
CREATOR = Field(
    name="creator",
    kind=Kind.STRING,
    expected="1 to 256 characters, such as your mail address",
    doc="Who you are: the tag `creator`, by which the cluster's hosts are found again.",
    change=Change.OTHER_CLUSTER,
    required=True,
    rule=rules.text(longest=256),
)
NETWORK = (
    Field(
        name="key_name",
        kind=Kind.STRING,
        expected="the name of a key pair on EC2, 1 to 255 characters",
        doc="The EC2 key pair whose private half is `key`.",
        change=Change.NEW_HOSTS,
        required=True,
        rule=rules.text(longest=255),
    ),
    Field(
        name="security_group",
        kind=Kind.STRING,
        expected="a security group's id such as sg-0987654321",
        doc="The security group; it must let you in on port 22 and its members reach each other.",
        change=Change.NEW_HOSTS,
        required=True,
        rule=rules.form(rules.SECURITY_GROUP, hint="sg-"),
    ),
    Field(
        name="subnet_id",
        kind=Kind.STRING,
        expected="a subnet's id such as subnet-0123456789abcdef0",
        doc="The subnet of all hosts.",
        change=Change.NEW_HOSTS,
        required=True,
        rule=rules.form(rules.SUBNET, hint="subnet-"),
    ),
)
VOLUME_TYPE = Field(
    name="volume_type",
    kind=Kind.STRING,
    expected="gp2, io1 or gp3",
    doc="The type of the root volume; io1 gets 5000 IOPS and costs far more.",
    change=Change.NEW_HOSTS,
    default="gp2",
    rule=rules.choice(*VOLUME_TYPES),
)
REGION = Field(
    name="region_name",
    kind=Kind.STRING,
    expected="an AWS region such as us-east-1",
    doc="The AWS region.",
    change=Change.OTHER_CLUSTER,
    default_note="that of the local AWS configuration, else us-east-1",
    rule=rules.region,
)
TAGS = Field(
    name="tags",
    kind=Kind.TAGS,
    expected=f"a mapping of text to text, at most {MAX_TAGS} tags",
    doc="More tags for all hosts and volumes.",
    change=Change.IN_PLACE,
    change_note="tags are added and renewed, never removed",
    rule=tags,
)
IMAGES = tuple(
    Field(
        name=f"{role}_ami",
        kind=Kind.STRING,
        expected=_AMI,
        doc=f"The image of {hosts}.",
        change=Change.NEW_HOSTS,
        default_note=note,
        rule=rules.form(rules.IMAGE, hint="ami-"),
    )
    for role, hosts, note in (
        ("orchestrator", "the orchestrator", "the newest Ubuntu LTS"),
        ("factory", "the factories", "the newest Ubuntu LTS, with NVIDIA's driver where the type has GPUs"),
    )
)
DEDICATED = Field(
    name="dedicated",
    kind=Kind.BOOLEAN,
    expected="true or false",
    doc="Whether the hosts run on hardware of your own.",
    change=Change.NEW_HOSTS,
    default=False,
)
TIMEOUTS = tuple(
    Field(
        name=f"{hosts}_timeout",
        kind=Kind.INTEGER,
        expected=_HOURS,
        doc=f"Idle hours after which {label} terminated; -1 is never, 0 is after five idle minutes.{more}",
        change=Change.IN_PLACE,
        change_note="each launch sets the clock anew",
        default=default,
        rule=rules.within(NEVER, LONGEST_TIMEOUT),
    )
    for hosts, label, more, default in (
        ("orchestrator", "the orchestrator is", " Not shorter than the factories'.", -1),
        ("factories", "the factories are", "", 1),
    )
)
VOLUME_SIZE = Field(
    name="volume_size",
    kind=Kind.INTEGER,
    expected=f"a whole number of GB from 8 to {GP2_IO1_LARGEST} ({GP3_LARGEST} for gp3; io1 at least {IO1_SMALLEST})",
    doc="GB of disk of every host; at least what the image has.",
    change=Change.NEW_HOSTS,
    default=100,
    rule=rules.within(8, GP3_LARGEST),
)
AWS_CLUSTER = Schema(
    tag="!AWSCluster",
    fields=(
        NAME,
        FACTORIES_NUM,
        *TYPES,
        *NETWORK,
        CREATOR,
        KEY,
        VOLUME_TYPE,
        REGION,
        USERNAME,
        TAGS,
        *IMAGES,
        DEDICATED,
        *TIMEOUTS,
        VOLUME_SIZE,
        SETUP_CMDS,
        *EXTRA_FIELDS,
    ),
    cross_rules=(TIMEOUTS_RULE, VOLUME_RULE, FLAMBE_RULE, *RUNTIME_RULES),
)
