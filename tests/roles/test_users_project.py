"""The project in tests/foreign, run only with ansible-playbook and the built and installed collection.

The lowest ansible-core that the collection accepts runs it; scripts/test --long runs it with the later ones, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flambe_ansible.paths import collection
from tests.roles.lab_hosts import Fleet, Site

pytestmark = pytest.mark.lab

REPO = Path(__file__).resolve().parents[2]
PROJECT = REPO / "tests/foreign"
HOSTS = {"desk", "rig"}
LOWEST = re.fullmatch(r">=(2\.\d+)\.0", yaml.safe_load((REPO / "meta/runtime.yml").read_text())["requires_ansible"])[1]  # type: ignore[index]
LATER = [f"2.{minor}" for minor in range(int(LOWEST.partition(".")[2]) + 1, 20)]
Install = Callable[[str], Site]


@pytest.fixture(scope="module")
def installed(fleet: Fleet, strangers: Site, folder: Path) -> Install:
    """Return a function that installs an ansible-core with the built collection, and returns the project's hosts."""
    for name in ("box-a", "box-b"):
        strangers.ssh(
            name,
            "sudo useradd --create-home --shell /bin/bash --password '*' deploy; "
            "echo 'deploy ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/deploy; "
            "sudo install -d -o deploy -g deploy -m 700 ~deploy/.ssh; "
            "sudo install -o deploy -g deploy -m 600 ~/.ssh/authorized_keys ~deploy/.ssh/",
        )
    project = folder / "project"
    shutil.copytree(PROJECT, project)
    (folder / "elsewhere").mkdir()
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    call(galaxy, "collection", "build", REPO, "--output-path", folder / "built")
    (built,) = (folder / "built").glob("*.tar.gz")
    call(galaxy, "collection", "install", built, "--collections-path", folder / "collections")
    a, b = fleet.hosts[3:]
    site = Site(
        project,
        fleet.info.key,
        {"controllers": [("desk", a)], "gpu_boxes": [("rig", b)]},
        user="deploy",
        collections=folder / "collections",
    )

    def install(version: str) -> Site:
        venv = folder / f"ansible-{version}"
        if not venv.exists():
            call(sys.executable, "-m", "venv", venv)
            call(venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", f"ansible-core=={version}.*")
        return replace(site, program=(str(venv / "bin/ansible-playbook"),))

    return install


@pytest.fixture(scope="module")
def site(installed: Install) -> Site:
    """Return the project's hosts, and the lowest ansible-core that runs its playbooks."""
    return installed(LOWEST)


def call(*argv: str | Path) -> None:
    """Run a program outside of the checkout, whose ansible.cfg has its own collections."""
    done = subprocess.run([str(word) for word in argv], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_mode_before_the_first_run(site: Site) -> None:
    run = site.play(site.folder / "site.yml", "--check", "--diff").assert_ok()
    assert set(run.changed) == HOSTS
    assert site.ssh("rig", "ls -d /etc/box ~/who ~/ray_bootstrap_key.pem /opt/flambe-idle-shutdown; :") == ""
    assert "does not support Ansible version" not in run.output


def test_the_first_run_configures_and_the_second_changes_nothing(site: Site) -> None:
    run = site.play(site.folder / "site.yml").assert_ok()
    assert set(run.changed) == HOSTS
    for host in HOSTS:  # as the user who connects, although the project sets ansible_become
        assert (
            site.ssh(host, "cat ~/who ~/greeting; stat -c %U ~/ray_bootstrap_key.pem")
            == "deploy\ngood morning\ndeploy\n"
        )
    assert site.ssh("desk", "ssh -i ~/ray_bootstrap_key.pem -o BatchMode=yes rig cat /etc/box") == "x86_64 in rack 7\n"
    assert site.ssh("rig", "systemctl is-active flambe-idle-shutdown.timer") == "active\n"
    site.play(site.folder / "site.yml").assert_unchanged()


def test_check_mode_after_it_reports_no_change(site: Site) -> None:
    site.play(site.folder / "site.yml", "--check", "--diff").assert_unchanged()


@pytest.mark.parametrize("form", ["a project", "a name", "a path"])
def test_from_another_folder(site: Site, folder: Path, form: str) -> None:
    elsewhere = replace(site, cwd=folder / "elsewhere")
    variables = yaml.safe_load((PROJECT / "site.yml").read_text())[0]["vars"]
    if form == "a project":
        run = elsewhere.play(site.folder / "site.yml")
    elif form == "a name":
        run = elsewhere.play("flambe.cluster.site", **variables)
    else:  # of a checkout, without an installed collection
        run = replace(elsewhere, collections=folder / "none").play(collection() / "playbooks/site.yml", **variables)
    run.assert_unchanged()
    assert run.results[("Run the setup commands", "rig")]


def test_groups_without_hosts_are_an_error(site: Site) -> None:
    run = site.play("flambe.cluster.site")
    assert run.returncode != 0
    assert "no hosts of the groups orchestrator and factories" in " ".join(run.output.split())
    assert "controllers, gpu_boxes" in run.output


@pytest.mark.long
def test_the_documented_cluster_with_current_ray(site: Site) -> None:
    text = (REPO / "docs/collection.md").read_text()
    [example] = re.findall(r"```yaml\n(- name: Configure the cluster\n.*?)```", text, re.DOTALL)
    path = site.folder / "documented.yml"
    path.write_text(example)
    site.play(path).assert_ok()
    nodes = json.loads(site.ssh("desk", "/opt/ray/bin/ray-nodes"))["nodes"]
    assert [node["alive"] for node in nodes] == [True, True]
    assert site.ssh("desk", "ray --version; systemctl is-active flambe-tensorboard") == "ray, version 2.60.0\nactive\n"
    site.play(path).assert_unchanged()
    site.play(path, "--limit", "rig").assert_unchanged()


@pytest.mark.long
@pytest.mark.parametrize("version", LATER)
def test_later_versions_of_ansible_change_nothing(installed: Install, version: str) -> None:
    site, greeting = installed(version), ("-e", f"greeting={version}")
    run = site.play(site.folder / "site.yml", *greeting).assert_ok()
    assert set(run.changed) == HOSTS
    site.play(site.folder / "site.yml", *greeting, "--check").assert_unchanged()
    site.play(site.folder / "site.yml", *greeting).assert_unchanged()
