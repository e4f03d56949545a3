"""A folder with a cluster file and valid and invalid keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flambe_ansible import Cluster
from flambe_ansible.config import ClusterDocument, read_cluster
from tests.unit.keys import private_key

PRIVATE = private_key()
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBvbm90IGEga2V5 me@here\n"


def read(path: str | Path) -> ClusterDocument:
    """Read a cluster's file."""
    return read_cluster(path, base=Cluster)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of keys; three are valid, the others have one fault each."""
    files = {
        "id": (PRIVATE, 0o600),
        "my key": (PRIVATE, 0o400),
        "pem": (private_key("ecdsa", file_format="PEM"), 0o600),
        "id.pub": (PUBLIC, 0o644),
        "open": (PRIVATE, 0o644),
        "group": (PRIVATE, 0o640),
        "empty": ("", 0o600),
        "putty.ppk": ("PuTTY-User-Key-File-3: ssh-ed25519\n", 0o600),
        "notes": ("my key is elsewhere\n", 0o600),
    }
    for name, (content, mode) in files.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    (tmp_path / "keys").mkdir()
    for name, package in (("checkout", "flambe"), ("src_checkout", "src/flambe"), ("other_checkout", "flamme")):
        (tmp_path / name / package).mkdir(parents=True)
        (tmp_path / name / package / "__init__.py").touch()
        (tmp_path / name / "setup.py").touch()
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[[str | bytes], Path]:
    """Return a function that writes a cluster file beside the keys."""

    def write_(text: str | bytes) -> Path:
        path = folder / "cluster.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_
