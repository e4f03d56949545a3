"""The lab's settings from the machine, its base image, and its changes to the machine."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from flambe_ansible.errors import LabError, LabUsageError
from flambe_ansible.files import write_json
from flambe_ansible.fleet import cleaning
from flambe_ansible.lab import borrowing, client, image, layer, lifecycle, pidfile, process, python37, state, system
from flambe_ansible.lab.cgroups import hierarchies
from flambe_ansible.lab.image import Recipe
from flambe_ansible.lab.system import REQUIRED_PACKAGES, missing, require_packages, require_root

RECIPE = Recipe("debian", "bookworm", "amd64", "http://mirror", ("git", "sudo"))


def test_a_recipe_identifies_its_image() -> None:
    assert RECIPE.digest == Recipe("debian", "bookworm", "amd64", "http://mirror", ("git", "sudo")).digest
    others = [
        Recipe("debian", "trixie", "amd64", "http://mirror", ("git", "sudo")),
        Recipe("debian", "bookworm", "amd64", "http://other", ("git", "sudo")),
        Recipe("debian", "bookworm", "amd64", "http://mirror", ("git", "sudo", "htop")),
        Recipe("debian", "bookworm", "amd64", "http://mirror", ("git", "sudo"), version=99),
    ]
    assert len({recipe.digest for recipe in [RECIPE, *others]}) == 5


def test_an_image_that_is_made_of_a_host_keeps_the_units_of_the_lab(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    layer._write_unit(tmp_path, layer._CONTROL_GROUPS_UNIT, layer._CONTROL_GROUPS)
    cleaning.clean(str(tmp_path))
    found = sorted(tmp_path.rglob(layer._CONTROL_GROUPS_UNIT))
    assert [path.parent.name for path in found] == ["system", "sysinit.target.wants"]


def test_an_image_is_built_once_and_completely(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two calls run at once; an interrupted build of another process left an incomplete image."""
    built: list[Path] = []
    monkeypatch.setattr(state, "root", lambda: tmp_path)

    def debootstrap(_recipe: Recipe, draft: Path) -> None:
        assert not list(draft.parent.glob(f".building-{RECIPE.digest}-1"))
        built.append(draft)
        draft.mkdir()
        time.sleep(0.2)

    monkeypatch.setattr(image, "_debootstrap", debootstrap)
    monkeypatch.setattr(image, "_finish", lambda _draft: None)
    (tmp_path / "images" / f".building-{RECIPE.digest}-1" / "etc").mkdir(parents=True)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(image.ensure(RECIPE))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert found == [tmp_path / "images" / RECIPE.digest] * 2


def test_a_failed_build_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "root", lambda: tmp_path)

    def debootstrap(_recipe: Recipe, draft: Path) -> None:
        draft.mkdir()
        raise LabError("no network")

    monkeypatch.setattr(image, "_debootstrap", debootstrap)
    with pytest.raises(LabError, match="no network"):
        image.ensure(RECIPE)
    assert [path.name for path in (tmp_path / "images").iterdir()] == [".lock"]


def test_only_remote_indexes_are_passed_to_hosts(tmp_path: Path) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text(
        "[global]\nindex-url = https://user:pw@index.example/simple\n"
        "extra-index-url = file:///srv/simple https://more.example/simple http://127.0.0.1:3141/x\n"
        "find-links = /srv/wheels\nconstraint = /etc/constraints.txt\ndefault-timeout = 60\n"
    )
    assert layer.pip_settings([conf, tmp_path / "absent"], {}) == {
        "index-url": "https://user:pw@index.example/simple",
        "extra-index-url": "https://more.example/simple",
        "timeout": "60",
    }


def test_the_environment_overrides_files(tmp_path: Path) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nindex-url = https://file.example/simple\n")
    found = layer.pip_settings([conf], {"PIP_INDEX_URL": "https://env.example/simple", "PIP_FIND_LINKS": "/srv/wheels"})
    assert found == {"index-url": "https://env.example/simple"}


def test_a_broken_pip_conf_is_ignored(tmp_path: Path) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text("index-url = no section\n")
    assert layer.pip_settings([conf], {}) == {}


