"""The packages of current Ray, resolved by the real uv from the package index for hosts of several kinds."""

from __future__ import annotations

import getpass
import pwd
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.paths import collections_root
from flambe_ansible.pythons import find_uv
from flambe_ansible.runtimes import ray_versions

pytestmark = [pytest.mark.long]

KINDS = ["aarch64-cpu", "x86_64-cpu"]


def test_current_ray_has_wheels_for_x86_64_and_arm64_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(collections_root()))
    from ansible_collections.flambe.cluster.plugins.module_utils import locks, runtime

    params: dict[str, Any] = {
        "root": str(tmp_path),
        "requirements": [f"ray[default,tune]=={ray_versions.TESTED}", "torch"],
        "constraints": [],
        "python_version": "3.12",
        "torch_backend": "none",
        "kinds": KINDS,
        "index_url": "",
        "uv": find_uv(),
        "uv_version": "",
        "uv_sha256": "",
        "timeout": 300,
        "timeout_setting": "timeout",
    }
    installer = runtime.Installer(params, pwd.getpwnam(getpass.getuser()))
    installer.make_folders()
    uv = installer.prepare_uv()
    lock = locks.Lock(params)
    lock.resolve(uv)
    arm, x86 = (dict(line.split("==") for line in lock.found[kind]) for kind in KINDS)
    assert arm["ray"] == x86["ray"] == ray_versions.TESTED
    assert {name: version for name, version in arm.items() if name in x86 and x86[name] != version} == {}
    # The lock consists of wheels: nothing has to be built on a host.
    with uv.workplace(requirements__txt="\n".join(lock.found["aarch64-cpu"])) as folder:
        argv = [
            "pip",
            "install",
            "--dry-run",
            "--only-binary",
            ":all:",
            "--no-deps",
            "--target",
            str(tmp_path / "none"),
        ]
        platform = ["--python-version", "3.12", "--python-platform", "aarch64-manylinux_2_28"]
        output = uv.run(*argv, *platform, "-r", "requirements.txt", cwd=folder)
    assert f"+ ray=={ray_versions.TESTED}" in output
