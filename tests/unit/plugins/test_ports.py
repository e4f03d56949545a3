"""Processes that listen on a port."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ports

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ENTRY = "   0: 00000000:3039 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Make process 4242 of root, which listens on port 12345."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(HEADER + ENTRY)
    process = tmp_path / "4242"
    (process / "fd").mkdir(parents=True)
    (process / "fd/3").symlink_to("socket:[4711]")
    (process / "cmdline").write_text("redis-server\0*:12345\0")
    (process / "cgroup").write_text("0::/user.slice/user-1000.slice/session-3.scope\n")
    return tmp_path


def test_a_process_of_a_session(proc: Path) -> None:
    assert ports.find_foreign(12345, "ray.service", str(proc)) == (
        "port 12345 is in use by process 4242 (redis-server *:12345, user root): stop it (sudo kill 4242)"
    )
    assert ports.find_foreign(12346, "ray.service", str(proc)) == ""


def test_a_process_of_a_service(proc: Path) -> None:
    (proc / "4242/cgroup").write_text("0::/system.slice/redis-server.service\n")
    assert ports.find_foreign(12345, "ray.service", str(proc)).endswith("(sudo systemctl stop redis-server.service)")
    assert ports.find_foreign(12345, "redis-server.service", str(proc)) == ""


def test_a_process_that_is_not_visible(proc: Path) -> None:
    (proc / "4242/fd/3").unlink()
    expected = "port 12345 is in use by a process of user root: stop it"
    assert ports.find_foreign(12345, "ray.service", str(proc)) == expected


def test_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = ports.find_foreign(port, "ray.service")
    assert found.startswith(f"port {port} is in use by process {os.getpid()} (")
    assert f"user {getpass.getuser()})" in found
    assert ports.find_foreign(port, "ray.service") == ""
