"""What uv does, read from its output. The output was recorded with uv 0.13.9 without a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils.uv_progress import UvProgress, read_received

INSTALLATION = """\
Using Python 3.11.7 environment at: v
Resolved 11 packages in 820ms
Downloading numpy (16.1MiB)
Downloading scipy (33.7MiB)
Downloading pandas (11.8MiB)
   Building docopt==0.6.2
 Downloaded pandas
 Downloaded numpy
 Downloaded scipy
      Built docopt==0.6.2
Prepared 11 packages in 2.54s
Installed 11 packages in 123ms
 + certifi==2026.10.19.post1
 + docopt==0.6.2
"""
FOLDER = """\
Resolved 1 package in 1ms
   Building topics @ file:///tmp/pkg
      Built topics @ file:///tmp/pkg
Prepared 1 package in 2.98s
"""
FIRST = "resolving the packages"


def describe_each(text: str, *, received: int = 0) -> list[str]:
    """Return what is reported after each line, without repetitions; the host receives so many bytes per line."""
    counter = iter(range(1, 10**12, received or 1))
    uv = UvProgress(FIRST, lambda: next(counter) if received else 0)
    shown = [uv.describe()]
    for line in text.splitlines():
        uv([line])
        shown.append(uv.describe())
    return [one for before, one in zip(["", *shown], shown, strict=False) if before != one]


def test_an_installation() -> None:
    assert describe_each(INSTALLATION) == [
        "resolving the packages",
        "preparing 11 packages",
        "downloading 0 of 17 MB",
        "downloading 0 of 52 MB",
        "downloading 0 of 65 MB",
        "downloading 12 of 65 MB",
        "downloading 29 of 65 MB",
        "building docopt",
        "preparing 11 packages",
        "installing the packages",
    ]


def test_a_folder_is_built() -> None:
    expected = [FIRST, "preparing 1 package", "building topics", "preparing 1 package", "installing the packages"]
    assert describe_each(FOLDER) == expected


def test_the_received_bytes_are_counted_up_to_the_size() -> None:
    now = [1000.0]
    uv = UvProgress(FIRST, lambda: now[0])
    uv(["Downloading torch (700.4MiB)", "Downloading numpy (1.0GiB)"])
    assert uv.describe() == "downloading 0 of 1808 MB"
    now[0] += 412e6
    assert uv.describe() == "downloading 412 of 1808 MB"
    uv([" Downloaded numpy"])
    assert uv.describe() == "downloading 1074 of 1808 MB"
    now[0] += 5e9
    assert uv.describe() == "downloading 1808 of 1808 MB"


def test_a_package_that_is_downloaded_and_built() -> None:
    lines = [
        "Resolved 1 package in 1ms",
        "Downloading a (5.0MiB)",
        " Downloaded a",
        "   Building a==1",
        "      Built a==1",
    ]
    assert describe_each("\n".join(lines))[-3:] == ["preparing 1 package", "building a", "preparing 1 package"]


def test_a_python() -> None:
    uv = UvProgress("downloading Python 3.7.9")
    assert uv.describe() == "downloading Python 3.7.9"
    uv(["Downloading cpython-3.7.9-linux-x86_64-gnu (download) (27.5MiB)"])
    assert uv.describe().endswith("of 29 MB")
    uv([" Downloaded cpython-3.7.9-linux-x86_64-gnu (download)", "Installed Python 3.7.9 in 2s"])
    assert uv.describe() == "downloading Python 3.7.9"


@pytest.mark.parametrize(
    "line",
    [
        "   Building topics @ git+https://me:hunter2@example.com/topics",
        "warning: https://me:hunter2@example.com/simple is slow",
        "Downloading https://me:hunter2@example.com/x.whl",
        " Downloaded https://me:hunter2@example.com/x.whl",
    ],
)
def test_no_login_of_an_index_is_reported(line: str, progress_file: Path) -> None:
    UvProgress(FIRST)([line])
    assert "hunter2" not in progress_file.read_text()
    assert json.loads(progress_file.read_text())["text"] in (FIRST, "building topics")


def test_received_bytes_are_those_of_the_default_route(tmp_path: Path) -> None:
    assert read_received(str(tmp_path)) == 0
    (tmp_path / "dev").write_text(
        "Inter-|   Receive   \n face |bytes    packets\n    lo: 77 1 0\n  eth0:5000 10 0\n docker0: 9 1\n"
    )
    assert read_received(str(tmp_path)) == 0
    (tmp_path / "route").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n"
        "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\n"
    )
    assert read_received(str(tmp_path)) == 5000
