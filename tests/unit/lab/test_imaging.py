"""CreateImage and DeregisterImage: refused requests, and the files of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flambe_ansible.lab import disk, imaging, launching, lifecycle, state
from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.cloud import ACCOUNT, CANONICAL
from flambe_ansible.lab.disk import HostSpec
from flambe_ansible.lab.fleet import Fleet
from flambe_ansible.lab.state import Settings

SOURCE = "i-0123456789abcdef0"
STARTING = "i-0123456789abcdef1"
DEEP = "i-0123456789abcdef2"
REQUEST = {"InstanceId": SOURCE, "Name": "workers 1.0"}


def make_image(name: str, **changed: Any) -> SimpleNamespace:
    """Make an image with the attributes that the lab reads."""
    fields = {"owner_id": ACCOUNT, "state": "available", "layers": (name,), "instance_id": SOURCE}
    snapshot = SimpleNamespace(id=f"snap-{name}", status="")
    return SimpleNamespace(id=name, name=f"name of {name}", ebs_snapshot=snapshot, **{**fields, **changed})


def make_cloud(*images: SimpleNamespace) -> Any:
    """Make an account with a running instance, a starting one, and one with many layers."""
    instances = [
        SimpleNamespace(id=SOURCE, state="running"),
        SimpleNamespace(id=STARTING, state="pending"),
        SimpleNamespace(id=DEEP, state="stopped"),
    ]
    amis = {image.id: image for image in images}
    snapshots = {image.ebs_snapshot.id: image.ebs_snapshot for image in images}
    return SimpleNamespace(
        instances=lambda: instances,
        images=lambda: [image for image in amis.values() if image.owner_id == ACCOUNT],
        layers={DEEP: tuple(f"ami-{number}" for number in range(imaging.MAX_LAYERS))},
        ec2=SimpleNamespace(amis=amis, snapshots=snapshots, deleted_amis=["ami-gone"]),
    )


def test_a_valid_request_returns_its_instance() -> None:
    assert imaging.check_request(make_cloud(), REQUEST).id == SOURCE
    tags = {"TagSpecification.1.ResourceType": "image", "TagSpecification.2.ResourceType": "snapshot"}
    assert imaging.check_request(make_cloud(), {**REQUEST, **tags, "Name": "a[1] (2)/b.c-d'e@f_g"}).id == SOURCE


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"InstanceId": ""}, "MissingParameter"),
    ({"Name": ""}, "MissingParameter"),
    ({"InstanceId": "i-none"}, "InvalidInstanceID.Malformed"),
    ({"InstanceId": "i-00000000"}, "InvalidInstanceID.NotFound"),
    ({"InstanceId": STARTING}, "IncorrectInstanceState"),
    ({"InstanceId": DEEP}, "ResourceLimitExceeded"),
    ({"Name": "ab"}, "InvalidAMIName.Malformed"),
    ({"Name": "a" * 129}, "InvalidAMIName.Malformed"),
    ({"Name": "a:b"}, "InvalidAMIName.Malformed"),
    ({"Name": "name of ami-1"}, "InvalidAMIName.Duplicate"),
    ({"TagSpecification.1.ResourceType": "instance"}, "InvalidParameterValue"),
    ({"BlockDeviceMapping.1.DeviceName": "/dev/sdb"}, "UnsupportedOperation"),
]


@pytest.mark.parametrize(("changed", "code"), REFUSED)
def test_refused_images(changed: dict[str, str], code: str) -> None:
    with pytest.raises(RefusedError) as caught:
        imaging.check_request(make_cloud(make_image("ami-1")), {**REQUEST, **changed})
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (make_image("ami-1", owner_id=CANONICAL), "AuthFailure"),
        (make_image("ami-1", state="pending"), "InvalidAMIID.Unavailable"),
    ],
)
def test_refused_deregistrations(image: SimpleNamespace, code: str) -> None:
    with pytest.raises(RefusedError) as caught:
        imaging.deregister_image(make_cloud(image), SimpleNamespace(), {"ImageId": "ami-1"}, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    assert caught.value.code == code


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_an_image_is_deregistered_with_its_snapshot_on_request(with_snapshot: bool) -> None:
    cloud = make_cloud(make_image("ami-1"))
    cleaned: list[bool] = []
    fleet: Any = SimpleNamespace(remove_unused_layers=lambda: cleaned.append("ami-1" not in cloud.ec2.amis))

    def forward() -> Answer:
        del cloud.ec2.amis["ami-1"]
        return Answer(200, "text/xml", b"<DeregisterImageResponse><return>true</return></DeregisterImageResponse>")

    parameters = {"ImageId": "ami-1", "DeleteAssociatedSnapshots": str(with_snapshot).lower()}
    answer = imaging.deregister_image(cloud, fleet, parameters, forward)
    assert cleaned == [True]
    assert ("snap-ami-1" in cloud.ec2.snapshots) is not with_snapshot
    assert (b"<item><snapshotId>snap-ami-1</snapshotId><returnCode>success</returnCode></item>" in answer.body) is (
        with_snapshot
    )


@pytest.mark.parametrize("image_id", ["ami-gone", "ami-1", "ami-2"])
def test_only_available_images_are_launched(image_id: str) -> None:
    cloud = make_cloud(make_image("ami-1", state="pending"), make_image("ami-2", state="failed"), make_image("ami-3"))
    launching._check_image(cloud, "ami-3")
    launching._check_image(cloud, "ami-unknown")  # refused by moto
    with pytest.raises(RefusedError) as caught:
        launching._check_image(cloud, image_id)
    assert caught.value.code == "InvalidAMIID.Unavailable"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Make the settings of a lab in a folder of the test; disks do not need root."""
    monkeypatch.setattr(state, "root", lambda: tmp_path)
    monkeypatch.setattr(disk.os, "chown", lambda *_args: None)
    monkeypatch.setattr(
        disk.os, "setxattr", lambda path, name, value: (Path(path) / f"{name}={value.decode()}").touch()
    )
    monkeypatch.setattr(disk, "_make_host_keys", lambda upper, spec: (upper / "etc/ssh").mkdir(exist_ok=True))
    monkeypatch.setattr(disk.network, "resolv_conf", lambda: "")
    return Settings(name="a-lab", network="10.213.4.0/24", port=1, image="/image")


