"""The steps of flambé's cluster API, each alone, on the hosts of a live cluster.

What a host must *be* is the playbook's; what one tells it once is one SSH call.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from flambe_ansible import inventory, secrets
from flambe_ansible.cluster import ray
from flambe_ansible.cluster.converge import RunOptions, play
from flambe_ansible.cluster.copying import KEY_FILE
from flambe_ansible.cluster.instance import COUNT_DEVICES, Instance, read_devices
from flambe_ansible.cluster.transfers import Transfers
from flambe_ansible.runnable.environment import RemoteEnvironment
from flambe_ansible.ssh import on_each


class Operations(Transfers):
    """The steps that a ``ClusterRunnable`` may call; after ``run`` or ``attach``."""

    options: RunOptions

    def run_cmds(self, setup_cmds: list[str]) -> None:
        """Run commands in order on all hosts at once.

        Raises:
            RemoteCommandError: One failed on a host.
        """
        for command in setup_cmds:
            self.connections.run_all(self.hosts, f"bash -c {shlex.quote(command)} </dev/null", check=True)

    def prepare_all_instances(self) -> None:
        """Install the pinned flambe on all hosts.

        Raises:
            PlaybookError: It failed on a host.
        """
        play(self, self.options, tags=["flambe"])

    def distribute_keys(self) -> None:
        """Give all hosts the cluster's own key pair; a pair that is there is kept."""
        play(self, self.options, tags=["cluster_keys"])

    def cluster_has_key(self) -> bool:
        """Tell whether all hosts hold the same key pair."""
        command = f'ssh-keygen -y -P "" -f ~/{KEY_FILE}'
        answers = self.connections.run_all(self.hosts, command, check=False)
        keys = {tuple(answer.stdout.split()[:2]) for answer in answers.values() if answer.returncode == 0}
        return len(keys) == 1 and all(answer.returncode == 0 for answer in answers.values())

    def send_secrets(self, whitelist: list[str] | None = None) -> str:
        """Send the user's secrets to the orchestrator, as ``~/secrets.ini`` (0600).

        Args:
            whitelist: Send these sections alone.

        Returns:
            The file's path on the orchestrator.

        Raises:
            MissingSecretsError: A wanted section is not there.
        """
        secrets.check(self.options.secrets_file, whitelist)
        self.options.secrets_sections = whitelist
        play(self, self.options, tags=["secrets"])
        return f"{self._get_orchestrator().get_home_path()}/secrets.ini"

    def launch_ray_cluster(self) -> None:
        """Start Ray on all hosts: the head on the orchestrator (no CPUs), a node on each factory."""
        play(self, self.options, tags=["ray_node"])

    def check_ray_cluster(self) -> bool:
        """Tell whether Ray has a live node on every host."""
        return not ray.ask(self.connections, self._get_orchestrator().data).find_missing(self.hosts)

    def is_ray_cluster_up(self) -> bool:
        """Tell whether the Ray on the orchestrator answers."""
        return not ray.ask(self.connections, self._get_orchestrator().data).error

    def existing_ray_cluster(self) -> list[Instance]:
        """Return the hosts on which Ray has a live node, the factories first; none where its head does not answer."""
        alive = ray.ask(self.connections, self._get_orchestrator().data).addresses
        return [one for one in self._get_all_hosts() if one.data.private_ip in alive]

    def shutdown_ray_cluster(self) -> None:
        """Stop Ray on all hosts."""
        self.connections.run_all(self.hosts, f"sudo -n systemctl stop {inventory.RAY_UNIT}", check=True)

    def contains_gpu_factories(self) -> bool:
        """Tell whether a factory has an NVIDIA GPU that its driver knows."""
        return any(gpus > 0 for _, gpus in self._count_devices())

    def get_max_resources(self) -> dict[str, int]:
        """Return what every factory has at least: ``{"cpu": N, "gpu": M}``, the smallest number of each."""
        counted = self._count_devices()
        return {
            "cpu": min((cpus for cpus, _ in counted), default=0),
            "gpu": min((gpus for _, gpus in counted), default=0),
        }

    def get_remote_env(self, user_provider: Callable[[], str]) -> RemoteEnvironment:
        """Describe the cluster for a runnable that runs on it.

        Args:
            user_provider: Says who submits.

        Returns:
            The environment; the addresses that hosts use for each other are the private ones.

        Raises:
            ClusterError: The orchestrator was not loaded.
        """
        orchestrator = self._get_orchestrator()
        return RemoteEnvironment(
            key=f"{orchestrator.get_home_path()}/{KEY_FILE}",
            orchestrator_ip=orchestrator.private_host,
            factories_ips=[one.private_host for one in self.factories],
            user=self.username,
            local_user=user_provider(),
            public_orchestrator_ip=orchestrator.host,
            public_factories_ips=[one.host for one in self.factories],
        )

    def _count_devices(self) -> list[tuple[int, int]]:
        """Count the CPUs and GPUs of each factory."""
        factories = [one.data for one in self.factories]
        answers = on_each(factories, lambda host: self.connections.run(host, COUNT_DEVICES))
        return [read_devices(answer.stdout) for answer in answers.values()]
