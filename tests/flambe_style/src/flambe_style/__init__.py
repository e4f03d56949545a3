"""A ClusterRunnable written for flambé 0.4.18; tests replace ``flambe.`` in its imports, and nothing else.

Its setup does what flambé's own Experiment does, and calls the methods of single hosts.
"""

import json
import os
from typing import Dict, Optional

from flambe.cluster import Cluster, const
from flambe.cluster import errors as man_errors
from flambe.cluster.instance import CPUFactoryInstance, Instance, OrchestratorInstance, errors
from flambe.runnable import ClusterRunnable
from flambe.runnable.environment import RemoteEnvironment


class Count(ClusterRunnable):
    def __init__(
        self, name: str, data: str, workers: Optional[list] = None, env: Optional[RemoteEnvironment] = None, **kwargs
    ) -> None:
        super().__init__(env=env, **kwargs)
        self.name = name
        self.data = data
        self.workers = workers

    def setup(self, cluster: Cluster, extensions: Dict[str, str], force: bool, **kwargs) -> None:
        orchestrator = cluster.orchestrator
        if not isinstance(orchestrator, OrchestratorInstance):
            raise man_errors.ClusterError("Orchestrator instance was not loaded.")
        if cluster.existing_flambe_execution():
            if not force:
                raise man_errors.ClusterError("This cluster is currently running an experiment.")
            cluster.shutdown_flambe_execution()

        for host in [orchestrator] + cluster.factories:
            host.wait_until_accessible()
            if not (host.is_up() and host.is_node_running() and host.is_flambe_installed()):
                host.prepare()
            self.clean(host)
        for factory in cluster.factories:
            assert isinstance(factory, CPUFactoryInstance)
            factory.install_extensions({"six": "six"})
            factory.launch_node(f"{orchestrator.private_host}:{const.RAY_REDIS_PORT}")
        orchestrator.launch_node(port=const.RAY_REDIS_PORT)

        output = f"{self.name}/output__{self.name}"
        cluster.create_dirs([self.name, output])
        home = orchestrator.get_home_path()
        orchestrator.send_rsync(self.data, os.path.join(home, self.name), params=["--exclude='.*'"])
        cluster.rsync_orch(self.name)
        ret = cluster.factories[0].send_cmd("cat numbers.txt | wc -l", retries=3, wd=self.name)
        if not ret.success:
            raise errors.RemoteCommandError(ret.msg)
        lines = int(ret.msg.decode("utf-8").strip())

        if orchestrator.is_tensorboard_running():
            orchestrator.remove_tensorboard()
        orchestrator.launch_tensorboard(output, const.TENSORBOARD_PORT)
        if orchestrator.is_report_site_running():
            orchestrator.remove_report_site()
        orchestrator.launch_report_site(
            f"{output}/state.pkl",
            port=const.REPORT_SITE_PORT,
            output_log="output.log",
            output_dir=output,
            tensorboard_port=const.TENSORBOARD_PORT,
        )
        self.set_serializable_attr("workers", orchestrator.worker_nodes())
        self.set_serializable_attr("data", f"{home}/{self.name}/numbers.txt")
        print(f"set up with {lines} lines")

    def clean(self, host: Instance) -> None:
        if host.is_docker_installed() and host.is_docker_running():
            host.clean_container_by_image("tensorflow/tensorflow")

    def run(self, **kwargs) -> None:
        with open(self.data) as f:
            total = sum(int(line) for line in f)
        with open(os.path.join(self.name, "total.json"), "w") as f:
            json.dump({"total": total, "workers": self.workers, "factories": self.env.factories_ips}, f)
