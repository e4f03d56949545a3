"""The text of Ray's unit and commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ray_unit

PORTS = {
    "node_manager": 6380,
    "object_manager": 6381,
    "runtime_env_agent": 6382,
    "agent_grpc": 6383,
    "agent_http": 6384,
    "metrics": 6385,
    "worker_min": 10002,
    "worker_max": 19999,
}
SETTINGS: dict[str, Any] = {
    "port": 0,
    "dashboard_port": 8265,
    "client_port": 10001,
    "ports": PORTS,
    "head_cpus": 0,
    "resources": {},
    "labels": {},
    "object_store_memory": 0,
    "temp_dir": "",
    "options": [],
}
OLD_PORTS = ["--node-manager-port=12347", "--object-manager-port=12348"]
END = ["--node-ip-address=10.0.0.1", "--block"]


def start(version: str, *, head: bool, **changes: Any) -> list[str]:
    options: list[str] = ray_unit.start_options(version, head, "10.0.0.1", "10.0.0.9", {**SETTINGS, **changes})
    return options


def test_old_ray_uses_the_port_of_redis_and_fixes_its_other_ports() -> None:
    head = ["--head", "--redis-port=12345", "--num-cpus=0", "--redis-shard-ports=12346", *OLD_PORTS, *END]
    assert start("0.7.6", head=True) == head
    assert start("0.7.6", head=False) == ["--redis-address=10.0.0.9:12345", *OLD_PORTS, *END]


def test_the_head_of_current_ray() -> None:
    assert start("2.60.0", head=True) == [
        "--head", "--port=6379", "--num-cpus=0", "--dashboard-host=127.0.0.1", "--dashboard-port=8265",
        "--ray-client-server-port=10001", "--disable-usage-stats", "--node-manager-port=6380",
        "--object-manager-port=6381", "--runtime-env-agent-port=6382", "--dashboard-agent-grpc-port=6383",
        "--dashboard-agent-listen-port=6384", "--metrics-export-port=6385", "--min-worker-port=10002",
        "--max-worker-port=19999", *END,
    ]  # fmt: skip


def test_options_that_a_version_lacks_are_left_out() -> None:
    options = start("1.0.0", head=False, ports={"node_manager": 1, "runtime_env_agent": 2, "agent_http": 3})
    assert options == ["--address=10.0.0.9:6379", "--node-manager-port=1", *END]


def test_resources_labels_and_further_options() -> None:
    options = start(
        "2.60.0", head=False, port=7000, ports={}, resources={"CPU": 1, "memory": 10**9, "b": 0.5, "a": 1},
        labels={"zone": "left", "kind": "x"}, object_store_memory=80_000_000, temp_dir="/var/ray",
        options=["--log-style=record"],
    )  # fmt: skip
    assert options == [
        "--address=10.0.0.9:7000", "--num-cpus=1", "--memory=1000000000", '--resources={"a": 1, "b": 0.5}',
        "--labels=kind=x,zone=left", "--disable-usage-stats", "--object-store-memory=80000000", "--temp-dir=/var/ray",
        "--node-ip-address=10.0.0.1", "--log-style=record", "--block",
    ]  # fmt: skip
    assert "--num-cpus=2" in start("2.60.0", head=True, resources={"CPU": 2})
    with pytest.raises(ValueError, match=r"labels need Ray 2\.49 or later, not 2\.40\.0"):
        start("2.40.0", head=False, labels={"zone": "left"})


def test_the_address_that_another_users_ray_left_is_removed() -> None:
    assert ray_unit.clean_up("0.7.6", SETTINGS) == []
    assert ray_unit.clean_up("2.60.0", SETTINGS) == [["-/bin/rm", "-f", "/tmp/ray/ray_current_cluster"]]
    own = {**SETTINGS, "temp_dir": "/var/ray"}
    assert ray_unit.clean_up("2.60.0", own) == [["-/bin/rm", "-f", "/var/ray/ray_current_cluster"]]


def test_ports_of_the_firewall() -> None:
    def ports(version: str, head: bool, **changes: Any) -> list[Any]:
        found: list[Any] = ray_unit.list_ports(version, head, {**SETTINGS, **changes})
        return found

    node = [6380, 6381, 6382, 6383, 6384, 6385]
    assert ports("2.60.0", False) == [*node, "10002-19999"]
    assert ports("2.60.0", True) == [6379, *node, 8265, 10001, 44217, 44227, "10002-19999"]
    assert ports("2.60.0", True, port=12345) == [*node, 8265, 10001, 44217, 44227, "10002-19999"]
    assert ports("0.7.6", True) == [12345, 12346, 12347, 12348]


def unit(**depends: str) -> str:
    text: str = ray_unit.unit_text(
        description="Ray",
        user="ml",
        home="/home/100% ml",
        runtime="/opt/flambe/venv",
        command=["/opt/flambe/venv/bin/ray", "start", "--x=$1 a"],
        start_pre=[["-+/opt/flambe/bin/ray-firewall", "start"], ["/opt/flambe/bin/ray-nodes", "--wait"]],
        depends=depends,
    )
    return text


def test_unit_text() -> None:
    lines = unit(head="abc", runtime="").splitlines()
    assert "# head: abc" in lines
    assert not any(line.startswith("# runtime") for line in lines)
    path = "/opt/flambe/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # Not as Environment=, which a PATH in /etc/environment would override.
    assert f'ExecStart=/usr/bin/env PATH={path} /opt/flambe/venv/bin/ray start "--x=$$1 a"' in lines
    assert not any(line.startswith("Environment=") and "PATH=" in line for line in lines)
    assert "WorkingDirectory=/home/100%% ml" in lines
    before = ["ExecStartPre=-+/opt/flambe/bin/ray-firewall start", "ExecStartPre=/opt/flambe/bin/ray-nodes --wait"]
    assert [line for line in lines if line.startswith("ExecStartPre=")] == before
    assert {"Restart=no", "OOMPolicy=continue"} <= set(lines)
    assert "UnsetEnvironment=PYTHONHOME PYTHONPATH" in lines
    assert 'Environment="PYTHONUNBUFFERED=1"' in lines
    assert lines.index("Type=simple") > lines.index("[Service]")
    assert lines[-1] == "WantedBy=multi-user.target"


def test_read_depends() -> None:
    assert ray_unit.read_depends(unit(head="abc"), "head") == "abc"
    assert ray_unit.read_depends(None, "head") == ""


def test_wrapper_quotes() -> None:
    text = ray_unit.wrapper_text("/my venv", "/s.py", "10.0.0.9:12345")
    assert text.endswith("'/my venv/bin/python' /s.py --address 10.0.0.9:12345 \"$@\"\n")


def test_wrapper_sets_variables() -> None:
    text = ray_unit.wrapper_text("/venv", "/s.py", "10.0.0.9:6379", ["--head"], {"RAY_AUTH_MODE": "token"})
    assert " RAY_AUTH_MODE=token /venv/bin/python /s.py --address 10.0.0.9:6379 --head " in text


def test_wrapper_ignores_another_python(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text('#!/bin/sh\necho "home=$PYTHONHOME path=$PYTHONPATH args=$*"\n')
    python.chmod(0o755)
    wrapper = tmp_path / "ray-nodes"
    wrapper.write_text(ray_unit.wrapper_text(str(tmp_path), "/s.py", "10.0.0.9:12345"))
    done = subprocess.run(
        ["/bin/sh", wrapper, "--timeout", "3"],
        env={"PATH": os.environ["PATH"], "PYTHONHOME": "/opt/other", "PYTHONPATH": "/opt/other/lib"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "home= path= args=/s.py --address 10.0.0.9:12345 --timeout 3\n"


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--ports", "8076"), 7)], ids=["without ports", "with ports"])
def test_wrapper_starts_no_python_without_ports_to_check(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text("#!/bin/sh\nexit 7\n")
    python.chmod(0o755)
    wrapper = tmp_path / "ray-nodes"
    wrapper.write_text(ray_unit.wrapper_text(str(tmp_path), "/s.py", "10.0.0.9:12345", options))
    assert subprocess.run(["/bin/sh", wrapper, "--check-ports"], check=False).returncode == code
    assert subprocess.run(["/bin/sh", wrapper], check=False).returncode == 7


@pytest.mark.parametrize(
    ("program", "removed", "code"),
    [
        ("venv/raylet", "", 0),
        ("venv/raylet", "sockets", 1),
        ("venv/raylet", "logs", 1),
        ("other/raylet", "logs", 0),
    ],
    ids=["all there", "no sockets", "no logs", "another Ray"],
)
def test_wrapper_finds_a_ray_whose_folder_was_removed(tmp_path: Path, program: str, removed: str, code: int) -> None:
    for name in ("sockets", "logs"):
        (tmp_path / "ray of=two/session_1" / name).mkdir(parents=True)
    wrapper = tmp_path / "ray-nodes"
    wrapper.write_text(ray_unit.wrapper_text(f"{tmp_path}/venv", "/s.py", "10.0.0.9:12345"))
    option = f"--raylet_socket_name={tmp_path}/ray of=two/session_1/sockets/raylet"
    words = [f"{tmp_path}/{program}", "-c", "echo runs; read line", "sh", option]
    with subprocess.Popen(words, executable="/bin/sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        if removed:
            (tmp_path / "ray of=two/session_1" / removed).rmdir()
        found = subprocess.run(["/bin/sh", wrapper, "--check-session"], check=False).returncode
        process.stdin.close()
    assert found == code


@pytest.mark.parametrize(
    ("resources", "number", "before", "expected"),
    [
        ({}, 0, "", {}),
        ({"a": 1}, 8, "", {"GPU": 8, "a": 1}),
        ({"GPU": 2}, 8, "", {"GPU": 2}),
        ({}, None, 'ExecStart="ray" "start" "--num-gpus=4" "--block"', {"GPU": 4}),
        ({}, None, 'ExecStart="ray" "start" "--block"', {}),
        ({}, None, None, {}),
        ({}, 0, "--num-gpus=4", {}),
    ],
)
def test_gpus_of_a_host(resources: Any, number: int | None, before: str | None, expected: Any) -> None:
    assert ray_unit.add_gpus(resources, number, before) == expected
