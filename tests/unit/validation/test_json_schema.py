"""The JSON Schema of files: all examples are valid, wrong files are not, and every kind of field has one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from flambe_ansible.config.kinds import SCHEMAS
from flambe_ansible.runnable.checks import FIELDS
from flambe_ansible.runnable.json_schema import DESCRIPTIONS, describe_runnables
from flambe_ansible.validation import AWS_CLUSTER, Field, Kind
from flambe_ansible.validation.json_schema import KINDS, describe_clusters, describe_field
from tests.unit.cli.conftest import Outcome, Run, run

__all__ = ["run"]

EXAMPLES = Path(__file__).parents[3] / "examples"
CUSTOM = ("provider", "runnable", "experiment.yaml", "experiment-resume.yaml")  # with a class of their own
FILES = [path for path in sorted(EXAMPLES.rglob("*.yaml")) if path.read_text().count("$schema=")]
CLUSTERS = describe_clusters(SCHEMAS.values())


class Untagged(yaml.SafeLoader):
    """Reads YAML as editors do: without its tags."""

    def construct_undefined(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.construct_mapping(node, deep=True)
        return self.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value


Untagged.add_constructor(None, Untagged.construct_undefined)


def find_errors(schema: dict[str, Any], text: str) -> list[str]:
    """Return the errors of all documents of a file."""
    validator = jsonschema.Draft7Validator(schema)
    return [
        error.message for document in yaml.load_all(text, Loader=Untagged) for error in validator.iter_errors(document)
    ]


@pytest.mark.parametrize("schema", [CLUSTERS, describe_runnables()])
def test_they_are_valid_schemas_and_plain_json(schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


def test_every_example_names_its_schema() -> None:
    others = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.yaml")} - {
        str(path.relative_to(EXAMPLES)) for path in FILES
    }
    assert others == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_the_examples_are_valid(run: Run, path: Path) -> None:
    text = path.read_text()
    kind = "experiment" if "experiment.schema.json" in text else "cluster"
    custom = path.name in CUSTOM or path.parent.name in CUSTOM
    printed = run("schema", str(path) if custom else kind)
    assert (printed.code, printed.stderr) == (0, "")
    assert find_errors(json.loads(printed.stdout), text) == []


LAB = "!LabCluster\nname: demo\n"
WRONG = {
    "unknown field": f"{LAB}factory_num: 2\n",
    "wrong type": f'{LAB}factories_num: "2"\n',
    "out of range": f"{LAB}factories_num: 0\n",
    "wrong name": "!LabCluster\nname: a b\n",
    "no name": "!LabCluster\nfactories_num: 2\n",
    "wrong choice": f"{LAB}runtime: rya\n",
    "wrong option": f"{LAB}runtime: {{pyhton: '3.12'}}\n",
    "empty list": "!SSHCluster\nname: a\norchestrator_ip: h\nfactories_ips: []\nkey: k\nusername: u\n",
    "extension that is no text": "mine: [1]\n---\n" + LAB,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_wrong_clusters_are_rejected(text: str) -> None:
    assert find_errors(CLUSTERS, text)


RIGHT = {
    "extension": "mine.ext: git+https://host/x.git\n---\n" + LAB,
    "numbers": f"{LAB}volume_size: 100.\ntags: {{team: 5}}\nboot_timeout:\n",
    "options": f"{LAB}runtime: {{python: '3.12', packages: [torch], object_store_memory: 100000000}}\n",
    "hosts": "!SSHCluster\nname: a\norchestrator_ip: [h, 10.0.0.1]\nfactories_ips: [i, [j, k]]\nkey: k\nusername: u\n"
    "host_keys: {h: [ssh-ed25519 A, ssh-rsa B], i: ssh-rsa C}\n",
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT)
def test_right_clusters_are_accepted(text: str) -> None:
    assert find_errors(CLUSTERS, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "!Experiment\nname: a\npipeline: {t: !Trainer }\nresource: {}\n",
        "!Experiment\nname: a b\npipeline: {t: !Trainer }\n",
        "!Experiment\npipeline: {t: !Trainer }\n",
        "!Experiment\nname: a\nsearch: {}\n",
        "!Experiment\nname: a\npipeline: []\n",
    ],
)
def test_wrong_experiments_are_rejected(text: str) -> None:
    assert find_errors(describe_runnables(), text)


def test_every_field_has_its_description_and_default() -> None:
    for schema in SCHEMAS.values():
        described = CLUSTERS["definitions"][schema.tag[1:]]
        assert list(described["properties"]) == [one.name for one in schema.fields]
        assert described["additionalProperties"] is False
        for one in schema.fields:
            found = described["properties"][one.name]
            assert one.expected in found["description"]
            assert found.get("default") == one.default
    assert CLUSTERS["definitions"]["AWSCluster"]["properties"]["volume_type"]["enum"] == ["gp2", "io1", "gp3"]


def test_a_new_field_is_in_the_schema() -> None:
    new = Field(name="max_price", kind=Kind.NUMBER, expected="a number", doc="The limit.", default=2.5)
    described = describe_clusters([replace(AWS_CLUSTER, fields=(*AWS_CLUSTER.fields, new))])
    assert described["definitions"]["AWSCluster"]["properties"]["max_price"] == {
        "type": "number", "description": "The limit. Expected: a number.", "default": 2.5,
    }  # fmt: skip


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_field_has_a_schema(kind: Kind) -> None:
    assert kind in KINDS, f"add {kind} to flambe_ansible/validation/json_schema.py"
    described = describe_field(Field(name="a", kind=kind, expected="b", doc="", required=True))
    jsonschema.Draft7Validator.check_schema(described)


def test_the_fields_of_experiments_are_those_of_flambe() -> None:
    assert set(DESCRIPTIONS) == set(FIELDS)


RUNNABLE = """from pathlib import Path

