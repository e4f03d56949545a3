"""``bake`` against the account of a lab: lists, removals, old images in an audit, and refused arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible import ec2
from flambe_ansible.cli import options
from flambe_ansible.ec2 import baked
from flambe_ansible.ec2.tags import BASE, RECIPE, RUNTIME
from flambe_ansible.providers import accounts
from tests.unit.cli.conftest import Run
from tests.unit.keys import write_key
from tests.unit.lab.served import ServedLab, serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with serve(tmp_path_factory.mktemp("lab"), policy=ec2.POLICY.read_text()) as made:
        made.gate._throttle.check = lambda _operation: None  # type: ignore[method-assign]
        yield made


real = accounts.Clients


@pytest.fixture
def lab(served: ServedLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedLab]:
    """Return an account without images."""
    monkeypatch.setattr(accounts.session, "make_session", lambda _region: served.session)
    monkeypatch.setattr(accounts, "Clients", lambda make, _url: real(make, lambda: served.endpoint))
    yield served
    for image in served.cloud.images():
        served.cloud.ec2.amis.pop(image.id)
    served.cloud.ec2.snapshots.clear()


def make_image(lab: ServedLab, name: str, *, recipe: str = "r1", days: int = 0) -> Any:
    """Make an image of a host, and return it as the lab has it."""
    cluster = lab.cluster()
    cluster.load_all_instances()
    head = cluster.aws.find_existing().orchestrator
    assert head
    tags = {**cluster._tags.common, RECIPE: recipe, BASE: "ubuntu-x86_64", RUNTIME: "flambe 0.4.18"}
    made = baked.create(cluster.clients.sender, head.id, name=name, description="", tags=tags)
    image = lab.cloud.ec2.amis[made]
    image.creation_date = datetime.now(UTC) - timedelta(days=days)
    return image


def test_no_image(lab: ServedLab, run: Run) -> None:
    assert run("bake", "--list").stdout == "There are no baked images.\n"
    assert json.loads(run("bake", "--list", "--json").stdout) == {"schema_version": 1, "images": []}


@pytest.mark.parametrize("width", [80, 120])
def test_images_are_listed(lab: ServedLab, run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    old, new = make_image(lab, "old", days=2), make_image(lab, "new")
    lines = run("bake", "--list").stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if "ami-" in line] == [new.id, old.id]
    [first, _] = json.loads(run("bake", "--list", "--json").stdout)["images"]
    assert sum(f"at most {0.05 * first['size_gb']:.2f} USD per month" in line for line in lines) == 2
    assert first["usd_per_month"] == pytest.approx(0.05 * first["size_gb"])
    assert (first["runtime"], first["base"], first["snapshots"]) == (
        "flambe 0.4.18",
        "ubuntu-x86_64",
        [new.ebs_snapshot.id],
    )


def test_the_price_of_the_image_is_shown_before_anything_is_created(
    lab: ServedLab, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = lab.cluster(runtime="none", setup_cmds=["make data"])
    monkeypatch.setattr(options, "open_cluster", lambda _output, _file: nullcontext(cluster))
    before = len(lab.calls())
    done = run("bake", "c.yaml")
    assert done.code == 2 and "--yes" in done.stderr
    assert "1 image: at most 5.00 USD per month for the snapshots, until bake --remove deletes them" in done.stdout
    assert "RunInstances" not in [operation for _, operation in lab.calls()[before:]]


def test_an_image_is_removed_with_its_snapshot(lab: ServedLab, run: Run) -> None:
    image, kept = make_image(lab, "one"), make_image(lab, "two")
    refused = run("bake", "--remove", image.id)
    assert refused.code == 2 and "--yes" in refused.stderr and len(lab.cloud.images()) == 2
    done = run("bake", "--remove", image.id, "--yes")
    assert done.code == 0 and f"removed {image.id} and {image.ebs_snapshot.id}" in done.stdout
    assert lab.cloud.images() == [kept]
    assert image.ebs_snapshot.id not in lab.cloud.ec2.snapshots


def test_only_baked_images_are_removed(lab: ServedLab, run: Run) -> None:
    image = make_image(lab, "one")
    done = run("bake", "--remove", image.id, "--remove", lab.cloud.image_id, "--yes")
    assert done.code == 4 and f"{lab.cloud.image_id}: no image that bake made" in done.stderr
    assert lab.cloud.images() == [image]


def test_an_audit_names_replaced_old_and_incomplete_images(lab: ServedLab, run: Run) -> None:
    replaced, old = make_image(lab, "first", days=2), make_image(lab, "second", recipe="r2", days=61)
    current, failed = make_image(lab, "third"), make_image(lab, "fourth", recipe="r3")
    failed.state = "failed"
    removed = make_image(lab, "fifth", recipe="r4", days=1)
    removed.ebs_snapshot.start_time = datetime.now(UTC) - timedelta(days=1)
    lab.cloud.ec2.amis.pop(removed.id)
    assert "<= 0.0" in run("audit").stdout
    done = run("audit", "--json")
    assert done.code == 12
    [region] = json.loads(done.stdout)["regions"]
    [cluster] = region["clusters"]
    found = {one["id"]: one for one in cluster["resources"] if one["kind"] in ("image", "snapshot")}
    snapshots = [one for one in found.values() if one["kind"] == "snapshot"]
    assert all(one["usd_per_hour"] == pytest.approx(one["size_gb"] * 0.05 / 730, abs=1e-6) for one in snapshots)
    size = sum(one["size_gb"] for one in snapshots)
    assert size > 0 and cluster["snapshots_usd_per_month"] == pytest.approx(0.05 * size)
    reasons = {name: one["orphan"] for name, one in found.items() if one["orphan"]}
    assert reasons == {
        replaced.id: f"replaced by {current.id}",
        old.id: "made 61 days ago: bake again for current packages",
        failed.id: "the image is failed",
        removed.ebs_snapshot.id: "its image does not exist",
    }
    remedy = f"flambe-ans bake --remove {old.id} --region us-east-1"
    assert found[old.id]["remedy"] == found[old.ebs_snapshot.id]["remedy"] == remedy
    assert found[removed.ebs_snapshot.id]["remedy"].startswith("aws ec2 delete-snapshot")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give CLUSTER, or --list, or --remove ID"),
        (("--list", "--remove", "ami-1"), "give either --list or --remove"),
        (("c.yaml", "--region", "us-east-1"), "--region cannot be used with CLUSTER"),
        (("--list", "--region", "us-east-1", "--lab"), "give either --region or --lab"),
        (("--list", "--again"), "--again cannot be used"),
    ],
)
def test_arguments_that_do_not_fit(run: Run, words: tuple[str, ...], message: str) -> None:
    done = run("bake", *words)
    assert done.code == 2 and message in done.stderr


def test_hosts_that_exist_have_no_images(run: Run, tmp_path: Path) -> None:
    file, key = tmp_path / "c.yaml", tmp_path / "key"
    write_key(key)
    file.write_text(f"!SSHCluster\nname: own\norchestrator_ip: 10.0.0.1\nfactories_ips: [10.0.0.2]\nkey: {key}\n")
    file.write_text(f"{file.read_text()}username: ml\n")
    done = run("bake", str(file))
    assert done.code == 3 and "!SSHCluster cannot be baked" in done.stderr
    done = run("bake", str(file), "--list")
    assert done.code == 3 and "it has no images" in done.stderr
