"""Copies from the orchestrator to the factories: the script, run with fakes of rsync and ssh, and its output."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flambe_ansible.errors import ClusterConfigurationError, RemoteCommandError
from flambe_ansible.fleet import copying
from flambe_ansible.fleet.instance import below_home
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Completed

HEAD = Host(name="a_orchestrator", role=Role.ORCHESTRATOR, private_ip="10.0.0.1")
FACTORIES = [Host(name=f"a_factory_{n}", role=Role.FACTORY, index=n, private_ip=f"10.0.0.{n + 2}") for n in range(10)]
# Writes each argument as a line; fails for 10.0.0.4.
RSYNC = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word"; done > "$HOME/calls/$$"
case "$*" in *10.0.0.4:*) echo "no space left"; echo "rsync error"; exit 11;; esac
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "calls").mkdir()
    (tmp_path / "bin").mkdir()
    for name, text in {"rsync": RSYNC, "ssh": "#!/bin/sh\nexec sh -s\n"}.items():
        program = tmp_path / "bin" / name
        program.write_text(text)
        program.chmod(0o755)
    (tmp_path / "data dir").mkdir()
    (tmp_path / "data dir" / "it's:here").write_text("x")
    return tmp_path


def run(home: Path, script: str) -> Completed:
    environment = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", "-s"], input=script, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def test_every_path_is_copied_to_every_factory(home: Path) -> None:
    (home / copying.KEY_FILE).write_text("key")
    factories = [host for host in FACTORIES if host.index != 2]
    paths = ["data dir", "data dir/it's:here"]
    script = copying.write_script("me", factories, paths, mirror=True, checksum=True)
    answer = run(home, script)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    copying.check(HEAD, answer, command="rsync")
    calls = [path.read_text().splitlines() for path in (home / "calls").iterdir()]
    assert len(calls) == 18
    assert all({"--delete", "--checksum", "--protect-args"} <= set(call) for call in calls)
    assert sorted(call[-2:] for call in calls if "10.0.0.5" in call[-1]) == [
        ["./data dir/", "me@10.0.0.5:./data dir/"],
        ["./data dir/it's:here", "me@10.0.0.5:./data dir/"],
    ]


def test_a_slow_factory_does_not_delay_the_others(home: Path) -> None:
    (home / copying.KEY_FILE).write_text("key")
    wait = 'for _ in $(seq 100); do [ "$(ls "$HOME/calls" | wc -l)" -ge 10 ] && exit 0; sleep 0.1; done; exit 1'
    (home / "bin/rsync").write_text(RSYNC + f'case "$*" in *10.0.0.2:*) {wait};; esac\n')
    factories = [host for host in FACTORIES if host.index != 2] + [FACTORIES[2]]
    answer = run(home, copying.write_script("me", factories, ["data dir"]))
    assert [line.split("\t")[1] for line in answer.stdout.splitlines()] == ["a_factory_2"]


def test_a_failed_factory_is_reported_with_the_reason(home: Path) -> None:
    (home / copying.KEY_FILE).write_text("key")
    answer = run(home, copying.write_script("me", FACTORIES[:4], ["data dir"]))
    assert len(list((home / "calls").iterdir())) == 4
    with pytest.raises(RemoteCommandError, match="a_factory_2: no copy from the orchestrator: no space left") as caught:
        copying.check(HEAD, answer, command="rsync 'data dir'")
    assert (caught.value.host, caught.value.returncode) == ("a_factory_2", 11)


def test_without_the_key_of_the_cluster_nothing_is_copied(home: Path) -> None:
    answer = run(home, copying.write_script("me", FACTORIES[:2], ["data dir"]))
    assert not list((home / "calls").iterdir())
    with pytest.raises(RemoteCommandError, match=r"nothing was copied .* is missing") as caught:
        copying.check(HEAD, answer, command="rsync")
    assert caught.value.hint == "flambe-ans launch CLUSTER repairs the cluster's key"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", "a"),
        ("a//b/./c/", "a/b/c"),
        ("~/a", "a"),
        ("/home/me/a", "a"),
        ("-a", "-a"),
        ("a b", "a b"),
        ("...", "..."),
    ],
)
def test_paths_below_the_home_folder(path: str, expected: str) -> None:
    assert below_home(path, home="/home/me") == expected


@pytest.mark.parametrize(
    "path",
    ["", "/", ".", "./", "~", "~/", "..", "../a", "a/../..", "a/../b", "/etc", "/home/me", "/home/me/", "/home/me2/a"],
)
def test_the_home_folder_and_paths_outside_of_it_are_refused(path: str) -> None:
    with pytest.raises(ClusterConfigurationError):
        below_home(path, home="/home/me")
