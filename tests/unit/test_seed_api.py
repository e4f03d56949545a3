"""Every public method of flambé's cluster classes exists and is listed in docs/api.md."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from flambe_ansible import AWSCluster, Cluster

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
# Names and arguments in the documentation of flambé.
CLUSTER = {
    "get_orchestrator_name": [],
    "get_factory_basename": [],
    "load_all_instances": [],
    "create_dirs": ["relative_dirs"],
    "prepare_all_instances": [],
    "run": ["force"],
    "run_cmds": ["setup_cmds"],
    "get_orchestrator": ["ip", "private_ip", "use_public"],
    "get_orch_home_path": [],
    "get_factory": ["ip", "private_ip", "use_public"],
    "get_gpu_factory": ["ip", "private_ip", "use_public"],
    "launch_ray_cluster": [],
    "check_ray_cluster": [],
    "shutdown_ray_cluster": [],
    "existing_ray_cluster": [],
    "existing_flambe_execution": [],
    "shutdown_flambe_execution": [],
    "existing_dir": ["_dir"],
    "is_ray_cluster_up": [],
    "rollback_env": [],
    "parse": [],
    "send_local_content": ["content", "dest", "all_hosts"],
    "rsync_orch": ["folder"],
    "send_secrets": ["whitelist"],
    "execute": ["cluster_runnable", "extensions", "new_secrets", "force"],
    "remove_dir": ["_dir", "content_only", "all_hosts"],
    "cluster_has_key": [],
    "distribute_keys": [],
    "contains_gpu_factories": [],
    "get_max_resources": [],
    "install_extensions_in_orchestrator": ["extensions"],
    "install_extensions_in_factories": ["extensions"],
    "get_remote_env": ["user_provider"],
}
AWS = {
    "flambe_own_running_instances": [],
    "name_hosts": [],
    "update_tags": [],
    "terminate_instances": [],
    "has_alarm": ["instance_id"],
    "remove_existing_events": [],
    "create_cloudwatch_events": [],
}


def positional(method: object) -> list[str]:
    parameters = inspect.signature(method).parameters.values()  # type: ignore[arg-type]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one.name for one in parameters if one.kind in kinds][1:]


@pytest.mark.parametrize(
    ("owner", "name", "arguments"),
    [(owner, *item) for owner, table in ((Cluster, CLUSTER), (AWSCluster, AWS)) for item in table.items()],
)
def test_methods_of_flambe_keep_their_names_and_arguments(owner: type, name: str, arguments: list[str]) -> None:
    assert positional(getattr(owner, name)) == arguments
    assert f"`{name}`" in PAGE
