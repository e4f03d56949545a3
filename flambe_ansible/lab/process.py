"""Starting and stopping the lab's daemon."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from flambe_ansible.errors import LabError
from flambe_ansible.files import write_json
from flambe_ansible.lab import pidfile, state
from flambe_ansible.lab.client import CLIENT_FILE
from flambe_ansible.lab.cloud import KEY_NAME, REGION, Cloud, key_file
from flambe_ansible.lab.state import Settings
from flambe_ansible.lab.system import start_detached

_SECRETS = "secrets.json"
_START_TIMEOUT = 60.0


def make_secrets(settings: Settings) -> None:
    """Create the lab's access key if it has none."""
    path = settings.folder / _SECRETS
    if not path.exists():
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
        key = "AKIA" + "".join(secrets.choice(letters) for _ in range(16))
        write_json(path, {"access_key": key, "secret_key": secrets.token_urlsafe(30)})


def read_secrets(settings: Settings) -> tuple[str, str]:
    """Read the lab's access key and its secret."""
    document = state.read_json(settings.folder / _SECRETS)
    return document["access_key"], document["secret_key"]


def require_moto() -> None:
    """Check that moto is installed, without importing it."""
    if any(importlib.util.find_spec(name) is None for name in ("moto", "flask", "werkzeug")):
        hint = f"{sys.executable} -m pip install 'flambe-ansible[lab]'"
        raise LabError("the lab needs the Python package moto", hint=hint)


def start(settings: Settings) -> None:
    """Start the daemon, detached from this terminal, and wait until it serves."""
    (settings.folder / pidfile.FILE).unlink(missing_ok=True)
    log = settings.folder / "daemon.log"
    child = start_detached(
        [sys.executable, "-m", "flambe_ansible.lab.daemon", settings.name],
        unit=f"flambe-lab-{settings.name}.service",
        log=log,
        properties=["KillMode=process"],
        variables={
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **{key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")},
        },
    )
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and (child is None or child.poll() is None):
        if pidfile.find(settings.folder) is not None:
            return
        time.sleep(0.05)
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    raise LabError(f"the lab's daemon did not start: {lines[-1] if lines else 'its log is empty'}", hint=f"see {log}")


def announce(settings: Settings, cloud: Cloud) -> None:
    """Write how to reach the lab, for its owner, and that this process serves it."""
    access_key, secret_key = read_secrets(settings)
    client = {
        "name": settings.name,
        "endpoint": f"http://127.0.0.1:{settings.port}",
        "region": REGION,
        "access_key": access_key,
        "secret_key": secret_key,
        "subnet_id": cloud.subnet_id,
        "security_group": cloud.security_group,
        "key_name": KEY_NAME,
        "key": str(key_file(settings.folder)),
        "image_id": cloud.image_id,
        "network": settings.network,
    }
    write_json(settings.folder / CLIENT_FILE, client, owner=settings.owner)
    pidfile.write(settings.folder)


def stop(folder: Path, *, timeout: float = 10.0) -> None:
    """Stop a lab's daemon and wait until it has ended; its hosts keep running."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + timeout
        while (pid := pidfile.find(folder)) is not None and time.monotonic() < deadline:
            with suppress(ProcessLookupError):
                os.kill(pid, sent)
            time.sleep(0.1)
    (folder / pidfile.FILE).unlink(missing_ok=True)


def choose_port(wanted: int = 0) -> int:
    """Return a loopback port that nothing listens on: the wanted one, or another if that is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
