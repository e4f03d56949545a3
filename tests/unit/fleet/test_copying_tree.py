"""The tree of copies from the orchestrator to the factories: real shells and rsyncs, a stand-in for ssh."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.fleet import copying
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Completed

# Runs the command in the folder of the target; HOST is the host on which ssh itself runs. It records both.
SSH = """#!/bin/sh
while [ "$1" != "${1#-}" ]; do shift 2; done
target=${1#*@}; shift
[ -d "$HOSTS/$target" ] || { echo "ssh: connect to host $target: timed out" >&2; exit 255; }
echo "$HOST $target $1" >> "$HOSTS/log"
case " $BROKEN " in *" $HOST>$target "*|*" $HOST>any "*) echo "closed by $target" >&2; exit 255;; esac
HOST=$target HOME="$HOSTS/$target" exec sh -c "cd; $*"
"""
RSYNC = """#!/bin/sh
for last in "$@"; do :; done
last=${last#*@}; sleep 0.3
echo "$HOST ${last%%:*} rsync" >> "$HOSTS/log"
"""


def make_hosts(root: Path, count: int) -> list[Host]:
    (root / "bin").mkdir()
    write_program(root / "bin/ssh", SSH)
    hosts = [Host(name=f"f{n}", role=Role.FACTORY, index=n, private_ip=f"10.0.0.{n}") for n in range(count)]
    for name in ["head", *(host.private_ip for host in hosts)]:
        (root / str(name)).mkdir()
        (root / str(name) / copying.KEY_FILE).write_text("key")
    return hosts


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def run(root: Path, script: str, *, broken: str = "") -> Completed:
    path = f"{root}/bin:{os.environ['PATH']}"
    environment = {"HOME": f"{root}/head", "HOST": "head", "HOSTS": str(root), "PATH": path, "BROKEN": broken}
    done = subprocess.run(
        ["sh", "-s"], input=script, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def read_copies(root: Path) -> list[tuple[str, str]]:
    """Return sender and receiver of each rsync."""
    lines = [line.split() for line in (root / "log").read_text().splitlines()]
    return [(line[0], line[1]) for line in lines if line[2] == "rsync"]


def test_most_copies_leave_a_factory_and_every_factory_gets_one(tmp_path: Path) -> None:
    hosts = make_hosts(tmp_path, 64)
    # Instead of the real one: each copy takes the same time.
    write_program(tmp_path / "bin/rsync", RSYNC)
    write_program(tmp_path / "head/data", "x")
    answer = run(tmp_path, copying.write_script("me", hosts, ["data"], mirror=True))
    assert (answer.stdout, answer.stderr) == ("", "")
    copies = read_copies(tmp_path)
    assert sorted(receiver for _, receiver in copies) == sorted(str(host.private_ip) for host in hosts)
    senders = [sender for sender, _ in copies]
    assert senders.count("head") <= 24
    assert max(senders.count(sender) for sender in set(senders) - {"head"}) <= 12
    assert len(set(senders)) <= 31


@pytest.mark.parametrize("mirror", [False, True])
def test_only_files_of_the_orchestrator_arrive(tmp_path: Path, mirror: bool) -> None:
    hosts = make_hosts(tmp_path, 9)
    folder = tmp_path / "head/a dir/it's"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "new\nline").write_text("x")
    (folder / "link").symlink_to("sub")
    folder.chmod(0o750)
    (tmp_path / "head/a dir").chmod(0o710)
    for host in hosts:
        own = tmp_path / str(host.private_ip) / "a dir/it's"
        own.mkdir(parents=True)
        (own / f"own {host.name}").write_text("y")
    answer = run(tmp_path, copying.write_script("me", hosts, ["a dir/it's", "a dir/it's/link"], mirror=mirror))
    assert (answer.stdout, answer.stderr) == ("", "")
    assert {sender for sender, _ in read_copies(tmp_path)} > {"head"}
    for host in hosts:
        target = tmp_path / str(host.private_ip) / "a dir/it's"
        own = set() if mirror else {f"own {host.name}"}
        assert {path.name for path in target.iterdir()} == {"sub", "link", *own}
        assert (target / "sub" / "new\nline").read_text() == "x"
        assert (target / "link").is_symlink()
        assert (target.stat().st_mode & 0o777, target.parent.stat().st_mode & 0o777) == (0o750, 0o755)


def test_a_copy_between_factories_that_fails_is_repeated_from_the_orchestrator(tmp_path: Path) -> None:
    hosts = make_hosts(tmp_path, 9)
    (tmp_path / "head/data").write_text("x")
    broken = " ".join(f"{host.private_ip}>any" for host in hosts)
    answer = run(tmp_path, copying.write_script("me", hosts, ["data"]), broken=broken)
    assert (answer.stdout, answer.stderr) == ("", "")
    assert all((tmp_path / str(host.private_ip) / "data").read_text() == "x" for host in hosts)
    assert any(sender != "head" for sender, _ in read_copies(tmp_path))


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    hosts = make_hosts(tmp_path, 2)
    (tmp_path / "head/data").mkdir()
    write_program(tmp_path / "bin/find", "#!/bin/sh\necho \"find: './data/own': Permission denied\" >&2; exit 1\n")
    answer = run(tmp_path, copying.write_script("me", hosts, ["data"]))
    with pytest.raises(RemoteCommandError, match=r"nothing was copied .* Permission denied"):
        copying.check(hosts[0], answer, command="rsync data")


def test_a_file_that_vanishes_meanwhile_is_left_out(tmp_path: Path) -> None:
    hosts = make_hosts(tmp_path, 6)
    (tmp_path / "head/data").mkdir()
    (tmp_path / "head/data/kept").write_text("x")
    write_program(tmp_path / "bin/find", "#!/bin/sh\nprintf './data\\0./data/kept\\0./data/gone\\0'\n")
    answer = run(tmp_path, copying.write_script("me", hosts, ["data"]))
    assert (answer.stdout, answer.stderr) == ("", "")
    assert all((tmp_path / str(host.private_ip) / "data/kept").read_text() == "x" for host in hosts)


def test_a_factory_that_no_host_reaches_is_reported_once(tmp_path: Path) -> None:
    hosts = make_hosts(tmp_path, 9)
    (tmp_path / "10.0.0.7").rename(tmp_path / "gone")
    (tmp_path / "head/data").write_text("x")
    answer = run(tmp_path, copying.write_script("me", hosts, ["data"]))
    [line] = [one.split("\t") for one in answer.stdout.splitlines()]
    assert (line[1], line[3]) == ("f7", "ssh: connect to host 10.0.0.7: timed out")
    assert (tmp_path / "10.0.0.8/data").read_text() == "x"
