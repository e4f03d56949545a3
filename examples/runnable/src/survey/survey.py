"""Survey hosts: run shell commands on all of them in parallel."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flambe_ansible import Cluster, ClusterRunnable
from flambe_ansible.errors import ClusterConfigurationError, ExistingResultsError, RunError

TIMEOUT = 60.0  # seconds for one command


class Survey(ClusterRunnable):
    """Runs each command on each factory, or on this machine, and writes the outputs to a JSON file.

    If the secrets have a section ``[SURVEY]`` with a ``KEY``, the outputs are signed with it.

    Args:
        questions: The shell commands, by name.
        answers: The output file; on a cluster, ``setup`` sets it.
        **kwargs: The arguments of ClusterRunnable, such as ``env``.
    """

    results = "survey"  # below the home folder of the orchestrator; `flambe-ans pull` downloads it

    def __init__(self, questions: Mapping[str, str], answers: str = "answers.json", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.questions = dict(questions)
        self.answers = answers

    def parse(self) -> None:
        """Check that there are questions."""
        if not self.questions:
            raise ClusterConfigurationError("a survey needs questions")

    def setup(self, cluster: Cluster, extensions: dict[str, str], force: bool, **kwargs: Any) -> None:
        """Create the folder of the answers. This runs on the machine that submits, with the connected cluster."""
        answers = f"{cluster.get_orch_home_path()}/{self.results}/answers.json"
        if not force and cluster.orchestrator.run(f"test -e {answers}", check=False).returncode == 0:
            raise ExistingResultsError(
                f"{cluster.name} already has answers, in {answers}", hint="--force replaces them"
            )
        cluster.create_dirs([self.results])
        self.set_serializable_attr("answers", answers)

    def run(self, **kwargs: Any) -> None:
        """Run the commands on all hosts in parallel. This runs on the orchestrator, or on this machine."""
        hosts = self.env.factories_ips if self.env else [""]
        with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
            answers = dict(zip([host or "here" for host in hosts], pool.map(self._ask_all, hosts), strict=True))
        for host, answer in answers.items():
            print(host, *(f"{name}={value}" for name, value in answer.items()), sep="  ", flush=True)
        Path(self.answers).write_text(json.dumps(self._sign(answers), indent=1) + "\n", encoding="utf-8")

    def _ask_all(self, host: str) -> dict[str, str]:
        return {name: self._ask(host, command) for name, command in self.questions.items()}

    def _ask(self, host: str, command: str) -> str:
        """Run one command on a host, with the cluster's SSH key; the orchestrator has the host keys of all hosts."""
        argv = ["sh", "-c", command]
        if host:
            options = ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10"]
            argv = ["ssh", "-i", self.env.key, *options, f"{self.env.user}@{host}", command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            raise RunError(f"{host or 'here'}: {command}: {done.stderr.strip() or f'exit code {done.returncode}'}")
        return done.stdout.strip()

    def _sign(self, answers: Mapping[str, Any]) -> dict[str, Any]:
        """Add a signature if there is a key."""
        key = self.config.get("SURVEY", "KEY", fallback="")
        text = json.dumps(answers, sort_keys=True)
        signature = hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest() if key else None
        return {"hosts": answers, "signature": signature}