from flambe_ansible import ClusterRunnable


class Base(ClusterRunnable):
    def __init__(self, rounds: int = 3, folder: Path = Path("out"), limit: float = float("inf"), **kwargs):
        super().__init__(**kwargs)


class Training(Base):
    def __init__(self, rate: float, label: str | None = None, anything=None, **kwargs):
        super().__init__(**kwargs)

    def setup(self, cluster, extensions, force, **kwargs): ...

    def run(self, **kwargs): ...


class Unfinished(Base): ...
"""


@pytest.fixture
def runnable(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Outcome]:
    """Return a function that prints the schema of a file with this tag."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "training_runnables", raising=False)
    (tmp_path / "training_runnables.py").write_text(RUNNABLE)

    def print_schema(tag: str) -> Outcome:
        (tmp_path / "mine.yaml").write_text(f"training_runnables: .\n---\n!{tag}\n")
        return run("schema", str(tmp_path / "mine.yaml"))

    return print_schema


def test_the_fields_of_a_runnable_are_the_arguments_of_its_class(runnable: Callable[[str], Outcome]) -> None:
    printed = runnable("training_runnables.Training")
    assert (printed.code, printed.stderr) == (0, "")
    schema = json.loads(printed.stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    described = schema["definitions"]["class"]
    assert list(described["properties"]) == ["rate", "label", "anything", "rounds", "folder", "limit", "env"]
    assert described["required"] == ["rate"]
    assert described["properties"]["rounds"]["default"] == 3
    assert not {"default"} & (described["properties"]["folder"].keys() | described["properties"]["limit"].keys())

    def check(text: str) -> list[str]:
        return find_errors(schema, f"training_runnables: .\nother: ..\n---\n{text}")

    assert check("!training_runnables.Training\nrate: 1\nlabel:\nanything: [1]\nrounds: 4\nfolder: a\n") == []
    for wrong in ("rate: fast", "rounds: 2", "rate: 1\nround: 2", "rate: 1\nrounds: 2.5", "rate: a\nlabel: b"):
        assert check(f"!training_runnables.Training\n{wrong}\n"), wrong
    assert find_errors(schema, "other: .\n---\n!training_runnables.Training\nrate: 1\n")  # not declared


def test_a_wrong_class_of_an_extension_is_one_line(runnable: Callable[[str], Outcome]) -> None:
    for tag, message in {
        "training_runnables.Trainign": "did you mean !training_runnables.Training?",
        "training_runnables.Path": "!training_runnables.Path is not a runnable class",
        "training_runnables.Unfinished": "!training_runnables.Unfinished does not implement run, setup",
        "trianing_runnables.Training": "did you mean !training_runnables.Training?",
    }.items():
        done = runnable(tag)
        assert (done.code, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert message in done.stderr


def test_an_experiment_without_a_pipeline_has_the_schema_of_experiments(run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text("!Experiment\nname: new\n")
    done = run("schema", str(tmp_path / "new.yaml"))
    assert (done.code, json.loads(done.stdout)) == (0, describe_runnables())


def test_a_missing_file_is_one_line(run: Run) -> None:
    done = run("schema", "clutser")
    assert (done.code, done.stdout) == (3, "")
    assert "clutser: no such file" in done.stderr