def test_uv_gets_the_same_index() -> None:
    text = layer.uv_toml({"index-url": 'https://a/"x"', "extra-index-url": "https://b\nhttps://c", "trusted-host": "b"})
    import tomllib

    assert tomllib.loads(text) == {
        "cache-dir": "/var/cache/flambe-lab/uv",
        "link-mode": "copy",
        "index-url": 'https://a/"x"',
        "extra-index-url": ["https://b", "https://c"],
        "allow-insecure-host": ["b"],
    }


def test_pip_reads_the_written_file(tmp_path: Path) -> None:
    settings = {"index-url": "https://a/simple", "extra-index-url": "https://b\nhttps://c"}
    conf = tmp_path / "pip.conf"
    conf.write_text(layer.pip_conf(settings))
    assert layer.pip_settings([conf], {}) == settings


def test_proxies_are_passed_on_unless_they_are_on_loopback() -> None:
    lines = layer.environment_lines(
        {"https_proxy": "http://proxy:3128", "HTTP_PROXY": "http://127.0.0.1:3128", "no_proxy": "a,b"}
    )
    assert "https_proxy=http://proxy:3128" in lines
    assert "no_proxy=a,b" in lines
    assert not any("127.0.0.1" in line for line in lines)


def test_a_missing_python_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LabUsageError, match=r"is not a Python 3.7"):
        python37.find(tmp_path / "python3.7")


def test_the_newest_patch_of_pyenv_is_tried_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version in ("3.7.9", "3.7.16", "3.8.1"):
        path = tmp_path / f"versions/{version}/bin/python3.7"
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(python37.shutil, "which", lambda *_args, **_kwargs: None)
    found = [path for path in python37._candidates() if tmp_path in path.parents]
    assert [path.parts[-3] for path in found] == ["3.7.16", "3.7.9"]


def test_only_parts_of_a_shared_prefix_are_mounted(tmp_path: Path) -> None:
    answers = {
        "prefix": "/usr",
        "stdlib": "/usr/lib/python3.7",
        "include": str(tmp_path),
        "library": "",
        "libdir": "/usr/lib",
    }
    binds = python37._binds(answers)
    assert ("/usr/lib/python3.7", "/opt/python3.7/lib/python3.7") in binds
    assert not any(source == "/usr" for source, _ in binds)
    assert python37._binds({**answers, "prefix": "/opt/p"}) == (("/opt/p", "/opt/python3.7"),)


def test_cgroup_hierarchies_are_read() -> None:
    text = (
        "30 1 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "31 1 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "32 1 0:27 / /tmp rw,shared:1 - tmpfs tmpfs rw\n"
    )
    assert [path.name for path in hierarchies(text)] == ["cpu", "unified"]


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "..", "a" * 65, "\u00e9"])
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(LabUsageError, match="is not a valid name for a lab"):
        state.lab_dir(name)


def test_missing_programs_are_reported_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.os, "geteuid", lambda: 1000)
    error = missing(["systemd-nspawn", "ip"])
    assert error.message == "the lab needs systemd-nspawn, ip on this machine"
    assert error.hint == "sudo apt-get install -y iproute2 systemd-container"
    with pytest.raises(LabError, match="the lab needs no-such-command"):
        require_packages({"no-such-command": "none", "sh": "dash"})
    with pytest.raises(LabError) as caught:
        require_root("lab up --name x")
    assert caught.value.hint == "sudo flambe-ans lab up --name x"
    assert set(REQUIRED_PACKAGES) >= {"debootstrap", "systemd-nspawn", "ip", "iptables"}


def test_a_reused_process_id_is_not_the_daemon(tmp_path: Path) -> None:
    pid = os.getpid()
    pidfile.write(tmp_path)
    assert pidfile.find(tmp_path) == pid
    assert stat.S_IMODE((tmp_path / pidfile.FILE).stat().st_mode) == 0o644
    write_json(tmp_path / pidfile.FILE, {"pid": pid, "started": "1"})
    assert pidfile.find(tmp_path) is None
    assert pidfile.find(tmp_path / "absent") is None


