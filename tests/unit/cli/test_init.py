"""``flambe-ans init``: the files that it writes, what it offers, and what it refuses."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from flambe_ansible.cli.output import Output
from flambe_ansible.cluster.loading import load_cluster
from flambe_ansible.ec2 import session
from flambe_ansible.errors import AWSError
from flambe_ansible.validation import AWS_CLUSTER, LAB_CLUSTER, SSH_CLUSTER, Schema
from tests.unit.aws_account import account, aws_session, no_pauses
from tests.unit.cli.conftest import Run
from tests.unit.ec2.support import REGION, Account
from tests.unit.keys import private_key

__all__ = ["account", "aws_session", "no_pauses"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the current folder the home folder, with a private key."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_rsa").write_text(private_key())
    (tmp_path / ".ssh/id_rsa").chmod(0o600)
    return tmp_path


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sets the answers on a terminal."""

    def set_answers(*lines: str) -> None:
        monkeypatch.setattr(Output, "can_ask", property(lambda _self: True))
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return set_answers


@pytest.mark.parametrize(
    ("argv", "schema", "expected"),
    [
        (["aws", "--name", "one"], AWS_CLUSTER, {"name": "one", "factories_num": 1, "subnet_id": None}),
        (["ssh"], SSH_CLUSTER, {"orchestrator_ip": "10.0.0.10", "factories_ips": ["10.0.0.11"]}),
        (
            ["ssh", "h1:2222", "10.0.0.2", "10.0.0.3", "--user", "me"],
            SSH_CLUSTER,
            {"orchestrator_ip": "h1:2222", "factories_ips": ["10.0.0.2", "10.0.0.3"], "username": "me"},
        ),
        (["lab", "--lab", "other"], LAB_CLUSTER, {"lab": "other", "factories_num": 2, "name": "demo"}),
    ],
)
def test_the_file_loads_and_names_every_field(
    run: Run, argv: list[str], schema: Schema, expected: dict[str, Any]
) -> None:
    done = run("init", *argv)
    assert (done.code, done.stderr) == (0, "")
    assert "Wrote cluster.yaml." in done.stdout.splitlines()
    cluster = load_cluster("cluster.yaml")
    assert f"!{type(cluster).__name__}" == schema.tag
    assert {name: getattr(cluster, name) for name in expected} == expected
    text = Path("cluster.yaml").read_text()
    for field in schema.fields:
        assert f"\n{field.name}: " in text or f"\n# {field.name}:" in text
    assert max(map(len, text.splitlines())) < 140


def test_a_comment_becomes_a_field_by_removing_its_mark(run: Run) -> None:
    run("init", "lab")
    text = Path("cluster.yaml").read_text()
    Path("cluster.yaml").write_text(text.replace("# answer_timeout: 60", "answer_timeout: 60"))
    assert load_cluster("cluster.yaml").answer_timeout == 60


@pytest.mark.parametrize("file", ["cluster.yaml", "other.yml"])
def test_an_existing_file_is_never_changed(run: Run, file: str) -> None:
    Path(file).symlink_to("target")
    done = run("init", "lab", *([file] if file != "cluster.yaml" else []))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == f"error: {file} exists; nothing was written\n"
    assert not Path("target").exists()


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["lab", "--name", "a b"], 3, 'LabCluster: name is "a b"; expected 1 to 64 letters'),
        (["ssh", "10.0.0.1"], 2, "one HOST is given; expected the orchestrator and at least one factory"),
        (["ssh", "10.0.0.1", "10.0.0.1"], 3, "factories_ips[0] is the address of the orchestrator"),
        (["ssh", "--key", "/missing"], 3, "/missing"),
        (["aws", "10.0.0.1"], 2, "error: 10.0.0.1: FILE must end with .yaml or .yml"),
        (["lab", "a.yaml", "b.yaml"], 2, "more than one FILE: a.yaml b.yaml"),
        (["lab", "--region", "us-east-1"], 2, "--region is not for lab"),
        (["aws", "--user", "me", "--lab", "x"], 2, "--lab is not for aws"),
        (["lab", "no/such/folder.yaml"], 1, "no/such/folder.yaml: cannot write: No such file or directory"),
        ([], 2, "which kind of cluster: aws, ssh or lab?"),
        (["gcp"], 2, "gcp"),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_written(
    run: Run, home: Path, argv: list[str], code: int, message: str
) -> None:
    done = run("init", *argv)
    assert (done.code, done.stdout) == (code, "")
    assert message in done.stderr
    assert [path.name for path in home.iterdir()] == [".ssh"]