SPEC = HostSpec(id="i-1", address="10.213.4.4", public_keys=("ssh-ed25519 AAAA a",))


def test_a_sealed_disk_becomes_the_lower_layer_of_an_empty_one(settings: Settings) -> None:
    disk.create(settings, replace(SPEC, layers=("ami-0",)))
    home = disk.folder(settings, "i-1")
    identity = (home / "upper/etc/machine-id").read_text().strip()
    (home / "upper").chmod(0o711)
    (home / "work/work").mkdir(parents=True)
    disk.seal(settings, "i-1", "ami-1")
    assert (settings.image_layers / "ami-1/etc/hostname").read_text() == "ip-10-213-4-4\n"
    assert list((home / "upper").iterdir()) == []
    assert (home / "upper").stat().st_mode & 0o777 == 0o711
    assert not (home / "work").exists()
    assert disk.read_spec(settings, "i-1").layers == ("ami-1", "ami-0")
    assert disk.find_file(settings, "i-1", "etc/machine-id").read_text().strip() == identity
    folders = [str(path) for path in disk.lower_folders(settings, disk.read_spec(settings, "i-1"))]
    images = str(settings.image_layers)
    assert folders == [f"{images}/ami-1", f"{images}/ami-0", str(settings.layer), "/image"]
    (home / "upper/new").touch()
    disk.seal(settings, "i-1", "ami-1")
    assert (home / "upper/new").exists(), "a second call must change nothing"


def _interrupt(*_args: object, **_options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["rename", "rmtree", "mkdir"])
def test_an_interrupted_seal_is_completed(settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    disk.create(settings, SPEC)
    settings.image_layers.mkdir(parents=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*((disk.shutil, step) if step == "rmtree" else (Path, step)), _interrupt)
        disk.seal(settings, "i-1", "ami-1")
    assert disk.find_file(settings, "i-1", "etc/machine-id").exists()
    disk.seal(settings, "i-1", "ami-1")
    assert disk.read_spec(settings, "i-1").layers == ("ami-1",)
    assert (settings.image_layers / "ami-1/etc/hostname").exists()
    assert list((disk.folder(settings, "i-1") / "upper").iterdir()) == []


@pytest.mark.parametrize("script", ["", "#!/bin/sh\n"])
def test_the_user_data_of_the_source_is_hidden_from_hosts_of_an_image(settings: Settings, script: str) -> None:
    disk.create(settings, replace(SPEC, layers=("ami-1",), user_data=script))
    upper = disk.folder(settings, "i-1") / "upper"
    instance, unit = upper / "var/lib/cloud/instance", upper / "etc/systemd/system/user-data.service"
    assert (instance / "trusted.overlay.opaque=y").exists()
    assert (instance / "user-data.sh").exists() is bool(script)
    assert unit.is_symlink() is not bool(script)
    assert (upper / "home/ubuntu/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA a\n"


def test_layers_are_kept_while_an_image_or_a_host_uses_them(settings: Settings) -> None:
    for name in ("ami-1", "ami-2", "ami-3", "ami-4"):
        (settings.image_layers / name).mkdir(parents=True)
    cloud = make_cloud(make_image("ami-1", layers=("ami-1", "ami-2")))
    cloud.layers = {SOURCE: ("ami-3",)}
    fleet = Fleet(settings, cloud)
    fleet.remove_unused_layers()
    fleet.close()
    assert sorted(path.name for path in settings.image_layers.iterdir()) == ["ami-1", "ami-2", "ami-3"]


@pytest.mark.parametrize(
    ("action", "states"),
    [(lambda *_args: None, ("available", "completed")), (lambda *_args: 1 / 0, ("failed", "error"))],
)
def test_an_image_is_available_or_failed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, action: Callable[..., Any], states: tuple[str, str]
) -> None:
    image = make_image("ami-1", state="pending")
    fleet = Fleet(settings, make_cloud(image))
    monkeypatch.setattr(fleet, "_make_layer", action)
    monkeypatch.setattr(fleet, "save", lambda: None)
    fleet.capture(image)
    fleet.close()
    assert (image.state, image.ebs_snapshot.status) == states


def test_a_lab_with_images_keeps_its_base(settings: Settings) -> None:
    assert not lifecycle._has_disks(settings)
    (settings.image_layers / "ami-1").mkdir(parents=True)
    assert lifecycle._has_disks(settings)
