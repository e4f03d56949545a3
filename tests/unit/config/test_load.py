"""Valid configurations and the values that they have."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.errors import ClusterConfigurationError

from .conftest import read
from .malformed import AWS, LAB, MALFORMED

# The example in flambé's guide, with another path of the key.
GUIDE = """!AWSCluster

name: name-of-the-cluster # Pick a unique identifier for the cluster

factories_num: 1  # The amount of factories

factories_type: g3.4xlarge  # The type of factories. GPU instances are recommended.
orchestrator_type: t3.large # The type of the orchestrator (GPU is not necessary).

orchestrator_timeout: -1  # # -1 means the orchestrator will have to be killed manually (recommended)
factories_timeout: -1 # Factories timeout after being unused for these many hours

creator: user@company
key_name: aws-key-name

tags:  # Extra tags to add to all instances
    company: my-company

key: {key}

subnet_id: subnet-abcdef
volume_size: 100. # GBs of disk space for all instances

security_group: sg-0987654321
"""

SETUP = """
setup_cmds:
  - sshfs user@host:/path/to/remote /path/to/local/mount/point  # Mount a remote filesystem
  - pip config set index_url https://my-custom-pypi.com  # Configure PyPI
"""


def test_the_guides_example_loads_unchanged(folder: Path, write: Callable[[str], Path]) -> None:
    document = read(write(GUIDE.replace("{key}", str(folder / "id")) + SETUP))
    assert document.tag == "!AWSCluster"
    assert document.values == {
        "name": "name-of-the-cluster",
        "factories_num": 1,
        "factories_type": "g3.4xlarge",
        "orchestrator_type": "t3.large",
        "orchestrator_timeout": -1,
        "factories_timeout": -1,
        "creator": "user@company",
        "key_name": "aws-key-name",
        "tags": {"company": "my-company"},
        "key": str(folder / "id"),
        "subnet_id": "subnet-abcdef",
        "volume_size": 100,
        "security_group": "sg-0987654321",
        "setup_cmds": [
            "sshfs user@host:/path/to/remote /path/to/local/mount/point",
            "pip config set index_url https://my-custom-pypi.com",
        ],
    }
    assert isinstance(document.values["volume_size"], int)


GOOD: dict[str, tuple[str, str, Any]] = {
    "minimal lab": (LAB, "name", "a"),
    "a float that is whole": (AWS + "volume_size: 100.\n", "volume_size", 100),
    "an exponent": (AWS + "volume_size: 1e2\n", "volume_size", 100),
    "underscores": (AWS + "volume_size: 1_000\n", "volume_size", 1000),
    "hexadecimal": (AWS + "volume_size: 0x10\n", "volume_size", 16),
    "fractional seconds": (AWS + "setup_timeout: 1.5\n", "setup_timeout", 1.5),
    "whole seconds": (AWS + "setup_timeout: 90\n", "setup_timeout", 90.0),
    "yes": (AWS + "dedicated: yes\n", "dedicated", True),
    "OFF": (AWS + "use_public: OFF\n", "use_public", False),
    "a date as a name": ("!LabCluster\nname: 2026-11-01\n", "name", "2026-11-01"),
    "64 characters": (f"!LabCluster\nname: {'a' * 64}\n", "name", "a" * 64),
    "quoted Norway": ("!LabCluster\nname: 'no'\n", "name", "no"),
    "tagged as text": ("!LabCluster\nname: !!str 12\n", "name", "12"),
    "gp3 is larger": (AWS + "volume_type: gp3\nvolume_size: 20000\n", "volume_size", 20000),
    "io1 of 100": (AWS + "volume_type: io1\n", "volume_type", "io1"),
    "numbers as tags": (
        LAB + "tags: {a: 1, b: 0123, c: 1.10, d: 1:30}\n",
        "tags",
        {"a": "1", "b": "0123", "c": "1.10", "d": "1:30"},
    ),
    "dates and empty tags": (LAB + "tags: {until: 2026-11-01, e: ''}\n", "tags", {"until": "2026-11-01", "e": ""}),
    "tags with other cases": (
        LAB + "tags: {role: x, purpose: y, 7: z}\n",
        "tags",
        {"role": "x", "purpose": "y", "7": "z"},
    ),
    "45 tags": (
        LAB + "tags:\n" + "".join(f"  k{n}: v\n" for n in range(45)),
        "tags",
        {f"k{n}": "v" for n in range(45)},
    ),
    "merged tags": (
        LAB + "tags:\n  <<: [{a: 1, b: 1}, {b: 2, c: 2}]\n  c: 3\n",
        "tags",
        {"a": "1", "b": "1", "c": "3"},
    ),
    "an alias": ("!LabCluster\nname: &n a\ncreator: *n\n", "creator", "a"),
    "commands commented out": (LAB + "setup_cmds:\n# - ls\n", "setup_cmds", None),
    "no commands": (LAB + "setup_cmds: []\n", "setup_cmds", []),
    "a command of lines": (LAB + "setup_cmds:\n- |\n  a: b\n  c\n", "setup_cmds", ["a: b\nc\n"]),
    "timeouts alike": (AWS + "orchestrator_timeout: 1\n", "orchestrator_timeout", 1),
    "seven days": (AWS + "orchestrator_timeout: 168\n", "orchestrator_timeout", 168),
    "a metal type": (AWS.replace("g3.4xlarge", "c7i.metal-48xl"), "factories_type", "c7i.metal-48xl"),
    "a type with dashes": (AWS.replace("g3.4xlarge", "u-6tb1.56xlarge"), "factories_type", "u-6tb1.56xlarge"),
    "a GovCloud region": (AWS + "region_name: us-gov-west-1\n", "region_name", "us-gov-west-1"),
    "an empty region": (AWS + "region_name: null\n", "region_name", None),
    "a version with three parts": (LAB + "flambe_version: 0.4.18\n", "flambe_version", "0.4.18"),
    "a future version": (LAB + "flambe_version: 0.5.0rc1\n", "flambe_version", "0.5.0rc1"),
    "Windows' line ends": (LAB.replace("\n", "\r\n"), "name", "a"),
    "a byte order mark": ("\ufeff" + LAB, "name", "a"),
    "a directive": ("%YAML 1.1\n---\n" + LAB + "...\n", "name", "a"),
    "one line": ("!LabCluster {name: a}", "name", "a"),
    "extensions": ("ext: ../ext\n---\n" + LAB, "name", "a"),
}


@pytest.mark.parametrize(("text", "field", "value"), GOOD.values(), ids=GOOD)
def test_valid_values(write: Callable[[str], Path], text: str, field: str, value: Any) -> None:
    got = read(write(text)).values[field]
    assert got == value
    assert type(got) is type(value)


def test_extensions_are_returned(write: Callable[[str], Path]) -> None:
    document = read(write("ext: ../ext\n---\n" + LAB))
    assert document.extensions == {"ext": "../ext"}
    assert (document.start.line, document.start.column) == (3, 1)


@pytest.mark.parametrize("key", ["id", "./id", "keys/../id", "~/id", "my key", "pem"])
def test_paths_are_relative_to_the_folder_of_the_file(
    folder: Path, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir("/")
    relative = os.path.relpath(write(AWS.replace("key: id\n", f"key: {key}\n")), "/")
    got = Path(read(relative).values["key"])
    assert got.is_absolute()
    assert got.samefile(folder / Path(key).name)


def test_arbitrary_bytes_raise_only_errors_with_positions(write: Callable[[bytes], Path]) -> None:
    """Truncate, mix and change all texts of the tables: every error has positions."""
    dice = random.Random(20261101)
    texts = [row[0] for row in (*MALFORMED.values(), *GOOD.values()) if len(row[0]) < 2000]
    sources = [text.encode() if isinstance(text, str) else text for text in texts]
    outcomes = {True: 0, False: 0}
    for _ in range(3000):
        content = bytearray(dice.choice(sources))
        for _ in range(dice.randrange(4)):
            start = dice.randrange(len(content) + 1)
            end = start + dice.randrange(12)
            pieces = (
                b"",
                dice.randbytes(3),
                dice.choice(sources)[:40],
                dice.choice(b"!&*[]{}:-?|>'\"%@`#,~\n\t ").to_bytes(),
            )
            content[start:end] = dice.choice(pieces)
        path = write(bytes(content))
        try:
            read(path)
            outcomes[True] += 1
        except ClusterConfigurationError as error:
            outcomes[False] += 1
            assert error.problems
            assert all(one.line and one.column and one.message for one in error.problems), content
            assert len(str(error).splitlines()) == len(error.problems), content
    assert min(outcomes.values()) > 100
