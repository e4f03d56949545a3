"""The documentation, the examples and the constructors match the tables of fields."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.cluster.loading import load_cluster
from flambe_ansible.cluster.options import ClusterOptions
from flambe_ansible.cluster.ssh import SSHCluster
from flambe_ansible.ec2 import budgets
from flambe_ansible.ec2.tags import ClusterTags
from flambe_ansible.hosts import Role
from flambe_ansible.validation import AWS_CLUSTER, BASE_FIELDS, LAB_CLUSTER, SSH_CLUSTER, Schema
from flambe_ansible.validation.cross import VOLUME_TYPES
from flambe_ansible.validation.reference import as_text
from flambe_ansible.validation.tags import BUDGET_TAG, OWN_TAGS

from .conftest import read
from .test_load import GUIDE

ROOT = Path(__file__).parents[3]
# Fields that do not go with flambe_source or security_group.
EXCLUDED = {"flambe_version", "factories_resources", "orchestrator_resources", "factories_labels", "ssh_sources"}
EXCLUDED |= {"factories_types", "subnet_ids"}  # instead of other fields
SCHEMAS = (AWS_CLUSTER, SSH_CLUSTER, LAB_CLUSTER)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.tag)
def test_the_documentation_lists_the_fields(schema: Schema) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert as_text(schema) in text, f"put this into docs/configuration.md:\n{as_text(schema)}"
    assert len(re.findall(rf"<!-- fields of {schema.tag[1:]} -->", text)) == 1


def test_the_documentation_lists_what_the_lab_refuses() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert ", ".join(f"`{name}`" for name in LAB_CLUSTER.refused) in text


def signature_of(cluster: type) -> dict[str, inspect.Parameter]:
    """Find the constructor with named arguments."""
    for kind in cluster.__mro__:
        parameters = dict(inspect.signature(kind.__init__).parameters)
        if "name" in parameters:
            return parameters
    raise AssertionError(cluster)


CLASSES = ((AWSCluster, AWS_CLUSTER), (SSHCluster, SSH_CLUSTER))


@pytest.mark.parametrize(("cluster", "schema"), CLASSES, ids=lambda one: getattr(one, "tag", ""))
def test_the_constructor_has_the_fields_and_their_defaults(cluster: type, schema: Schema) -> None:
    parameters = signature_of(cluster)
    del parameters["self"], parameters["options"]
    parameters |= {name: signature_of(Cluster)[name] for name in ClusterOptions.__annotations__}
    assert list(parameters) == [one.name for one in schema.fields]
    for one in schema.fields:
        default = inspect.Parameter.empty if one.required else one.default
        if (cluster, one.name) == (AWSCluster, "creator"):
            default = ""  # it follows optional arguments
        assert parameters[one.name].default == default, one.name


def test_fields_of_flambe_come_first_in_their_order() -> None:
    seed = [
        "name",
        "factories_num",
        "factories_type",
        "orchestrator_type",
        "key_name",
        "security_group",
        "subnet_id",
        "creator",
        "key",
        "volume_type",
        "region_name",
        "username",
        "tags",
        "orchestrator_ami",
        "factory_ami",
        "dedicated",
        "orchestrator_timeout",
        "factories_timeout",
        "volume_size",
        "setup_cmds",
    ]
    assert [one.name for one in AWS_CLUSTER.fields][: len(seed)] == seed


def test_every_schema_has_or_refuses_the_base_fields() -> None:
    for schema in SCHEMAS:
        known = set(schema.by_name) | set(schema.refused)
        assert {one.name for one in BASE_FIELDS} <= known
        assert not set(schema.by_name) & set(schema.refused)


def test_tags_and_volume_types_are_those_of_ec2() -> None:
    assert set(OWN_TAGS) == set(ClusterTags(name="c", creator="ada").build(Role.FACTORY, "c_factory"))
    assert BUDGET_TAG == budgets.TAG
    assert set(VOLUME_TYPES) == {"gp2", "io1", "gp3"}


def test_the_guides_example_loads_as_a_cluster(folder: Path, write: Callable[[str], Path]) -> None:
    cluster = load_cluster(write(GUIDE.replace("{key}", str(folder / "id"))))
    assert type(cluster) is AWSCluster
    assert (cluster.name, cluster.factories_num, cluster.volume_size) == ("name-of-the-cluster", 1, 100)
    assert (cluster.tags, cluster.username, cluster.use_public) == ({"company": "my-company"}, "ubuntu", True)


def test_the_minimal_example_has_the_required_fields(write: Callable[[str], Path]) -> None:
    document = read(write((ROOT / "examples" / "aws-minimal.yaml").read_text()))
    assert set(document.values) == {one.name for one in AWS_CLUSTER.fields if one.required}


@pytest.mark.parametrize("name", ["lab.yaml", "aws.yaml", "ssh.yaml"])
@pytest.mark.parametrize("uncommented", [False, True])
def test_the_examples_load(folder: Path, write: Callable[[str], Path], name: str, uncommented: bool) -> None:
    text = (ROOT / "examples" / name).read_text()
    text = re.sub(r"~/\.ssh/\S+", str(folder / "id"), text, count=0 if name != "ssh.yaml" else 1)
    if uncommented:  # uncomment the commented fields
        head, tag, body = text.partition("Cluster\n\n")
        text = head + tag + re.sub(r"^# (?=[a-z_]+:|  )", "", body, flags=re.MULTILINE)
        others = "|".join(EXCLUDED)
        text = re.sub(rf"^({others}): .*\n", "", text, flags=re.MULTILINE)
        text = re.sub(r"~/work/flambe", str(folder / "checkout"), text)
    document = read(write(text))
    if uncommented:
        assert set(document.values) >= {"setup_cmds", "flambe_source"}
    if uncommented and name != "lab.yaml":
        known = (AWS_CLUSTER if name == "aws.yaml" else SSH_CLUSTER).by_name
        assert set(document.values) == set(known) - EXCLUDED
