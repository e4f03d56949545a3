"""Locks of Python packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import locks

CPU, CUDA, ARM = "x86_64-cpu", "x86_64-cuda-580.65.06", "aarch64-cpu"


class Uv:
    """Records its calls."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def compile(self, *arguments: Any) -> list[str]:
        self.calls.append(arguments)
        return self.answers.pop(0)


def make(root: Path, *kinds: str, **changes: Any) -> Any:
    params = {
        "root": str(root),
        "requirements": ["torch"],
        "constraints": ["numpy<2"],
        "python_version": "3.11",
        "torch_backend": "auto",
        "kinds": list(kinds),
        **changes,
    }
    return locks.Lock(params)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks.platform, "machine", lambda: "x86_64")


def test_kinds_of_hosts(tmp_path: Path) -> None:
    version = tmp_path / "version"
    assert locks.host_kind(str(version), str(tmp_path)) == CPU
    version.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 11.4.0\n"
    )
    assert locks.host_kind(str(version)) == CUDA


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("580.159.04", "x86_64-cuda-580.159.04"),  # of a machine with an NVIDIA H200
        ("580.159.04\n580.159.04", "x86_64-cuda-580.159.04"),  # two GPUs
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", CPU),
        ("", CPU),
    ],
)
def test_the_driver_of_a_sandbox_is_read_from_nvidia_smi(tmp_path: Path, output: str, kind: str) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f"#!/bin/sh\n[ \"$*\" = '--query-gpu=driver_version --format=csv,noheader' ] && cat <<E\n{output}\nE\n"
    )
    program.chmod(0o755)
    assert locks.host_kind(str(tmp_path / "none"), str(tmp_path)) == kind
    assert locks.host_kind(str(tmp_path / "none"), str(tmp_path / "elsewhere")) == CPU


@pytest.mark.parametrize(
    ("kind", "wanted", "expected"),
    [
        (CPU, "auto", ["--torch-backend=cpu"]),
        (CUDA, "auto", ["--torch-backend=auto"]),
        (CUDA, "cpu", ["--torch-backend=cpu"]),
        (CPU, "cu128", ["--torch-backend=cu128"]),
        (CUDA, "none", []),
    ],
)
def test_the_build_of_torch(kind: str, wanted: str, expected: list[str]) -> None:
    assert locks.torch_options(kind, wanted) == expected


def test_each_kind_is_resolved_once_and_to_the_same_releases(tmp_path: Path) -> None:
    uv = Uv(["torch==2.13.0+cpu"], ["torch==2.13.0+cu130"])
    lock = make(tmp_path, CUDA, CPU, CPU)
    assert lock.todo == [CPU, CUDA]
    lock.resolve(uv)
    assert lock.found == {CPU: ["torch==2.13.0+cpu"], CUDA: ["torch==2.13.0+cu130"]}
    options = ["--python-version", "3.11"]
    assert uv.calls[0] == (["torch"], ["numpy<2"], [*options, "--torch-backend=cpu"], {})
    driver = {"UV_CUDA_DRIVER_VERSION": "580.65.06"}
    assert uv.calls[1] == (["torch"], ["numpy<2", "torch==2.13.0"], [*options, "--torch-backend=auto"], driver)
    assert make(tmp_path, CUDA, CPU).todo == []
    later = make(tmp_path, CPU, ARM)
    assert later.todo == [ARM]
    another = Uv(["torch==2.13.0"])
    later.resolve(another)
    assert another.calls[0][2][-2:] == ["--python-platform", "aarch64-manylinux_2_28"]
    assert make(tmp_path, CUDA).found.keys() == {CPU, CUDA, ARM}


@pytest.mark.parametrize(
    "changes", [{"requirements": ["torch", "six"]}, {"python_version": "3.12"}, {"constraints": []}]
)
def test_other_inputs_are_resolved_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    make(tmp_path, CPU).resolve(Uv(["torch==1"]))
    assert make(tmp_path, CPU, **changes).todo == [CPU]


def test_a_failure_keeps_the_previous_lock(tmp_path: Path) -> None:
    make(tmp_path, CPU).resolve(Uv(["torch==1"]))
    with pytest.raises(IndexError):
        make(tmp_path, CPU, requirements=["nope"]).resolve(Uv())
    assert make(tmp_path, CPU).found == {CPU: ["torch==1"]}
