"""The fields that all clusters share.

Names, order and defaults follow flambé's ``flambe.cluster.AWSCluster``; fields that flambé does not have come last.
A test checks that ``docs/configuration.md`` shows the same tables.
"""

from __future__ import annotations

from dataclasses import replace

from flambe_ansible.validation import rules
from flambe_ansible.validation.checkout import flambe_checkout
from flambe_ansible.validation.keyfile import private_key
from flambe_ansible.validation.runtime_fields import NODE_FIELDS, RUNTIME
from flambe_ansible.validation.schema import Change, Field, Kind

NAME_FORM = "1 to 64 letters, digits, - and _, starting with a letter or a digit"

NAME = Field(
    name="name",
    expected=NAME_FORM,
    doc="The cluster's name. The hosts are called `<name>_orchestrator` and `<name>_factory_<i>`.",
    change=Change.OTHER_CLUSTER,
    required=True,
    rule=rules.form(rules.NAME),
)
FACTORIES_NUM = Field(
    name="factories_num",
    kind=Kind.INTEGER,
    expected="a whole number from 1 to 1000",
    doc="The number of factories. A factory with several GPUs runs several workers.",
    change_note="a larger number adds hosts; a smaller number removes none, with a warning",
    required=True,
    rule=rules.within(1, 1000),
)
KEY = Field(
    name="key",
    kind=Kind.PATH,
    expected="the path of a private SSH key that only you can read (mode 0600)",
    doc="Your private SSH key for all hosts. It is never copied to a host.",
    change_note="the hosts must accept the new key",
    required=True,
    rule=private_key,
)
USERNAME = Field(
    name="username",
    expected="a Linux user name",
    doc="The login user on all hosts. Must be able to use sudo without a password.",
    change_note="the user must exist on the hosts",
    default="ubuntu",
    rule=rules.form(rules.USER),
)
SETUP_CMDS = Field(
    name="setup_cmds",
    kind=Kind.COMMANDS,
    expected="a list of commands, one per line, each after a dash",
    doc="Bash commands that run in order on every host. They must be idempotent and get no input.",
    change_note="new and changed commands run again",
    rule=rules.commands,
)
EXTRA_FIELDS = (
    RUNTIME,
    Field(
        name="flambe_version",
        expected='a release of flambe, such as "0.4.18"',
        doc="The release of flambe to install on all hosts.",
        default_note="the version installed here, else 0.4.18",
        rule=rules.flambe_version,
    ),
    Field(
        name="flambe_source",
        kind=Kind.PATH,
        expected="the folder of a checkout of flambe, with pyproject.toml or setup.py",
        doc="A checkout of flambe to build here and install on all hosts, instead of `flambe_version`.",
        change_note="also when files in the checkout change",
        default_note="the checkout of an editable install of flambe, if there is one",
        rule=flambe_checkout,
    ),
    Field(
        name="use_public",
        kind=Kind.BOOLEAN,
        expected="true or false",
        doc="Whether to connect to the public addresses. Use false for VPNs and private subnets.",
        default=True,
    ),
    Field(
        name="strict_host_keys",
        kind=Kind.BOOLEAN,
        expected="true or false",
        doc="Whether to refuse hosts whose SSH key is not in their console output, instead of pinning the first key.",
        default=False,
    ),
    Field(
        name="setup_timeout",
        kind=Kind.NUMBER,
        expected="1 to 86400 seconds",
        doc="Time limit for each of `setup_cmds`, in seconds.",
        default=3600.0,
        rule=rules.within(1, 86_400),
    ),
    Field(
        name="install_timeout",
        kind=Kind.NUMBER,
        expected="1 to 86400 seconds",
        doc="Time limit for each command that installs packages, in seconds.",
        default=1800.0,
        rule=rules.within(1, 86_400),
    ),
    Field(
        name="expose_sites",
        kind=Kind.BOOLEAN,
        expected="true or false",
        doc="Whether TensorBoard and the report site are reachable from the network. They have no password. Ray's"
        " dashboard never is.",
        change_note="with the next submit; of `runtime: ray`, with the next launch",
        default=False,
    ),
    Field(
        name="answer_timeout",
        kind=Kind.NUMBER,
        expected="5 to 3600 seconds",
        doc="Seconds for a running host to accept a login, or to answer one query. Raise it for slow hosts.",
        default=60.0,
        rule=rules.within(5, 3600),
    ),
    Field(
        name="boot_timeout",
        kind=Kind.NUMBER,
        expected="5 to 3600 seconds",
        doc="Seconds from the start of a host until it accepts a login.",
        default_note="300; 600 for types with GPUs, 1800 for bare metal, p4 and newer",
        rule=rules.within(5, 3600),
    ),
    *NODE_FIELDS,
    Field(
        name="idle_cpu_percent",
        kind=Kind.NUMBER,
        expected="1 to 1000 percent of one CPU",
        doc="A host is idle only if its CPU use is below this, in percent of one CPU. Ray itself needs up to 15.",
        default=30.0,
        rule=rules.within(1, 1000),
    ),
    Field(
        name="idle_gpu_percent",
        kind=Kind.NUMBER,
        expected="1 to 100 percent",
        doc="A host is idle only if the use of each NVIDIA GPU, and of its memory, is below this, in percent.",
        default=5.0,
        rule=rules.within(1, 100),
    ),
    Field(
        name="idle_command",
        expected="one command for bash",
        doc="A check of your own, run on each host as `username` every minute: exit code 0 means that it is busy.",
        rule=rules.text(longest=4096),
    ),
    Field(
        name="nvidia_driver",
        expected="require, install or ignore",
        doc=(
            "Hosts with NVIDIA GPUs: `require` a working driver; `install` it from the distribution if there is none;"
            " `ignore` the GPUs, so that Ray has none."
        ),
        default="require",
        rule=rules.choice("require", "install", "ignore"),
        change_note="Ray may restart",
    ),
    Field(
        name="docker",
        kind=Kind.BOOLEAN,
        expected="true or false",
        doc="Whether to install Docker on all hosts: [Containers](containers.md).",
        change_note="false removes nothing",
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
