"""The address that old Ray uses, in a separate Python with a fake Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flambe_ansible.paths import collection

SCRIPT = collection() / "roles/ray_node/files/flambe_node_address.py"
RAY = "def get_node_ip_address(address='8.8.8.8:53'):\n    return address\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages with the files of the role."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/__init__.py").touch()
    (tmp_path / "ray/services.py").write_text(RAY)
    (tmp_path / SCRIPT.name).write_text(SCRIPT.read_text())
    line = "import flambe_node_address; flambe_node_address.towards('198.18.0.4:12345')\n"
    (tmp_path / "flambe_node_address.pth").write_text(line)
    return tmp_path


def run(site: Path, statement: str) -> str:
    argv = [sys.executable, "-I", "-c", f"import site; site.addsitedir({str(site)!r}); {statement}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_ray_uses_the_route_to_the_head(site: Path) -> None:
    assert run(site, "from ray import services as s; print(s.get_node_ip_address())") == "198.18.0.4:12345"
    assert run(site, "from ray import services as s; print(s.get_node_ip_address('10.0.0.1:1'))") == "10.0.0.1:1"


def test_a_ray_without_the_function_is_unchanged(site: Path) -> None:
    (site / "ray/services.py").write_text("NAME = __name__\n")
    assert run(site, "import ray.services; print(ray.services.NAME)") == "ray.services"
    (site / "ray/services.py").unlink()
    missing = "try:\n import ray.services\nexcept ImportError as error: print(error)"
    assert run(site, f"exec({missing!r})") == "No module named 'ray.services'"
    assert run(site, "import json; print(json.dumps(1))") == "1"
