"""``bake`` in the lab, with ``runtime: none``: an image of a real host, hosts made from it, and its removal.

The tests run in their order. ``test_launch`` uses the image with flambé's runtime.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.lab import LabInfo, state
from tests.e2e.commands import Commands

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

NAME = "e2e_bake"
CANARY = "c4nary-of-the-baked-host"
HOME = ".bash_history .netrc secrets.ini .ssh/id_old .cache/page"
SYSTEM = "root/.bash_history var/log/own.log var/log/own.log.1 tmp/own"
# What users and programs leave on a host, and a file of the setup that stays.
SETUP = [
    f"sudo mkdir -p /opt/data && echo ready | sudo tee /opt/data/state && logger {CANARY}",
    f"mkdir -p ~/.cache && cd && for name in {HOME}; do echo {CANARY} >> $name; done",
    f"for name in {SYSTEM}; do echo {CANARY} | sudo tee -a /$name; done",
]
# dockerd renames a folder of the image like this at each start.
RENAME = "sudo python3 -c \"import os; os.rename('/opt/data', '/opt/renamed')\" && cat /opt/renamed/state"
IDENTITY = "cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; cat /opt/data/state"


class Baking(Commands):
    """A configuration, and commands on it."""

    def __init__(self, folder: Path, lab: LabInfo) -> None:
        super().__init__(folder)
        self.lab = lab
        fields = {"name": NAME, "lab": lab.name, "runtime": "none", "setup_cmds": SETUP}
        self.file.write_text("\n".join(["!LabCluster", *(f"{key}: {json.dumps(one)}" for key, one in fields.items())]))

    def call(self, command: str, *arguments: Any, code: int = 0) -> Any:
        """Run a command and return its document."""
        return json.loads(self.execute(command, "--json", *arguments, code=code).stdout)

    def audit(self, code: int = 0) -> list[dict[str, Any]]:
        """Return what the clusters of this test have in the lab."""
        [region] = self.call("audit", "--lab", self.lab.name, code=code)["regions"]
        return [
            one for cluster in region["clusters"] if cluster["name"].startswith(NAME) for one in cluster["resources"]
        ]


@pytest.fixture(scope="module")
def baking(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Baking]:
    made = Baking(tmp_path_factory.mktemp("baking"), lab)
    yield made
    made.call("down", made.file, "--yes")


def test_1_a_bake_that_was_killed_is_finished_by_the_next(baking: Baking) -> None:
    with baking.start("bake", baking.file, "--yes") as process:
        assert process.stdout
        for line in process.stdout:
            if " stop " in line:  # the host is cleaned, and nobody can log in
                break
        process.send_signal(signal.SIGKILL)
    assert {one["kind"] for one in baking.audit()} >= {"instance", "volume"}
    document = baking.call("bake", baking.file, "--yes")
    [image] = document["images"]
    assert (document["made"], image["runtime"], image["cluster"]) == ([image["id"]], "3 setup commands", NAME)
    assert {one["kind"] for one in baking.audit()} == {"image", "snapshot"}
    assert baking.call("bake", baking.file)["made"] == []


def test_2_the_image_has_no_secret_of_its_host(baking: Baking, lab: LabInfo) -> None:
    settings = state.load(lab.name)
    assert settings
    for image in baking.call("bake", "--list", "--lab", lab.name)["images"]:
        folder = settings.image_layers / image["id"]
        found = subprocess.run(["grep", "-rlF", CANARY, folder], capture_output=True, text=True, check=False)
        assert (found.returncode, found.stdout) == (1, "")
        for name in ("authorized_keys", "ssh_host_*", "system.journal", "receipt.json", "flambe-launch-guard*"):
            assert not [path for path in folder.rglob(name) if path.is_file()]


def test_3_hosts_of_the_image_are_set_up_and_have_their_own_identity(baking: Baking) -> None:
    [image] = baking.call("bake", baking.file)["images"]
    plan = baking.call("plan", baking.file)
    assert {host["image"] for host in plan["hosts"]} == {image["id"]}
    baking.call("launch", baking.file, "--yes")
    found = [one["stdout"].split() for one in baking.call("exec", baking.file, "--", IDENTITY).values()]
    machines, keys, states = zip(*found, strict=True)
    assert len(set(machines)) == len(set(keys)) == 2
    assert set(states) == {"ready"}
    again = baking.call("launch", baking.file)
    assert set(again["changed"].values()) == {0}
    assert baking.call("plan", baking.file)["changes"] == []
    renamed = baking.call("exec", baking.file, "--", RENAME).values()
    assert {(one["returncode"], one["stdout"]) for one in renamed} == {(0, "ready\n")}


def test_4_an_audit_names_a_replaced_image_and_it_is_removed(baking: Baking, lab: LabInfo) -> None:
    [new] = baking.call("bake", baking.file, "--again", "--yes")["images"]
    [old] = [one for one in baking.audit(code=12) if one["orphan"]]
    assert (old["kind"], old["orphan"]) == ("image", f"replaced by {new['id']}")
    program, *words = old["remedy"].split()
    assert program == "flambe-ans"
    assert baking.call(*words, "--yes")["removed"] == [old["id"]]
    assert baking.call("bake", "--remove", new["id"], "--lab", lab.name, "--yes")["removed"] == [new["id"]]
    assert not [one for one in baking.audit() if one["kind"] in ("image", "snapshot")]
    baking.call("exec", baking.file, "--", "true")  # existing hosts are unchanged
