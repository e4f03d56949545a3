"""The image with flambé's runtime that ``bake`` makes, so that the tests of a worker install it only once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from flambe_ansible.lab import LabInfo, state
from tests.e2e.commands import Commands


def bake(lab: LabInfo, folder: Path, *options: str) -> dict[str, Any]:
    """Bake the image of a cluster with the default runtime, and return the document."""
    commands = Commands(folder)
    commands.file.write_text(f"!LabCluster\nname: e2e\nlab: {lab.name}\n")
    done = commands.execute("bake", commands.file, "--yes", "--json", *options)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def copy_layer(lab: LabInfo, image: str, other: LabInfo) -> str:
    """Copy the files of an image to another lab, as hard links; return the name of the layer."""
    source, target = (state.load(one.name) for one in (lab, other))
    assert source and target
    target.image_layers.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["cp", "-al", source.image_layers / image, target.image_layers / image], check=True)
    return image


__all__ = ["bake", "copy_layer"]
