"""What commands import: a help text needs no cluster, and a query needs no Ansible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.keys import write_key

HEAVY = ("ansible", "ansible_runner", "boto3", "botocore", "moto")
REPORT = "print('\\n'.join(name for name in {names} if name in sys.modules), file=sys.stderr)"


def run(code: str, names: tuple[str, ...]) -> list[str]:
    """Run code in a new process; return the modules of these names that it imported."""
    program = f"import atexit, sys\natexit.register(lambda: {REPORT.format(names=names)})\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.split()


@pytest.mark.parametrize("command", ["", "'launch', ", "'status', ", "'exec', "])
def test_a_help_text_imports_no_cluster(command: str) -> None:
    names = (*HEAVY, "yaml", "flambe_ansible.cluster", "flambe_ansible.ssh", "flambe_ansible.ec2")
    assert run(f"from flambe_ansible import cli; cli.run([{command}'--help'])", names) == []


def test_a_cluster_of_existing_hosts_imports_neither_ansible_nor_boto(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key")
    file = tmp_path / "rack.yaml"
    file.write_text(
        f"!SSHCluster\nname: rack\norchestrator_ip: 10.0.0.5\nfactories_ips: [10.0.0.6]\nkey: {key}\nusername: me\n"
    )
    code = f"from flambe_ansible.cluster.loading import load_cluster; load_cluster({str(file)!r}).find_hosts()"
    assert run(code, HEAVY) == []


def test_a_client_of_ec2_imports_no_boto3() -> None:
    """boto3 and its transfer manager take longer than the call; only files from S3 need them."""
    code = (
        "from flambe_ansible.ec2 import session\n"
        "made = session.make_isolated_session('us-east-1', access_key='a', secret_key='b')\n"
        "session.make_client(made, 'ec2', endpoint_url='http://127.0.0.1:9')"
    )
    assert run(code, ("boto3", "s3transfer", "ansible", "moto")) == []


def test_status_imports_no_ansible() -> None:
    code = "import flambe_ansible.cluster.lab, flambe_ansible.cli.render.status, flambe_ansible.cli.fanout"
    assert run(code, ("boto3", "ansible", "ansible_runner", "moto", "pathspec")) == []


CLIENT = (
    "from flambe_ansible.ec2 import crt, session\n{before}"
    "made = session.make_session('us-east-1')\n"
    "from botocore.compat import HAS_CRT\nassert HAS_CRT is {crt}\nimport awscrt"
)


@pytest.mark.parametrize(
    ("before", "config", "has_crt"),
    [
        ("crt.skip()\n", "[default]\nregion = us-east-1\n", False),
        ("crt.skip()\n", "", False),
        ("crt.skip()\n", "[profile me]\nlogin_session = arn:aws:iam::1:user/me\n", True),
        ("", "[default]\nregion = us-east-1\n", True),  # as a library
    ],
)
@pytest.mark.parametrize("file", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_commands_import_the_crt_for_aws_login_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, before: str, config: str, has_crt: bool
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setenv(file, str(tmp_path / "profiles"))
    if config:
        (tmp_path / "profiles").write_text(config)
    assert run(CLIENT.format(before=before, crt=has_crt), ("awscrt.checksums",)) == ["awscrt.checksums"][: int(has_crt)]


def test_a_command_imports_no_other_command() -> None:
    names = ("flambe_ansible.cli.commands.audit", "flambe_ansible.cli.commands.submit")
    assert run("from flambe_ansible import cli; cli.run(['status', '--help'])", names) == []


def test_connections_start_before_the_command_line_is_imported() -> None:
    """The imports take as long as the login, which runs at the same time."""
    code = "from flambe_ansible import cli\nfrom flambe_ansible.fleet import early\nearly.connect('cluster.yaml')"
    assert run(code, ("rich", "click", "yaml", "botocore", "flambe_ansible.cli.app", "flambe_ansible.cluster")) == []
