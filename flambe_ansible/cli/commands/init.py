"""``flambe-ans init``: write the file of a new cluster."""

from __future__ import annotations

import getpass
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.errors import ExistingFileError, LocalFileError
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.validation import Schema

KINDS = ("aws", "ssh", "lab")
FILE = "cluster.yaml"
SUFFIXES = (".yaml", ".yml")
KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")  # in ~/.ssh, as ssh tries them
EXAMPLE_HOSTS = ("10.0.0.10", "10.0.0.11")


@options.command(
    "flambe-ans init aws",
    "flambe-ans init aws gpu.yaml --name gpu --region eu-west-1",
    "flambe-ans init ssh 10.0.0.10 10.0.0.11 --user ubuntu --key ~/.ssh/rack",
    "flambe-ans init lab --lab other",
)
@click.argument("kind", metavar="[aws|ssh|lab]", default="", type=click.Choice(["", *KINDS]))
@click.argument("words", nargs=-1, metavar="[FILE] [HOST...]")
@click.option("--name", metavar="NAME", default="demo", show_default=True, help="Name of the cluster.")
@click.option("--region", "region_name", metavar="REGION", help="aws: the region. Default: that of your configuration.")
@click.option("--user", "username", metavar="USER", help="ssh: the login user on all hosts. Default: your own name.")
@click.option("--key", metavar="FILE", help="aws, ssh: the private key. Default for ssh: the first key in ~/.ssh.")
@click.option("--lab", "lab", metavar="NAME", help="lab: the name of the lab, if it is not `default`.")
@click.pass_obj
def init(output: Output, /, kind: str, words: tuple[str, ...], name: str, **given: str | None) -> None:
    """Write a commented file of a new cluster, by default cluster.yaml; an existing file is never changed.

    For `aws`, the subnets, security groups and key pairs of the account are offered; without a terminal or without
    credentials they stay comments. For `ssh`, the first HOST is the orchestrator, and the others are the factories.
    """
    kind = kind or _ask_kind(output)
    file, hosts = split_words(words)
    if hosts and kind != "ssh":
        raise click.UsageError(f"{' '.join(hosts)}: FILE must end with .yaml or .yml, and hosts are only for ssh")
    if file.exists() or file.is_symlink():
        raise ExistingFileError(f"{file} exists; nothing was written")
    values: dict[str, Any] = {"name": name, **{option: value for option, value in given.items() if value}}
    schema, head = _make(output, kind, values, hosts, file)
    write(file, schema, values, head)
    output.say(f"Wrote {file}.")
    if kind == "ssh" and not hosts:
        output.say(f"No hosts were given: replace the addresses {' and '.join(EXAMPLE_HOSTS)} in the file.")
    _say_next(output, file, verb="launch" if kind == "lab" else "doctor")


def _say_next(output: Output, file: Path, *, verb: str) -> None:
    from flambe_ansible.config.template import SCHEMA_FILE

    described = file.with_name(SCHEMA_FILE)
    if not described.exists():
        output.say_command(f"To complete fields in an editor: flambe-ans schema > {shlex.quote(str(described))}")
    output.say_command(f"next: flambe-ans {verb} {shlex.quote(str(file))}")


def split_words(words: tuple[str, ...]) -> tuple[Path, list[str]]:
    """Separate the file, which ends with .yaml or .yml, from the hosts."""
    files = [word for word in words if word.lower().endswith(SUFFIXES)]
    if len(files) > 1:
        raise click.UsageError(f"more than one FILE: {' '.join(files)}")
    return Path(files[0] if files else FILE), [word for word in words if word not in files]


def write(file: Path, schema: Schema, values: dict[str, Any], head: list[str]) -> None:
    """Check the values, and create the file unless it exists."""
    from flambe_ansible.config.template import write_template
    from flambe_ansible.validation import check_arguments

    check_arguments(schema, {field.name: values.get(field.name, field.default) for field in schema.fields})
    text = write_template(schema, values, head=head)
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise ExistingFileError(f"{file} exists; nothing was written") from error
    except OSError as error:
        raise LocalFileError(f"{file}: cannot write: {error.strerror}") from error


def _make(output: Output, kind: str, values: dict[str, Any], hosts: list[str], file: Path) -> tuple[Schema, list[str]]:
    """Complete the values of a kind; return its fields and the comment at the top."""
    from flambe_ansible.validation import AWS_CLUSTER, LAB_CLUSTER, SSH_CLUSTER

    schema = {"aws": AWS_CLUSTER, "ssh": SSH_CLUSTER, "lab": LAB_CLUSTER}[kind]
    unused = [name for name in values if name not in schema.by_name]
    if unused:
        option = unused[0].removesuffix("_name").replace("username", "user")
        raise click.UsageError(f"--{option} is not for {kind}")
    commands = [f"  flambe-ans {verb} {shlex.quote(str(file))}" for verb in ("launch", "status", "down")]
    if kind == "lab":
        values |= {"factories_num": 2}
        lab = f" --name {values['lab']}" if "lab" in values else ""
        return schema, ["A cluster in the lab on this machine.", "", f"  sudo flambe-ans lab up{lab}", *commands]
    if kind == "ssh":
        return schema, ["A cluster of existing hosts.", "", *commands[:2], *_complete_ssh(values, hosts)]
    values |= {
        "factories_num": 1,
        "factories_type": "t3.large",
        "orchestrator_type": "t3.small",
        "creator": getpass.getuser(),
    }
    _choose_resources(output, values)
    return schema, ["A cluster on AWS EC2.", "", *commands]


