"""The stages of a launch that need SSH, replaced; and the places at which a drill kills the process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flambe_ansible.ec2 import keypairs
from flambe_ansible.errors import HostConnectionError, PlaybookError
from flambe_ansible.launch.launch import LaunchResult
from flambe_ansible.playbooks import HostResult
from flambe_ansible.validation.keyfile import read_public_key

STAGES = ("connect", "probe", "reserve", "play", "ray", "check")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
MOMENTS = ("before", "during", "after")


@dataclass(frozen=True)
class Plan:
    """Where a child process is killed, or which stage fails.

    Attributes:
        call: The number of the call that changes something, from 1; 0 for none.
        stage: A stage; "" for none.
        moment: ``before``, ``during`` or ``after`` it.
        signal: The signal.
        fails: The stage fails, and the process is not killed.
    """

    call: int = 0
    stage: str = ""
    moment: str = "before"
    signal: signal.Signals = signal.SIGKILL
    fails: bool = False

    def __str__(self) -> str:
        place = f"call {self.call}" if self.call else f"stage {self.stage}"
        return f"{place} fails" if self.fails else f"{self.signal.name} {self.moment} {place}"


PLAN = Plan()
CHECK_KEYS = False
PLAY_SECONDS = 0.0
_lock = threading.Lock()
_calls = {"before": 0, "after": 0}


def start(plan: Plan) -> None:
    """Begin a plan in a new process; the process before it made calls too."""
    global PLAN
    PLAN = plan
    _calls.update(before=0, after=0)


def pass_stage(name: str) -> None:
    """Pass a stage; the process is killed, or the stage fails, as planned."""
    if name != PLAN.stage:
        return
    if PLAN.fails and name == "play":
        raise PlaybookError("site.yml failed on drill_factory_0", failures=[], log="/dev/null")
    if PLAN.fails:
        raise HostConnectionError(f"drill_orchestrator: stage {name} failed", host="drill_orchestrator")
    os.kill(os.getpid(), PLAN.signal)


def watch_clients(make_client: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function that makes clients: the process is killed before or after a call."""

    def count(moment: str, operation: str, dry: bool) -> None:
        if dry or operation.startswith(("Describe", "Get", "List")):
            return
        with _lock:
            _calls[moment] += 1
            hit = PLAN.call and not PLAN.fails and PLAN.moment == moment and _calls[moment] == PLAN.call
        if hit:
            os.kill(os.getpid(), PLAN.signal)

    def make(*args: Any, **kwargs: Any) -> Any:
        client = make_client(*args, **kwargs)
        dry = threading.local()

        def before(params: Any, model: Any, **_: Any) -> None:
            dry.value = bool(params.get("DryRun"))
            count("before", model.name, dry.value)

        def after(model: Any, **_: Any) -> None:
            count("after", model.name, dry.value)

        client.meta.events.register("provide-client-params.*.*", before)
        client.meta.events.register("after-call.*.*", after)
        return client

    return make


class StandIn:
    """Connections to hosts that all answer; with ``CHECK_KEYS`` only if this machine has the key of the cluster."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.connections = SimpleNamespace(
            probe_each=self._probe, probe=lambda *_args, **_kwargs: None, probes={}, close=lambda: None
        )

    def open_early(self, _started: Any, **_: Any) -> None:
        pass

    def list_early(self) -> list[Any]:
        return []

    def record(self, _file: str) -> None:
        pass

    def open(self, hosts: Sequence[Any], **_: Any) -> None:
        for error in self.open_each(hosts).values():
            raise error

    def open_each(self, hosts: Sequence[Any], **_: Any) -> dict[str, Any]:
        if hosts:
            pass_stage("connect")
        if CHECK_KEYS and not self._has_key():
            return {host.name: HostConnectionError(f"{host.name}: refused", host=host.name) for host in hosts}
        return {}

    def _has_key(self) -> bool:
        pair = keypairs.find(self._cluster.clients.ec2, self._cluster._tags)
        key = Path(self._cluster.key)
        public = (pair or {}).get("PublicKey", "").split()[:2]
        return key.exists() and " ".join(public) == read_public_key(key)

    def close(self) -> None:
        pass

    def _probe(self, _hosts: Sequence[Any], **_: Any) -> dict[str, Any]:
        pass_stage("probe")
        return {}


def converge(
    player: Any, runtime: Any, version: Any, *, created: Sequence[str], started: float, **_: Any
) -> LaunchResult:
    """Replace the playbook and the check of Ray."""
    pass_stage("play")
    time.sleep(PLAY_SECONDS)
    pass_stage("ray")
    hosts = tuple(player.fleet.hosts)
    return LaunchResult(
        hosts=hosts,
        created=tuple(created),
        runtime=runtime.name,
        version=version,
        playbook={host.name: HostResult(host=host.name) for host in hosts},
        ray=None,
        seconds=1.0,
        log=None,
    )
