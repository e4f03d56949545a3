"""Planted secrets are found nowhere but in the files that are meant for them, after success and after failures.

One cluster with ``runtime: none``; the hosts of a lab are processes and folders of this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible.lab import LabInfo
from flambe_ansible.ssh import known_hosts
from tests.e2e import listeners
from tests.e2e.canaries import Canaries, Watch, find_root, list_hosts, search_hosts
from tests.e2e.commands import PROGRAM

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

NAME = "doors"
ENVIRONMENT = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY", "GITHUB_TOKEN", "PGPASSWORD", "MY_SECRET")
FILES = ("profile key", "profile token", "value of [A]", "value of [B]", "value with a colon", "value over lines")
URLS = ("git token", "index password", "index password in pip.conf", "requirement's password", "resource's password")
LAUNCH = "launch cluster.yaml --yes --debug --secrets secrets.ini"
OWN_KEY, CLUSTER_KEY = "content of the user's key", "content of the cluster's key"
NOWHERE = "https://user:{}@127.0.0.1:9/{}"  # nothing listens there
# The user's own files on this machine, and the files on hosts with the secrets that they contain.
GIVEN = {"secrets.ini", "cluster.yaml", ".aws/credentials", "survey.yaml", "key", "experiment.yaml"}
ON_HOSTS = {
    "/home/ubuntu/secrets.ini": set(FILES[2:]),
    "/home/ubuntu/.config/pip/pip.conf": {"index password in pip.conf"},
    "/home/ubuntu/ray_bootstrap_key.pem": {CLUSTER_KEY},
}


class Doors:
    """A cluster, its secrets, and what its commands have printed."""

    def __init__(self, folder: Path, lab: LabInfo) -> None:
        self.folder, self.lab = folder, lab
        self.canaries = Canaries([*ENVIRONMENT, *FILES, *URLS])
        self.watch = Watch(self.canaries, lab.name)
        self.printed: dict[str, str] = {}
        home = {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "FLAMBE_ANS_STATE": str(folder / "state")}
        self.environment = {**os.environ, **home, **{name: self.canaries[name] for name in ENVIRONMENT}}
        for name in ("tmp", ".aws", ".flambe"):
            (folder / name).mkdir()
        token, key = self.canaries["profile token"], self.canaries["profile key"]
        (folder / ".aws/credentials").write_text(
            f"[default]\naws_access_key_id = A\naws_secret_access_key = {key}\naws_session_token = {token}\n"
        )
        one, two, three, four = (self.canaries[name] for name in FILES[2:])
        (folder / "secrets.ini").write_text(f"[A]\na = {one}\n[B]\nb = {two}\nc: {three}\nd = x\n  {four}\n")
        for path in (".aws/credentials", "secrets.ini"):
            (folder / path).chmod(0o600)
        self.canaries.add(OWN_KEY, lab.key.read_text().splitlines()[2])
        self.write()

    def write(self, **changes: Any) -> None:
        """Write the configuration."""
        fields = {"name": NAME, "lab": self.lab.name, "factories_num": 1, "runtime": "none", **changes}
        (self.folder / "cluster.yaml").write_text("!LabCluster\n" + yaml.safe_dump(fields))

    def call(self, *words: str, code: int | None = 0) -> str:
        """Run a command; keep what it prints."""
        done = subprocess.run(
            [PROGRAM, *words], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert code is None or done.returncode == code, output
        self.printed[" ".join(words)] = output
        return done.stdout

    def launch(self, *words: str, code: int = 0) -> None:
        self.call(*LAUNCH.split(), *words, code=code)

    def find_on_this_machine(self) -> set[tuple[str, str]]:
        """Search what commands printed, and the folders of the user and of the lab, without the hosts' disks."""
        found = {(words, name) for words, text in self.printed.items() for name in self.canaries.find(text)}
        for path, name in self.canaries.search(self.folder):
            relative = str(path.relative_to(self.folder))
            if relative not in GIVEN:
                found.add((relative, name))
        for path in self.lab.state_dir.iterdir():
            if path.is_file() and not path.name.startswith("key.pem"):  # tags, user data, log of the API's calls
                found |= {(path.name, name) for name in self.canaries.find(path.read_bytes())}
        return found


