"""The program that cleans a host before an image is made of it, on a folder like a host's disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.fleet import cleaning

PASSWD = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
deploy:x:998:998::/srv/deploy:/bin/sh
odd:x:nobody
noone:x:65534:65534:::
ubuntu:x:1000:1000::/home/ubuntu:/bin/bash
"""
KEPT = {
    "etc/passwd": PASSWD,
    "etc/ssh/sshd_config": "Port 22\n",
    "etc/systemd/system/custom.service": "[Unit]\n",
    "home/ubuntu/.bashrc": "umask 022\n",
    "home/ubuntu/data/train.csv": "1,2\n",
    "opt/flambe/venv/bin/python": "a program\n",
    "usr/local/lib/flambe-uv": "uv\n",
    "var/lib/flambe-cluster/receipt.json": "{}",
}
REMOVED = (
    "etc/netplan/50-cloud-init.yaml",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "etc/systemd/system/flambe-launch-guard.timer",
    "etc/systemd/system/timers.target.wants/flambe-launch-guard.timer",
    "home/ubuntu/.aws/credentials",
    "home/ubuntu/.bash_history",
    "home/ubuntu/.cache/pip/page",
    "home/ubuntu/.docker/config.json",
    "home/ubuntu/.local/state/flambe/setup_cmds.json",
    "home/ubuntu/.ray/auth_token",
    "home/ubuntu/.ssh/authorized_keys",
    "home/ubuntu/.ssh/known_hosts",
    "home/ubuntu/.config/gh/hosts.yml",
    "home/ubuntu/.kube/config",
    "home/ubuntu/.local/share/fish/fish_history",
    "home/ubuntu/.psql_history",
    "home/of ldap[1]/.ssh/authorized_keys",
    "home/ubuntu/ray_bootstrap_key.pem",
    "home/ubuntu/secrets.ini",
    "root/.ssh/authorized_keys",
    "srv/deploy/.ssh/authorized_keys",
    "tmp/ansible-tmp/module.py",
    "var/lib/cloud/instance/user-data.txt",
    "var/lib/systemd/random-seed",
    "var/log/auth.log.1",
    "var/log/journal/0123/system.journal",
    "var/log/syslog.2.gz",
)
EMPTIED = ("etc/machine-id", "var/log/auth.log", "var/log/apt/history.log", "var/log/wtmp")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    for name, text in {**KEPT, **dict.fromkeys((*REMOVED, *EMPTIED), "SECRET\n")}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def list_files(disk: Path) -> dict[str, str]:
    return {str(path.relative_to(disk)): path.read_text() for path in disk.rglob("*") if path.is_file()}


def test_what_is_a_hosts_own_is_removed_and_the_rest_stays(disk: Path) -> None:
    cleaning.clean(str(disk))
    assert list_files(disk) == {**KEPT, **dict.fromkeys(EMPTIED, "")}


def test_links_are_removed_and_their_targets_stay(disk: Path) -> None:
    (disk / "home/ubuntu/.cache").rename(disk / "opt/cache")
    (disk / "home/ubuntu/.cache").symlink_to(disk / "opt/cache")
    (disk / "var/lib/dbus").mkdir()
    (disk / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    cleaning.clean(str(disk))
    assert not (disk / "home/ubuntu/.cache").is_symlink()
    assert (disk / "opt/cache/pip/page").read_text() == "SECRET\n"
    assert not (disk / "var/lib/dbus/machine-id").is_symlink()


def test_a_second_time_changes_nothing(disk: Path) -> None:
    cleaning.clean(str(disk))
    before = list_files(disk)
    cleaning.clean(str(disk))
    assert list_files(disk) == before
