"""The steps of flambé's cluster API, each alone, on the hosts of a live cluster.

What a host must *be* is the playbook's; what one tells it once is one SSH call.
"""

from __future__ import annotations

import shlex

from flambe_ansible import inventory, secrets
from flambe_ansible.cluster import ray
from flambe_ansible.cluster.converge import RunOptions, play
from flambe_ansible.cluster.live import LiveCluster

KEY_FILE = "ray_bootstrap_key.pem"  # in the home folder, flambé's own name


class Operations(LiveCluster):
    """The steps that a ``ClusterRunnable`` may call; after ``run`` or ``attach``."""

    options: RunOptions

    def run_cmds(self, setup_cmds: list[str]) -> None:
        """Run commands in order on all hosts at once.

        Raises:
            RemoteCommandError: One failed on a host.
        """
        for command in setup_cmds:
            self.connections.run_all(self.hosts, f"bash -c {shlex.quote(command)} </dev/null", check=True)

    def create_dirs(self, relative_dirs: list[str]) -> None:
        """Create folders below the home folder of every host; those that exist stay as they are."""
        if relative_dirs:
            self.connections.run_all(self.hosts, "cd && mkdir -p -- " + shlex.join(relative_dirs), check=True)

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

    def shutdown_ray_cluster(self) -> None:
        """Stop Ray on all hosts."""
        self.connections.run_all(self.hosts, f"sudo -n systemctl stop {inventory.RAY_UNIT}", check=True)
