"""A lab without hosts in this process: its API is served on loopback, and instances run at once."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.ec2 import checks, session
from flambe_ansible.lab import disk, state
from flambe_ansible.lab.calls import CallLog
from flambe_ansible.lab.cloud import KEY_NAME, REGION, Cloud
from flambe_ansible.lab.fleet import Fleet, set_state
from flambe_ansible.lab.gate import Gate
from flambe_ansible.lab.state import Settings
from tests.unit.aws_account import keep_client_classes
from tests.unit.keys import private_key, public_key, write_key

SECRETS = ("AKIAOFTHELAB", "secret")
HOST_KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()


class InstantFleet(Fleet):
    """Hosts that are up as soon as they are requested, and have files only for their consoles."""

    def launch(self, instance: Any, user_data: str) -> None:
        mark = disk.up_mark(self.settings, instance.id)
        mark.parent.mkdir(parents=True)
        mark.touch()
        set_state(instance, "running")

    def start(self, instance: Any) -> None:
        disk.restart_mark(self.settings, instance.id).touch()
        disk.up_mark(self.settings, instance.id).touch()
        set_state(instance, "running")

    def stop(self, instance: Any) -> None:
        set_state(instance, "stopped")

    def terminate(self, instance: Any) -> None:
        set_state(instance, "terminated")
        self.cloud.release_address(instance)

    def capture(self, image: Any) -> None:
        image.state = "available"
        image.ebs_snapshot.status = "completed"

    def save(self) -> None:
        """Write nothing."""


@dataclass
class ServedLab:
    """A lab that is served, and its account."""

    endpoint: str
    cloud: Cloud
    fleet: InstantFleet
    gate: Gate
    log: Path

    @cached_property
    def session(self) -> boto3.Session:
        return session.make_isolated_session(REGION, access_key=SECRETS[0], secret_key=SECRETS[1])

    def client(self, service: str = "ec2") -> Any:
        return session.make_client(self.session, service, endpoint_url=self.endpoint, attempts=1)

    def cluster(self, **changes: Any) -> AWSCluster:
        """Make a cluster in the lab: one orchestrator and two factories."""
        arguments = {
            "name": "trial",
            "factories_num": 2,
            "factories_type": "t3.large",
            "orchestrator_type": "t3.small",
            "key_name": KEY_NAME,
            "key": str(self.log.with_name("key.pem")),
            "security_group": self.cloud.security_group,
            "subnet_id": self.cloud.subnet_id,
            "creator": "ada@example.com",
            "region_name": REGION,
        }
        cluster = AWSCluster(**{**arguments, **changes})
        cluster.clients._make_session = lambda: self.session
        cluster.clients._endpoint_url = lambda: self.endpoint
        return cluster

    def calls(self) -> list[tuple[str, str]]:
        """Return service and operation of all calls so far."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [(line["service"], line["operation"]) for line in lines]


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_args: Any) -> None:
        """Write nothing."""


@contextmanager
def serve(
    folder: Path,
    *,
    fleet_class: type[InstantFleet] = InstantFleet,
    gate_class: type[Gate] = Gate,
    **changes: Any,
) -> Iterator[ServedLab]:
    """Serve a lab whose settings have these changes."""
    for service in ("ec2", "cloudwatch", "sts"):
        get_backend(service).reset()  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "root", lambda: folder)
        patch.setattr(disk, "host_keys", lambda *_args: [f"{HOST_KEY} root@host"])
        patch.setattr(checks, "OUTSIDE", "127.0.0.1")  # this machine's own address
        keep_client_classes(patch)
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        settings = Settings(
            name="served", network="10.213.7.0/24", port=0, image="", **{"console_delay": 0.0, **changes}
        )
        settings.folder.mkdir(parents=True)
        patch.setattr(Cloud, "save", lambda _cloud: None)
        cloud = Cloud.open(settings, public_key(private_key()))
        fleet = fleet_class(settings, cloud)
        write_key(settings.folder / "key.pem")
        log = settings.folder / "calls.jsonl"
        moto = DomainDispatcherApplication(create_backend_app)
        gate = gate_class(fleet, moto=moto, secrets=SECRETS, log=CallLog(log, (-1, -1)))
        server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=_Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield ServedLab(f"http://127.0.0.1:{server.server_port}", cloud, fleet, gate, log)
        finally:
            server.shutdown()
            server.server_close()