def test_without_a_private_key_the_option_is_named(run: Run, home: Path) -> None:
    (home / ".ssh/id_rsa").unlink()
    done = run("init", "ssh")
    assert done.code == 2
    assert "there is no private key in ~/.ssh (id_ed25519, id_ecdsa, id_rsa); pass --key FILE" in done.stderr


def test_without_a_terminal_the_resources_are_comments(run: Run) -> None:
    done = run("init", "aws")
    assert done.stdout.splitlines()[0] == (
        "There is no terminal for a choice: subnet_id, security_group and key_name are comments in the file."
    )
    assert "\n# subnet_id:  # a subnet id such as" in Path("cluster.yaml").read_text()


@pytest.fixture
def signed_in(account: Account, aws_session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Account:
    monkeypatch.setattr(session, "make_session", lambda _region=None: aws_session)
    return account


def test_the_resources_of_the_account_are_offered(run: Run, signed_in: Account, answer: Any, home: Path) -> None:
    public = Path(home, ".ssh/id_rsa.pub")
    public.write_text(_read_public(home / ".ssh/id_rsa"))
    signed_in.ec2.import_key_pair(KeyName="a-mine", PublicKeyMaterial=public.read_bytes())
    answer("0", "x", "1", "1", "1")
    done = run("init", "aws")
    assert done.code == 0, done.stderr
    assert f"Subnets of {REGION}:" in done.stdout
    assert done.stdout.count("Expected a number from 1 to") == 2
    cluster: Any = load_cluster("cluster.yaml")
    subnets = {one["SubnetId"]: one["VpcId"] for one in signed_in.ec2.describe_subnets()["Subnets"]}
    groups = {one["GroupId"]: one["VpcId"] for one in signed_in.ec2.describe_security_groups()["SecurityGroups"]}
    assert groups[cluster.security_group] == subnets[cluster.subnet_id]
    assert (cluster.key_name, cluster.key) == ("a-mine", str(home / ".ssh/id_rsa"))


def _read_public(key: Path) -> str:
    from flambe_ansible.validation.keyfile import read_public_key

    return read_public_key(key)


def test_empty_answers_leave_the_resources_to_the_launch(run: Run, signed_in: Account, answer: Any) -> None:
    answer()  # the end of the input
    assert run("init", "aws").code == 0
    cluster: Any = load_cluster("cluster.yaml")
    assert (cluster.subnet_id, cluster.security_group, cluster.key_name) == (None, None, None)


def test_a_key_pair_without_its_private_key_is_not_used(run: Run, signed_in: Account, answer: Any) -> None:
    answer("", "", "1", "/no/such/key")
    done = run("init", "aws")
    assert 'is not used: key is "/no/such/key", but this file does not exist.' in done.stdout
    cluster: Any = load_cluster("cluster.yaml")
    assert cluster.key_name is None


def test_without_credentials_the_reason_is_one_line(run: Run, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_region: str | None = None) -> boto3.Session:
        raise AWSError("Failed to read the credentials: they have expired")

    answer()
    monkeypatch.setattr(session, "make_session", fail)
    done = run("init", "aws")
    assert (done.code, done.stdout.splitlines()[0]) == (
        0,
        "Nothing can be offered, so subnet_id, security_group and key_name are comments in the file:"
        " Failed to read the credentials: they have expired.",
    )
    assert load_cluster("cluster.yaml").name == "demo"
