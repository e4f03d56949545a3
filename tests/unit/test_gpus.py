"""The GPUs of a host as data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flambe_ansible import gpus
from flambe_ansible.gpus import Gpu, GpuState, HostGpus

H200 = Gpu(index=0, name="NVIDIA H200", memory=143771, driver="580.159.04", capability="9.0")
A100 = Gpu(index=0, name="NVIDIA A100", memory=40960, capability="8.0", mig=True)
DEVICES = tuple(
    {"profile": profile, "uuid": f"MIG-{index}"} for index, profile in enumerate(("1g.5gb", "1g.5gb", "3g"))
)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (HostGpus(state=GpuState.NONE), ""),
        (HostGpus(state=GpuState.OK, gpus=(H200,)), "1 x NVIDIA H200, 140 GiB, driver 580.159.04"),
        (HostGpus(state=GpuState.OK, gpus=(H200,) * 8), "8 x NVIDIA H200, 140 GiB, driver 580.159.04"),
        (
            HostGpus(state=GpuState.OK, gpus=(Gpu(index=0, name="A", mig=True, mig_devices=DEVICES), A100)),
            "1 x A, MIG: 2 x 1g.5gb, 3g; 1 x NVIDIA A100, 40 GiB, MIG: no devices",
        ),
        (HostGpus(state=GpuState.ERROR, gpus=(A100,), error="GPU 1: ERR!"),
         "1 x NVIDIA A100, 40 GiB, MIG: no devices; GPU 1: ERR!"),
    ],
)  # fmt: skip
def test_words(found: HostGpus, words: str) -> None:
    assert str(found) == words


@pytest.mark.parametrize(
    "text",
    ["", "0", "{}", "[]", '{"state": "other"}', '{"state": "ok", "error": "", "gpus": [{}], "visible": 1}'],
)
def test_a_malformed_answer_is_unknown(text: str) -> None:
    assert gpus.parse(text) == HostGpus()
    assert HostGpus().variables() == {}
    assert not HostGpus().known


def test_control_codes_of_a_host_are_not_shown() -> None:
    gpu: dict[str, Any] = {"index": 0, "name": "A\x1b[2J", "uuid": "", "memory": 0, "driver": "", "capability": ""}
    document = {"state": "ok", "error": "\r", "gpus": [{**gpu, "mig": False, "mig_devices": []}], "visible": 1}
    assert str(gpus.parse(json.dumps(document))) == "1 x A?[2J; ?"


def test_variables_of_the_inventory() -> None:
    variables = HostGpus(state=GpuState.OK, gpus=(H200, H200), visible=2).variables()
    assert [variables.pop(name) for name in ("gpu_state", "gpu_count", "gpu_name", "gpu_driver")] == [
        "ok", 2, "NVIDIA H200", "580.159.04",
    ]  # fmt: skip
    assert [one["memory"] for one in variables.pop("gpus")] == [143771] * 2
    assert not variables