def _complete_ssh(values: dict[str, Any], hosts: list[str]) -> list[str]:
    """Add hosts, user and key; return lines for the comment."""
    if len(hosts) == 1:
        raise click.UsageError("one HOST is given; expected the orchestrator and at least one factory")
    values.setdefault("username", getpass.getuser())
    values["key"] = values.get("key") or find_key()
    values["orchestrator_ip"], *values["factories_ips"] = hosts or EXAMPLE_HOSTS
    return [] if hosts else ["", "The addresses are examples: replace them."]


def find_key() -> str:
    """Return the first of the user's private keys."""
    found = [f"~/.ssh/{name}" for name in KEYS if Path(f"~/.ssh/{name}").expanduser().is_file()]
    if not found:
        raise click.UsageError(f"there is no private key in ~/.ssh ({', '.join(KEYS)}); pass --key FILE")
    return found[0]


def _ask_kind(output: Output) -> str:
    from flambe_ansible.cli.choosing import choose

    about = ("EC2 instances", "hosts that exist, over SSH", "hosts on this machine, for trials")
    if not output.can_ask:
        raise click.UsageError(f"which kind of cluster: {', '.join(KINDS[:-1])} or {KINDS[-1]}?")
    rows = list(zip(KINDS, about, strict=True))
    return choose(output, "Kinds of clusters", rows, empty=KINDS[0]) or KINDS[0]


def _choose_resources(output: Output, values: dict[str, Any]) -> None:
    """Offer what the account has; say in one line why nothing is offered."""
    from flambe_ansible.errors import AWSError

    fields = "subnet_id, security_group and key_name are comments in the file"
    if not output.can_ask:
        output.say(f"There is no terminal for a choice: {fields}.")
        return
    try:
        _offer(output, values)
    except AWSError as error:
        output.say(f"Nothing can be offered, so {fields}: {error.message}.")


def _offer(output: Output, values: dict[str, Any]) -> None:
    from flambe_ansible.cli.choosing import choose
    from flambe_ansible.ec2 import offers, session, signin
    from flambe_ansible.ec2.clients import Clients
    from flambe_ansible.errors import AWSError

    clients = Clients(lambda: session.make_session(values.get("region_name")), lambda: None)
    if signin.read(clients.session) is None:
        raise AWSError("no AWS credentials are configured", hint=signin.REMEDY)
    subnets = offers.list_subnets(clients.ec2)
    groups = offers.list_groups(clients.ec2)
    pairs = offers.list_key_pairs(clients.ec2)
    where = f"of {clients.region}"
    rows = [(one.id, one.about) for one in subnets]
    subnet = choose(output, f"Subnets {where}", rows, empty="a default subnet, which the launch chooses")
    vpc = next((one.vpc_id for one in subnets if (one.id == subnet if subnet else one.default)), "")
    rows = [(one.id, one.about) for one in groups if one.vpc_id == vpc]
    group = choose(output, f"Security groups {where}", rows, empty="one that the launch makes")
    rows = [(one.id, one.about) for one in pairs]
    pair = choose(output, f"Key pairs {where}", rows, empty="one that the launch makes")
    values |= {name: value for name, value in (("subnet_id", subnet), ("security_group", group)) if value}
    if pair:
        public = next(one.public_key for one in pairs if one.id == pair)
        _choose_key(output, values, pair, public)


def _choose_key(output: Output, values: dict[str, Any], pair: str, public_key: str) -> None:
    """Find the private key of a key pair, or ask for it; without one the key pair is not used."""
    from flambe_ansible.validation.keyfile import private_key

    key = values.get("key") or find_private_key(public_key)
    if not key:
        output.console.print(f"Path of the private key of {pair}:", end=" ")
        output.console.file.flush()
        key = sys.stdin.readline().strip()
    flaws = private_key(key) if key else []
    if not key or flaws:
        why = f"key {flaws[0].message}" if flaws else "its private key is not known"
        output.say(f"{pair} is not used: {why}.")
        values.pop("key", None)
        return
    values |= {"key_name": pair, "key": key}


def find_private_key(public_key: str) -> str:
    """Return the file in ~/.ssh that holds the private half of a public key, or ""."""
    from flambe_ansible.validation.keyfile import read_public_key

    folder = Path("~/.ssh").expanduser()
    files = sorted(path for path in folder.iterdir() if path.is_file()) if public_key and folder.is_dir() else []
    keys = [path for path in files if path.suffix == ".pem" or path.with_name(f"{path.name}.pub").exists()]
    return next((f"~/.ssh/{path.name}" for path in keys if read_public_key(path) == public_key), "")
