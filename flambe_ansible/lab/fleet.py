"""The hosts of the instances: their changes, and the instance states that follow from them."""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from flambe_ansible.control_codes import strip
from flambe_ansible.files import write_json
from flambe_ansible.lab import disk, groups, host, host_faults
from flambe_ansible.lab.client import HOSTS_FILE
from flambe_ansible.lab.cloud import STATE_CODES, Cloud
from flambe_ansible.lab.disk import HostSpec
from flambe_ansible.lab.faults import Faults
from flambe_ansible.lab.host_faults import HostFaults
from flambe_ansible.lab.state import Settings

BOOT_TIMEOUT = 120.0  # seconds after which the start of a host that does not answer has failed

_END_ATTEMPTS = 5
_LIVE = ("pending", "running", "stopping", "stopped")
_SHOWN_AFTER_END = 3600.0  # seconds for which a terminated instance is still described, as on EC2
_log = logging.getLogger(__name__)


class Fleet:
    """All hosts of a lab. Methods that change an instance expect the caller to hold ``lock``."""

    def __init__(self, settings: Settings, cloud: Cloud) -> None:
        self.settings = settings
        self.cloud = cloud
        self.faults = Faults(settings)
        self._host_faults = HostFaults(settings, self.faults)
        self.lock = threading.RLock()
        self._works: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._since: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._filters: dict[str, str] = {}  # the rules of each host's security groups
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="host")

    def room(self) -> int:
        """Count how many more hosts the lab can have."""
        return self.settings.max_hosts - sum(1 for i in self.cloud.instances() if i.state in _LIVE)

    def is_busy(self) -> bool:
        """Return whether a host is starting or ending."""
        return any(instance.state in ("pending", "stopping", "shutting-down") for instance in self.cloud.instances())

    def launch(self, instance: Any, user_data: str) -> None:
        """Create and boot the host of a new instance."""
        set_state(instance, "pending")
        self._since[instance.id] = math.inf
        self._pool.submit(self._boot, instance, self._spec(instance, user_data))

    def fail(self, instance: Any) -> None:
        """Let the start of a new instance fail: it is terminated while it is pending."""
        set_state(instance, "pending")
        self._since[instance.id] = -math.inf

    def interrupt(self, instance: Any) -> None:
        """Terminate a spot instance, as AWS does when it needs the capacity.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-interruptions.html
        """
        instance.state_reason.code = "Server.SpotInstanceTermination"
        instance.state_reason.message = "Server.SpotInstanceTermination: Spot instance termination"
        self.terminate(instance)

    def start(self, instance: Any) -> None:
        """Boot the host of a stopped instance again."""
        disk.end_mark(self.settings, instance.id).unlink(missing_ok=True)
        disk.restart_mark(self.settings, instance.id).touch()
        set_state(instance, "pending")
        self._since[instance.id] = math.inf
        self._pool.submit(self._boot, instance, None)

    def stop(self, instance: Any) -> None:
        """Shut a host down; its disk stays."""
        set_state(instance, "stopping")
        self._pool.submit(self._stop, instance)

    def terminate(self, instance: Any) -> None:
        """End a host and free its disk."""
        set_state(instance, "shutting-down")
        self._pool.submit(self._destroy, instance)

    def reboot(self, instance: Any) -> None:
        """Reboot a host."""
        self._pool.submit(host.reboot, self.settings, instance.id)

    def capture(self, image: Any) -> None:
        """Make the files of a pending image from the disk of its instance's host."""
        instance = next(found for found in self.cloud.instances() if found.id == image.instance_id)
        self._pool.submit(self._capture, image, instance)

    def remove_unused_layers(self) -> None:
        """Remove the files of images that are neither registered nor used by a host."""
        used = {name for image in self.cloud.images() for name in image.layers}
        used |= {name for layers in self.cloud.layers.values() for name in layers}
        for path in self.settings.image_layers.glob("*"):
            if path.name not in used:
                self._pool.submit(shutil.rmtree, path, ignore_errors=True)

    def resume(self) -> None:
        """Continue the changes that an earlier daemon began, and remove hosts without an instance."""
        known = {instance.id: instance for instance in self.cloud.instances()}
        for path in (self.settings.folder / "hosts").glob("*"):
            if path.name not in known or known[path.name].state == "terminated":
                host.destroy(self.settings, path.name)
        self.remove_unused_layers()
        for image in self.cloud.images():
            if image.state == "pending":
                self.capture(image)  # before other changes of its instance, which wait for the image
        for instance in known.values():
            if instance.state == "shutting-down":
                self.terminate(instance)
            elif instance.state == "stopping":
                self.stop(instance)
            elif instance.state == "pending":
                self._resume_boot(instance)

    def watch(self) -> None:
        """Update the instances' states from their hosts; called repeatedly."""
        with self.lock:
            busy = [(instance, instance.state) for instance in self.cloud.instances() if instance.state in _LIVE]
            done = [i for i in self.cloud.instances() if i.state == "terminated"]
        for instance, before in busy:
            after = self._derive_state(instance, before)
            if after != before:
                with self.lock:
                    if instance.state == before:
                        self._apply_state(instance, after)
        self._act_on_running()
        for instance in done:
            if time.monotonic() - self._ended.setdefault(instance.id, time.monotonic()) > _SHOWN_AFTER_END:
                with self.lock:
                    self.cloud.forget(instance)
                    self.save()

    def _act_on_running(self) -> None:
        """Let the faults of running hosts act."""
        with self.lock:
            running = [instance for instance in self.cloud.instances() if instance.state == "running"]
            for kind, instance in self._host_faults.find_due(running):
                self.reboot(instance) if kind == "reboot" else self.interrupt(instance)
        self._host_faults.cut_networks(running)

    def save(self) -> None:
        """Write the account and the list of hosts that ``lab status`` shows, and update the hosts' inbound rules."""
        self.cloud.save()
        self._update_filters()
        rows = [
            {
                "id": instance.id,
                "name": next((tag["value"] for tag in instance.get_tags() if tag["key"] == "Name"), ""),
                "state": instance.state,
                "private_ip": instance.private_ip,
                "instance_type": instance.instance_type,
            }
            for instance in self.cloud.instances()
        ]
        write_json(self.settings.folder / HOSTS_FILE, rows, owner=self.settings.owner)

    def _update_filters(self) -> None:
        """Update the inbound rules of the hosts for which they changed."""
        for instance in self.cloud.instances():
            if instance.state not in _LIVE or not disk.up_mark(self.settings, instance.id).exists():
                continue  # ``_boot`` sets the rules of a new host
            text = self._render_filter(instance)
            if text != self._filters.get(instance.id):
                self._try(instance, "filter", partial(groups.apply, self.settings, instance.id, text))
                self._filters[instance.id] = text

    def _render_filter(self, instance: Any) -> str:
        return groups.render(groups.find_groups(instance), groups.find_members(self.cloud.instances()))

    def close(self) -> None:
        """Wait for running changes to end; the hosts keep running."""
        self._pool.shutdown(wait=True, cancel_futures=False)

    def _resume_boot(self, instance: Any) -> None:
        """Continue a boot that an earlier daemon began; a host that was never up is created again."""
        self._since[instance.id] = math.inf
        if disk.up_mark(self.settings, instance.id).exists():
            self._since[instance.id] = time.monotonic()
            if not host.is_running(self.settings, instance.id):
                self._pool.submit(self._boot, instance, None)
            return
        host.destroy(self.settings, instance.id)
        script = instance.user_data.decode() if instance.user_data else ""
        self._pool.submit(self._boot, instance, self._spec(instance, script))

    def _spec(self, instance: Any, user_data: str) -> HostSpec:
        """Describe the host of an instance."""
        return HostSpec(
            id=instance.id,
            address=instance.private_ip,
            public_keys=self.cloud.public_keys(instance.key_name),
            user_data=user_data,
            layers=self.cloud.layers.get(instance.id, ()),
        )

    def _is_captured(self, instance: Any) -> bool:
        """Return whether an image of an instance is pending."""
        return any(image.state == "pending" and image.instance_id == instance.id for image in self.cloud.images())

    def _derive_state(self, instance: Any, before: str) -> str:
        """Return the state that an instance should have."""
        running = host.is_running(self.settings, instance.id)
        if before == "running" and not running and not self._is_captured(instance):
            ends = instance.instance_initiated_shutdown_behavior == "terminate"
            return "shutting-down" if ends else "stopped"
        if before != "pending":
            return before
        waited = time.monotonic() - self._since.get(instance.id, math.inf)
        if running and host_faults.is_slow(self.settings, instance.id):
            return "running"
        if running and host.answers(self.settings, instance.id, instance.private_ip, timeout=0.2):
            return "running"
        if waited > BOOT_TIMEOUT or disk.end_mark(self.settings, instance.id).exists():
            return "stopping" if disk.up_mark(self.settings, instance.id).exists() else "shutting-down"
        return before

    def _apply_state(self, instance: Any, after: str) -> None:
        """Set an instance's state to the state of its host."""
        if instance.state == "pending" and after != "running":
            tail = disk.console_tail(self.settings, instance.id)
            _log.error("host %s did not start:\n%s", instance.id, tail)
            instance.state_reason.code = "Server.InternalError"
            lines = [line.strip() for line in strip(tail).splitlines()]
            last = next(filter(None, reversed(lines)), "its console is empty")
            instance.state_reason.message = f"Server.InternalError: the host did not start: {last[:200]}"
        if after == "shutting-down":
            instance.teardown_defaults()
            self.terminate(instance)
        elif after == "stopping":
            self.stop(instance)
        else:
            set_state(instance, after)
        if after == "running":
            disk.up_mark(self.settings, instance.id).touch()
        if after == "stopped":
            instance._reason = f"User initiated ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} GMT)"
            instance.state_reason.code = "Client.InstanceInitiatedShutdown"
            instance.state_reason.message = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
        self.save()

    def _boot(self, instance: Any, spec: HostSpec | None) -> None:
        """Boot a host, and create it first if there is a spec; does nothing if its instance is no longer pending."""
        with self._works[instance.id]:
            if instance.state != "pending":
                return
            try:
                if spec is not None:
                    disk.create(self.settings, spec)
                    self._host_faults.prepare(instance, spec)
                with self.lock:
                    self._filters[instance.id] = text = self._render_filter(instance)
                    groups.apply(self.settings, instance.id, text)
                host.start(self.settings, disk.read_spec(self.settings, instance.id))
                self._since[instance.id] = time.monotonic()
            except Exception:
                _log.exception("failed to start host %s", instance.id)
                self._since[instance.id] = -math.inf

    def _capture(self, image: Any, instance: Any) -> None:
        """Make the files of an image; afterwards its state is available or failed."""
        with self._works[instance.id]:
            made = self._try(instance, "capture", lambda: self._make_layer(image, instance))
        with self.lock:
            image.state = "available" if made else "failed"
            image.ebs_snapshot.status = "completed" if made else "error"
            if not made:
                image.state_reason = {"Code": "Server.InternalError", "Message": "The image failed; see daemon.log"}
            self.save()

    def _make_layer(self, image: Any, instance: Any) -> None:
        """Make the layer of an image; a host that is stopped for it is started again, and answers when this returns."""
        settings, name = self.settings, image.id
        made = (settings.image_layers / name).exists()
        if host.is_running(settings, instance.id) and not image.reboot:
            disk.copy(settings, instance.id, name)
            image.layers = (name, *disk.read_spec(settings, instance.id).layers)
            return
        if not made:
            host.shut_down(settings, instance.id)
        try:
            disk.seal(settings, instance.id, name)
        finally:
            spec = disk.read_spec(settings, instance.id)
            with self.lock:
                self.cloud.layers[instance.id] = spec.layers
                image.layers = (name, *(layer for layer in spec.layers if layer != name))
            if instance.state == "running" and not host.is_running(settings, instance.id):
                host.start(settings, spec)
                host.wait(settings, spec, timeout=BOOT_TIMEOUT)

    def _stop(self, instance: Any) -> None:
        """Shut a host down."""
        with self._works[instance.id]:
            self._try(instance, "stop", lambda: host.shut_down(self.settings, instance.id))
        with self.lock:
            if instance.state == "stopping":
                set_state(instance, "stopped")
                self.save()

    def _destroy(self, instance: Any) -> None:
        """End a host; its instance is terminated when its disk is removed."""
        while self._is_captured(instance):  # the capture was submitted to the pool before this
            time.sleep(0.1)
        with self._works[instance.id]:
            for attempt in range(_END_ATTEMPTS):
                time.sleep(attempt)
                if self._try(instance, "end", lambda: host.destroy(self.settings, instance.id)):
                    break
            else:
                return
        with self.lock:
            set_state(instance, "terminated")
            self.cloud.release_address(instance)
            self.cloud.layers.pop(instance.id, None)
            self.remove_unused_layers()
            self._ended[instance.id] = time.monotonic()
            self.save()

    def _try(self, instance: Any, verb: str, action: Any) -> bool:
        """Run an action on a host, and log its failure; returns whether it succeeded."""
        try:
            action()
        except Exception:
            _log.exception("failed to %s host %s", verb, instance.id)
            return False
        return True


def set_state(instance: Any, name: str) -> None:
    """Set the state that moto describes."""
    instance._state.name = name
    instance._state.code = STATE_CODES[name]
