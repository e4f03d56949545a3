"""The role installs every module of flambe-run."""

from __future__ import annotations

import yaml

from flambe_ansible.paths import collection


def test_the_role_lists_all_modules() -> None:
    role = collection() / "roles/cluster_runner"
    listed = yaml.safe_load((role / "vars/main.yml").read_text())["__cluster_runner_modules"]
    assert listed == sorted(path.name for path in (role / "files/flambe_run").glob("*.py"))
