"""An image with the runtime, so that a test run installs the runtime only once."""

from __future__ import annotations

import time
from pathlib import Path

from flambe_ansible.lab import LabInfo
from flambe_ansible.pythons import find_uv
from tests.e2e import cloud
from tests.roles.lab_hosts import Fleet, Site

PLAY = """
- name: Install the runtimes
  hosts: all
  gather_facts: false
  roles:
    - role: flambe.cluster.flambe
    - role: flambe.cluster.tensorboard
      vars:
        tensorboard_logdir: results
"""


def bake(lab: LabInfo, folder: Path) -> str:
    """Install flambe and TensorBoard on one host, create an image of it, and return the image's id."""
    fleet = Fleet(lab)
    try:
        [host] = fleet.launch(1)
        (folder / "bake.yml").write_text(PLAY)
        site = Site(folder, lab.key, {"all": [("source", host)]})
        uv = find_uv()
        site.play(folder / "bake.yml", flambe_uv_src=uv, tensorboard_uv_src=uv).assert_ok()
        ec2 = cloud.client(lab)
        image: str = ec2.create_image(InstanceId=host.instance_id, Name=f"runtime-{time.time_ns()}")["ImageId"]
        cloud.wait_until(
            lambda: ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available", image, timeout=300
        )
        return image
    finally:
        fleet.terminate()
