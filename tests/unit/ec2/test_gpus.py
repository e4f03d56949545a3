from __future__ import annotations

from typing import Any

import moto.ec2.models.instance_types
import pytest

from flambe_ansible.ec2 import gpus


def _info(name: str, *names: str, manufacturer: str = "NVIDIA") -> Any:
    found = [{"Name": gpu, "Manufacturer": manufacturer} for gpu in names]
    return {"InstanceType": name, **({"GpuInfo": {"Gpus": found}} if found else {})}


@pytest.mark.parametrize(
    ("info", "capability"),
    [
        (_info("t3.large"), None),
        (_info("g4ad.xlarge", "Radeon Pro V520", manufacturer="AMD"), None),
        (_info("g4dn.xlarge", "T4"), 7.5),
        (_info("p5.48xlarge", "H100"), 9.0),
        (_info("g9.xlarge", "unheard of"), gpus.NEWEST),
    ],
)
def test_read_capability(info: Any, capability: float | None) -> None:
    assert gpus.read_capability(info) == capability


OFFERED = [
    _info("c3.4xlarge"),
    _info("g3.4xlarge", "M60"),
    *(_info(f"g4dn.{size}", "T4") for size in ("xlarge", "2xlarge", "4xlarge")),
    *(_info(f"g5.{size}", "A10G") for size in ("xlarge", "2xlarge", "4xlarge")),
    _info("g4ad.4xlarge", "Radeon Pro V520", manufacturer="AMD"),
    _info("p4d.24xlarge", "A100"),
]


@pytest.mark.parametrize("limit", [None, 7.5])
@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("g3.4xlarge", "g4dn.4xlarge"),
        ("p2.xlarge", "g4dn.xlarge"),
        ("g4dn.xlrage", "g4dn.xlarge"),
        ("g4nd.2xlarge", "g4dn.2xlarge"),
    ],
)
def test_suggest_a_type_with_gpus_that_aws_has_not_retired(wanted: str, meant: str, limit: float | None) -> None:
    assert gpus.suggest(wanted, OFFERED, limit=limit) == meant


def test_suggest_respects_the_limit() -> None:
    assert gpus.suggest("g5.xlagre", OFFERED, limit=None) == "g5.xlarge"
    assert gpus.suggest("g5.xlarge", OFFERED, limit=7.5) == "g4dn.xlarge"
    assert gpus.suggest("p4d.24xlarge", OFFERED[:1], limit=7.5) == ""


def test_every_gpu_of_the_known_types_has_its_capability() -> None:
    """A type that is missing here counts as newer than all others, which refuses it for flambé."""
    known = moto.ec2.models.instance_types.INSTANCE_TYPES.values()
    names = {gpu["Name"] for info in known for gpu in gpus._list_nvidia(info)}
    assert len(names) > 10
    assert names <= gpus.CAPABILITIES.keys()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], ""),
        ([{"Manufacturer": "AMD", "Name": "V520", "Count": 1}], ""),
        ([{"Manufacturer": "NVIDIA", "Name": "T4", "Count": 4, "MemoryInfo": {"SizeInMiB": 16384}}], "4 x T4, 16 GiB"),
        ([{"Manufacturer": "NVIDIA", "Name": "T4"}], "1 x T4"),
    ],
)
def test_describe(found: Any, words: str) -> None:
    assert gpus.describe({"GpuInfo": {"Gpus": found}}) == words