def test_a_missing_lab_is_reported_with_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "root", lambda: tmp_path)
    for name, hint in (("default", "sudo flambe-ans lab up"), ("other", "sudo flambe-ans lab up --name other")):
        with pytest.raises(LabError) as caught:
            client.get_info(name)
        assert caught.value.hint == hint
    assert client.status("default") == client.LabStatus(name="default", exists=False, up=False)


@pytest.mark.parametrize("text", ["10.99.0.0/16", "8.8.8.0/24", "nonsense", "10.99.0.1/24", "fd00::/24"])
def test_a_bad_range_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(lifecycle.network, "used_ranges", list)
    with pytest.raises(LabUsageError):
        lifecycle._range(text)


def test_a_range_in_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle.network, "used_ranges", lambda: ["0.0.0.0/0", "10.99.0.0/16"])
    with pytest.raises(LabUsageError, match=r"overlaps 10.99.0.0/16"):
        lifecycle._range("10.99.3.0/24")
    assert lifecycle._range("10.98.3.0/24") == "10.98.3.0/24"


def test_importing_the_lab_does_not_import_moto() -> None:
    import subprocess
    import sys

    code = "import sys, flambe_ansible.lab, flambe_ansible.cluster.lab; sys.exit('moto' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_documentation_lists_every_package() -> None:
    text = (Path(__file__).parents[3] / "docs/lab.md").read_text()
    line = text.split("apt-get install -y ", 1)[1].split("\n\n", 1)[0].replace("\\\n", " ")
    assert line.split() == sorted(set(REQUIRED_PACKAGES.values()))


def test_the_last_lab_restores_the_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel = {"net.ipv4.ip_forward": "0", "fs.inotify.max_user_instances": "128"}
    rules: set[str] = set()

    def run(*argv: str, check: bool = True) -> str:
        if "-w" in argv:
            name, _, value = argv[-1].partition("=")
            kernel[name] = value
        if argv[0] == "ip":
            return json.dumps([{"ifname": "eth0", "addr_info": [{}]}, {"ifname": "docker0", "addr_info": []}])
        return kernel.get(argv[-1], "")

    monkeypatch.setattr(state, "root", lambda: tmp_path)
    monkeypatch.setattr(borrowing, "run", run)
    monkeypatch.setattr(borrowing.firewall, "list_tables", lambda: ["nat"])
    monkeypatch.setattr(borrowing.firewall, "list_rules", lambda mark: [mark] if mark in rules else [])
    monkeypatch.setattr(borrowing.firewall, "add_rule", lambda *args, **_kwargs: rules.add(args[-1]))
    monkeypatch.setattr(borrowing.firewall, "remove_rules", rules.discard)
    kept: list[list[str]] = []
    monkeypatch.setattr(borrowing.firewall, "drop_empty_tables", kept.append)
    for lab in ("a", "b", "a"):
        borrowing.borrow(lab)
    raised = {"net.ipv4.ip_forward": "1", "fs.inotify.max_user_instances": "8192"}
    assert kernel == raised
    assert rules == {"flambe-lab:forwarding"}
    borrowing.give_back("a")
    assert kernel == raised
    borrowing.give_back("b")
    borrowing.give_back("b")
    assert kernel == {"net.ipv4.ip_forward": "0", "fs.inotify.max_user_instances": "128"}
    assert rules == set()
    assert kept == [["nat"]]


@pytest.mark.parametrize(("purge", "left"), [(True, False), (False, True)])
def test_purge_removes_shared_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, purge: bool, left: bool) -> None:
    base = tmp_path / "flambe-ansible"
    monkeypatch.setattr(state, "root", lambda: base)
    for name in ("images/abc", "cache/uv", "labs", "locks"):
        (base / name).mkdir(parents=True)
    (base / "labs/other").mkdir()
    state.save(state.Settings(name="other", network="10.0.0.0/24", port=1, image=""))
    lifecycle._clear("gone", purge=purge)
    assert (base / "images/abc").is_dir(), "another lab uses it"
    (base / "labs/other/lab.json").unlink()
    (base / "labs/other").rmdir()
    lifecycle._clear("other", purge=purge)
    assert base.exists() is left


def test_a_port_in_use_is_replaced() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        used = other.getsockname()[1]
        assert process.choose_port(used) not in (0, used)
    assert process.choose_port(used) == used
