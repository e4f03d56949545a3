"""The text of Ray's unit and commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ray_unit


@pytest.mark.parametrize(
    ("version", "head", "expected"),
    [
        ("0.7.6", True, ["--head", "--num-cpus=0", "--redis-port=12345", "--node-ip-address=10.0.0.1", "--block"]),
        ("0.7.6", False, ["--redis-address=10.0.0.9:12345", "--node-ip-address=10.0.0.1", "--block"]),
        (
            "2.52.0",
            True,
            [
                "--head", "--num-cpus=0", "--port=12345", "--dashboard-host=127.0.0.1", "--node-ip-address=10.0.0.1",
                "--block",
            ],
        ),
        ("1.0.0", False, ["--address=10.0.0.9:12345", "--node-ip-address=10.0.0.1", "--block"]),
    ],
)  # fmt: skip
def test_start_options(version: str, head: bool, expected: list[str]) -> None:
    assert ray_unit.start_options(version, head, "10.0.0.1", "10.0.0.9", 12345) == expected


def unit(**depends: str) -> str:
    text: str = ray_unit.unit_text(
        description="Ray",
        user="ml",
        home="/home/100% ml",
        runtime="/opt/flambe/venv",
        command=["/opt/flambe/venv/bin/ray", "start", "--x=$1 a"],
        wait=["/opt/flambe/bin/ray-nodes", "--wait"],
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
    assert "ExecStartPre=/opt/flambe/bin/ray-nodes --wait" in lines
    assert "Restart=no" in lines
    assert "UnsetEnvironment=PYTHONHOME PYTHONPATH" in lines
    assert 'Environment="PYTHONUNBUFFERED=1"' in lines
    assert lines.index("Type=simple") > lines.index("[Service]")
    assert lines[-1] == "WantedBy=multi-user.target"


def test_read_depends() -> None:
    assert ray_unit.read_depends(unit(head="abc"), "head") == "abc"
    assert ray_unit.read_depends(None, "head") == ""


def test_missing_nodes() -> None:
    document = {"nodes": [{"address": "1", "alive": True}, {"address": "2", "alive": False}]}
    assert ray_unit.missing_nodes(document, {"a": "1", "b": "2", "c": "3"}) == ["b", "c"]
    assert ray_unit.missing_nodes({"error": "x"}, {"a": "1"}) == ["a"]


def test_wrapper_quotes() -> None:
    text = ray_unit.wrapper_text("/my venv", "/s.py", "10.0.0.9:12345")
    assert text.endswith("'/my venv/bin/python' /s.py --address 10.0.0.9:12345 \"$@\"\n")


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
