"""The facts of GPUs, from recorded outputs of nvidia-smi and from its errors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import nvidia_smi

from flambe_ansible import gpus
from flambe_ansible.gpus import GpuState
from tests.nvidia_smi import BUSY, IDLE, write_eight, write_script

H200 = {
    "index": 0,
    "name": "NVIDIA H200",
    "uuid": "GPU-00000000-0000-0000-0000-000000000001",
    "memory": 143771,
    "driver": "580.159.04",
    "capability": "9.0",
    "mig": False,
    "mig_devices": [],
}
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.161\n"
NOT_LOADED = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA"
    " driver is installed and running.\n"
)
LOST = (
    "Unable to determine the device handle for GPU0000:0B:00.0: GPU is lost.  Reboot the system to recover this GPU\n"
)
MIG = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0)
  MIG 3g.20gb     Device  0: (UUID: MIG-a)
  MIG 1g.5gb      Device  1: (UUID: MIG-b)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1)
  MIG 1g.5gb      Device  0: (UUID: MIG-c)
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a host without GPUs below a folder; its PCI bus is visible."""
    for name in ("PROC", "SYS", "DEV"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(nvidia_smi, name, str(tmp_path / name))
    (tmp_path / "SYS/bus/pci/devices").mkdir(parents=True)
    monkeypatch.setattr(nvidia_smi, "CONTAINER", ())
    monkeypatch.setattr(nvidia_smi, "ENVIRONMENT", str(tmp_path / "environment"))
    monkeypatch.setattr(nvidia_smi, "PATH", "")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    return tmp_path


def install(host: Path, *args: Any, **options: Any) -> None:
    path = host / "bin/nvidia-smi"
    path.write_text(write_script(*args, **options))
    path.chmod(0o755)


def add_cards(host: Path, number: int, *, kind: str = "0x030200") -> None:
    for index in range(number):
        device = host / f"SYS/bus/pci/devices/0000:00:0{index}.0"
        device.mkdir()
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text(f"{kind}\n")


def test_a_host_without_gpus(host: Path) -> None:
    add_cards(host, 2, kind="0x040300")  # audio devices
    assert nvidia_smi.read() == {"state": "none", "error": "", "gpus": [], "visible": 0, "cards": 0}
    assert nvidia_smi.count_usable() == 0


@pytest.mark.parametrize("recorded", [IDLE, BUSY])
def test_one_gpu(host: Path, recorded: str) -> None:
    install(host, recorded)
    add_cards(host, 1)
    assert nvidia_smi.read() == {"state": "ok", "error": "", "gpus": [H200], "visible": 1, "cards": 1}


def test_eight_gpus(host: Path) -> None:
    install(host, write_eight())
    facts = nvidia_smi.read()
    assert (facts["state"], facts["visible"]) == ("ok", 8)
    assert [one["index"] for one in facts["gpus"]] == list(range(8))
    assert {(one["name"], one["memory"], one["capability"]) for one in facts["gpus"]} == {
        ("NVIDIA A100-SXM4-40GB", 40960, "8.0")
    }
    assert len({one["uuid"] for one in facts["gpus"]}) == 8


def test_mig_devices(host: Path) -> None:
    install(host, write_eight(mig="Enabled"), listed=MIG)
    first, second, third = nvidia_smi.read()["gpus"][:3]
    assert first["mig_devices"] == [{"profile": "3g.20gb", "uuid": "MIG-a"}, {"profile": "1g.5gb", "uuid": "MIG-b"}]
    assert (second["mig_devices"], third["mig_devices"]) == ([{"profile": "1g.5gb", "uuid": "MIG-c"}], [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("SYS/module/nvidia/version", "535.154.05\n"),
        ("PROC/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.154.05  Thu Dec 28 2023\n"),
        (
            "PROC/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.154.05  Release\n",
        ),
    ],
)
def test_a_driver_mismatch_names_both_versions(host: Path, path: str, text: str) -> None:
    (host / path).parent.mkdir(parents=True)
    (host / path).write_text(text)
    install(host, MISMATCH, code=18)
    add_cards(host, 1)
    facts = nvidia_smi.read()
    assert (facts["state"], facts["gpus"]) == ("mismatch", [])
    assert facts["error"] == (
        "the loaded module of NVIDIA's driver has version 535.154.05, its libraries have version 535.161:"
        " reboot the host"
    )


@pytest.mark.parametrize(
    ("output", "code", "state", "error"),
    [
        ("No devices were found\n", 6, "no_devices", "nvidia-smi: No devices were found"),
        (NOT_LOADED, 9, "no_driver", "NVIDIA's driver is installed, and it is not loaded"),
        (LOST, 15, "error", f"nvidia-smi: {LOST.strip()}"),
        ("", 1, "error", "nvidia-smi: exit code 1"),
        ("Segmentation fault\n", 139, "error", "nvidia-smi: Segmentation fault"),
    ],
)
def test_errors(host: Path, output: str, code: int, state: str, error: str) -> None:
    install(host, output, code=code)
    add_cards(host, 1)
    facts = nvidia_smi.read()
    assert (facts["state"], facts["error"], facts["gpus"]) == (state, error, [])
    assert nvidia_smi.count_usable() is None


@pytest.mark.parametrize("text", ["ERR!", "[Unknown Error]", "[GPU is lost]", "[GPU requires reset]"])
def test_a_broken_gpu_is_named_and_the_others_are_listed(host: Path, text: str) -> None:
    rows = write_eight().splitlines()
    rows[3] = rows[3].replace("40960", text)
    install(host, "\n".join(rows))
    facts = nvidia_smi.read()
    assert (facts["state"], facts["error"]) == ("error", f"nvidia-smi: GPU 3: {text}")
    assert [one["index"] for one in facts["gpus"]] == [0, 1, 2, 4, 5, 6, 7]


def test_values_that_a_gpu_does_not_have_are_no_errors(host: Path) -> None:
    install(host, IDLE.replace("143771", "[N/A]").replace("Disabled", "[Not Supported]"))
    facts = nvidia_smi.read()
    assert facts["state"] == "ok"
    assert (facts["gpus"][0]["memory"], facts["gpus"][0]["mig"]) == (0, False)


def test_a_driver_that_is_older_than_a_field(host: Path) -> None:
    older = IDLE.replace("9.0, ", "")
    install(host, older, first='case "$*" in *compute_cap*) echo "Field \\"compute_cap\\" is not valid"; exit 2;; esac')
    assert nvidia_smi.read()["state"] == "error"  # another message
    text = 'Field \\"compute_cap\\" is not a valid field to query.'
    install(host, older, first=f'case "$*" in *compute_cap*) echo "{text}"; exit 2;; esac')
    facts = nvidia_smi.read()
    assert (facts["state"], facts["gpus"][0]["capability"], facts["gpus"][0]["memory"]) == ("ok", "", 143771)


def test_a_hang_ends_at_the_limit(host: Path) -> None:
    """The program and what it started are killed; a child that keeps its output open does not delay the answer."""
    install(host, first="sleep 1071.5 & sleep 1071.5")
    started = time.monotonic()
    facts = nvidia_smi.read(timeout=0.5)
    assert time.monotonic() - started < 5
    assert (facts["state"], facts["error"], facts["gpus"]) == (
        "timeout",
        "nvidia-smi did not answer within 0.5 s",
        [],
    )
    assert "sleep 1071.5" not in subprocess.run(["ps", "-ax", "-o", "args"], capture_output=True, text=True).stdout


def test_the_driver_of_an_image_on_a_host_without_a_gpu(host: Path) -> None:
    for output, code in ((NOT_LOADED, 9), ("No devices were found\n", 6)):
        install(host, output, code=code)
        assert nvidia_smi.read()["state"] == "none"


def test_gpus_without_a_driver(host: Path) -> None:
    add_cards(host, 2)
    facts = nvidia_smi.read()
    assert (facts["state"], facts["error"]) == ("no_driver", "2 NVIDIA GPUs, and no driver is installed")
    (host / "DEV/nvidia0").touch()
    assert nvidia_smi.read()["error"] == "NVIDIA's driver is loaded, and nvidia-smi is not installed"


def test_a_container_sees_cards_that_it_may_not_use(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_cards(host, 2)
    monkeypatch.setattr(nvidia_smi, "CONTAINER", (str(host),))
    assert nvidia_smi.read() == {"state": "none", "error": "", "gpus": [], "visible": 0, "cards": None}


@pytest.mark.parametrize(
    ("line", "visible"),
    [
        ("", 8),
        ("OTHER=1", 8),
        ("CUDA_VISIBLE_DEVICES=0,1", 2),
        ('export CUDA_VISIBLE_DEVICES="3"', 1),
        ("CUDA_VISIBLE_DEVICES=", 0),
        ("CUDA_VISIBLE_DEVICES=-1", 0),
        ("CUDA_VISIBLE_DEVICES=0,-1,2", 1),
        ("CUDA_VISIBLE_DEVICES=MIG-a,MIG-b,MIG-c", 3),
    ],
)
def test_the_gpus_that_etc_environment_leaves_visible(host: Path, line: str, visible: int) -> None:
    (host / "environment").write_text(f"PATH=/bin\n{line}\n")
    install(host, write_eight())
    assert nvidia_smi.count_usable() == visible


def test_the_program_runs_alone_and_its_facts_are_read_here(host: Path) -> None:
    install(host, write_eight(mig="Enabled"), listed=MIG)
    done = subprocess.run([sys.executable, "-I", "-"], input=gpus.read_program(), capture_output=True, text=True)
    assert done.stderr == ""
    found = gpus.parse(f"Welcome\n{done.stdout}")
    assert (found.state, len(found.gpus), found.visible, found.capability) == (GpuState.OK, 8, 8, 8.0)
    assert gpus.parse(json.dumps(found.to_dict())) == found
    assert {state.value for state in GpuState} - {"unknown"} == {
        nvidia_smi.OK, nvidia_smi.NONE, nvidia_smi.NO_DRIVER, nvidia_smi.NO_DEVICES, nvidia_smi.MISMATCH,
        nvidia_smi.ERROR, nvidia_smi.TIMED_OUT,
    }  # fmt: skip