@pytest.fixture(scope="module")
def doors(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    made = Doors(tmp_path_factory.mktemp("doors"), lab)
    with made.watch:
        try:
            yield made
        finally:
            made.call("down", "cluster.yaml", "--yes", code=None)


def check(doors: Doors) -> None:
    """Find no secret outside of its place, anywhere."""
    assert doors.find_on_this_machine() == set()
    assert search_hosts(doors.canaries, doors.lab, ON_HOSTS) == set()
    assert doors.watch.arguments == set()
    assert doors.watch.environments == set()


def test_1_a_launch_and_a_search_that_can_find(doors: Doors) -> None:
    doors.launch()
    key = doors.call("exec", "cluster.yaml", "--json", "--", "sed -n 3p ray_bootstrap_key.pem")
    doors.printed.popitem()
    [line] = {one["stdout"].strip() for one in json.loads(key).values()}
    doors.canaries.add(CLUSTER_KEY, line)
    pip = f"[global]\nindex-url = {NOWHERE.format(doors.canaries.quoted('index password in pip.conf'), 'simple')}\n"
    for host in list_hosts(doors.lab):
        path = find_root(host) / "home/ubuntu/.config/pip/pip.conf"
        path.parent.mkdir(parents=True)
        path.write_text(pip)
        path.chmod(0o600)
        os.chown(path, 1000, 1000)
    doors.launch("--force")
    check(doors)
    assert {name for _, name in doors.canaries.search(doors.folder)} >= set(FILES)
    hosts = {name for _, name in doors.canaries.search(doors.lab.state_dir / "hosts")}
    assert hosts == set.union(*ON_HOSTS.values())


def test_1_hosts_without_ray_listen_on_nothing_but_ssh(doors: Doors) -> None:
    found = json.loads(doors.call("exec", "cluster.yaml", "--json", "--", listeners.COMMAND))
    ports = listeners.read_listeners({name: one["stdout"] for name, one in found.items()})
    assert ports == {f"{NAME}_orchestrator": set(), f"{NAME}_factory_0": set()}


def test_1_a_pinned_key_is_replaced_by_the_keys_of_the_console_or_refused(doors: Doors) -> None:
    """As after a first launch whose console showed no keys yet; then as if another machine had answered it."""
    [file] = (doors.folder / "state/clusters").glob(f"{NAME}-*/known_hosts")
    verified = file.read_text()
    alias = verified.split()[0]
    first = known_hosts.keys_of(file, alias)[0]
    known_hosts.replace(file, alias, [first])
    known_hosts.mark_pinned(file, alias)
    doors.launch()
    assert (sorted(file.read_text().splitlines()), known_hosts.is_pinned(file, alias)) == (
        sorted(verified.splitlines()),
        False,
    )
    other = doors.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    wrong = other.with_suffix(".pub").read_text()
    known_hosts.replace(file, alias, [wrong])
    known_hosts.mark_pinned(file, alias)
    doors.launch(code=5)
    message = doors.printed[LAUNCH]
    assert known_hosts.fingerprint(wrong) in message
    assert known_hosts.fingerprint(first) in message
    assert "nothing was sent to it" in message
    file.write_text(verified)


def test_2_failures_show_no_secret(doors: Doors) -> None:
    """A setup command fails; nothing answers at the git server; an experiment is refused."""
    doors.write(setup_cmds=["cat secrets.ini > /dev/null; echo no disk >&2; exit 7"])
    doors.launch("--on-failure", "keep", code=6)
    repository = NOWHERE.format(doors.canaries.quoted("git token"), "team/survey.git")
    resource = NOWHERE.format(doors.canaries.quoted("resource's password"), "data.tsv")
    (doors.folder / "survey.yaml").write_text(f"survey: git+{repository}\n---\n!survey.Survey\nsteps: 1\n")
    doors.call("run", "survey.yaml", "--debug", code=None)
    experiment = f"!Experiment\nname: x\nresources: {{data: '{resource}'}}\npipeline: {{}}\n"
    (doors.folder / "experiment.yaml").write_text(experiment)
    doors.call("run", "experiment.yaml", "--debug", code=None)
    check(doors)


@pytest.mark.long
def test_2_installations_that_fail_show_no_secret(doors: Doors) -> None:
    """Nothing answers at the package index, nor at the URL of a package."""
    index = NOWHERE.format(doors.canaries.quoted("index password"), "simple")
    package = f"six @ {NOWHERE.format(doors.canaries.quoted(URLS[3]), 'six-1.0-py3-none-any.whl')}"
    doors.write(runtime={"ray": "2.60.0", "index_url": index})
    doors.launch("--on-failure", "keep", code=6)
    doors.write(runtime={"ray": "2.60.0", "packages": [package]})
    doors.launch("--on-failure", "keep", code=6)
    check(doors)


def test_3_down_and_the_rest_of_the_commands(doors: Doors) -> None:
    doors.write()
    for words in (("status", "--json"), ("doctor",), ("inventory",), ("exec", "--", "id"), ("launch", "--dry-run")):
        doors.call(words[0], "cluster.yaml", *words[1:], "--debug" if words[0] != "exec" else "true", code=None)
    check(doors)
    doors.call("down", "cluster.yaml", "--yes", "--debug")
    assert doors.find_on_this_machine() == set()
    assert (doors.watch.arguments, doors.watch.environments) == (set(), set())
    assert doors.watch.looks > 20
