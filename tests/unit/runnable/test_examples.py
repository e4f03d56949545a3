"""Consistency of the example experiments."""

from __future__ import annotations

import configparser
import csv
import hashlib
import hmac
from collections import Counter
from pathlib import Path

import pytest

from flambe_ansible.ec2 import s3
from flambe_ansible.runnable import read, tree
from flambe_ansible.sources import fetch_extensions, fetch_resources

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = ("experiment.yaml", "experiment-resume.yaml")


@pytest.mark.parametrize("name", FILES)
def test_extensions_and_resources_exist(name: str) -> None:
    file = read(EXAMPLES / name)
    (resource,) = fetch_resources(file.resources, folder=EXAMPLES, s3_download=s3.download)
    (extension,) = fetch_extensions(file.extensions, folder=EXAMPLES)
    assert file.warnings == ()
    assert resource.path == EXAMPLES / "experiment" / "topics.tsv"
    assert extension.path == EXAMPLES / "experiment" / "topics"


@pytest.mark.parametrize("name", FILES)
def test_the_signature_matches_the_data(name: str) -> None:
    secrets = configparser.ConfigParser()
    secrets.read(EXAMPLES / "experiment" / "secrets.ini")
    data = (EXAMPLES / "experiment" / "topics.tsv").read_bytes()
    signature = hmac.new(secrets["TOPICS"]["signing_key"].encode(), data, hashlib.sha256).hexdigest()
    signed = read(EXAMPLES / name).root.get("signatures")
    assert signed is not None
    assert [value.value for _key, value in signed[1].pairs] == [signature]


def test_the_resumed_stages_are_unchanged() -> None:
    first, second = (read(EXAMPLES / name) for name in FILES)
    assert (first.name, first.reuse) == (second.name, False)
    assert second.resume == ("dataset", "model", "train")
    stages = []
    for file in (first, second):
        pipeline = file.root.get("pipeline")
        assert pipeline is not None
        stages.append({key.value: file.text[value.start : value.end] for key, value in pipeline[1].pairs})
    for name in second.resume:
        assert _without_comments(stages[0][name]) == _without_comments(stages[1][name])
    assert "compare" not in stages[0]


def test_two_variants() -> None:
    file = read(EXAMPLES / "experiment.yaml")
    assert [len(node.items) for node in file.root.walk() if node.tag == "!g" and node.kind is tree.Kind.SEQUENCE] == [2]


def test_the_sentences() -> None:
    with (EXAMPLES / "experiment" / "topics.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert Counter(row["label"] for row in rows) == {"kitchen": 60, "sky": 60, "garden": 60, "road": 60}
    assert len({row["text"] for row in rows}) == len(rows)


def _without_comments(text: str) -> str:
    return "\n".join(line.split("  #")[0].rstrip() for line in text.splitlines() if line.strip())
