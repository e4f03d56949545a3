"""The lab's process: ``python -m flambe_ansible.lab.daemon NAME``, started by ``lab up``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from flambe_ansible.lab import alarms, network, process, state
from flambe_ansible.lab.calls import CallLog
from flambe_ansible.lab.cloud import Cloud, key_file, prepare_moto
from flambe_ansible.lab.fleet import Fleet
from flambe_ansible.lab.gate import Gate

_log = logging.getLogger(__name__)


def main(name: str) -> None:
    """Serve one lab's API until SIGTERM; its hosts keep running."""
    settings = state.load(name)
    if settings is None:
        sys.exit(f"the lab {name} does not exist")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    prepare_moto()
    network.up(settings)
    public = key_file(settings.folder).with_suffix(".pem.pub").read_text().strip()
    cloud = Cloud.open(settings, public)
    fleet = Fleet(settings, cloud)
    server = _make_server(fleet)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    with fleet.lock:
        fleet.resume()
        fleet.save()
    threading.Thread(target=server.serve_forever, daemon=True, name="api").start()
    process.announce(settings, cloud)
    _log.info("lab %s serves on port %d", name, settings.port)
    _watch(fleet, stop)
    server.shutdown()
    fleet.close()
    with fleet.lock:
        fleet.save()


def _watch(fleet: Fleet, stop: threading.Event) -> None:
    """Update instance states and act on alarms; more often while a host starts or ends."""
    meter = alarms.Meter(fleet)
    while not stop.wait(0.1 if fleet.is_busy() else 0.5):
        try:
            fleet.watch()
            meter.tick()
        except Exception:
            _log.exception("watching the hosts failed")


def _make_server(fleet: Fleet) -> Any:
    """Make the HTTP server, on the loopback alone."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        """Werkzeug's handler without its request log; the lab has its own."""

        protocol_version = "HTTP/1.1"

        def log_request(self, *_args: Any) -> None:
            """Write nothing."""

    settings = fleet.settings
    moto, log = (
        DomainDispatcherApplication(create_backend_app),
        CallLog(settings.folder / "calls.jsonl", settings.owner),
    )
    gate = Gate(fleet, moto=moto, secrets=process.read_secrets(settings), log=log)
    return make_server("127.0.0.1", settings.port, gate, threaded=True, request_handler=Handler)


if __name__ == "__main__":
    os.chdir("/")
    os.umask(0o022)
    Path("/proc/self/comm").write_text("flambe-lab")
    main(sys.argv[1])
