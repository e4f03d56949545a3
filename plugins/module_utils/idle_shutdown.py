"""The timer that powers an idle host off: its program, its settings and its units."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, service_text
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd

SERVICE, TIMER = "flambe-idle-shutdown.service", "flambe-idle-shutdown.timer"
GUARD = "flambe-launch-guard.timer"  # ends new hosts that no launch configures; ec2/guard.py writes it
FOLDER = "/var/lib/flambe-idle-shutdown"  # of the state
_WRITER = "flambe.cluster.idle_shutdown"
# Not limited: capabilities and devices, since nvidia-smi may have to create its devices.
_HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "full",
    "ProtectHome": "read-only",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "TimeoutStartSec": 300,
    "UMask": "0022",
}


class IdleShutdown:
    """The idle shutdown of this host, as a module's parameters describe it."""

    def __init__(self, params, account, dry):
        self.params = params
        self.account = account
        self.dry = dry
        self.service = Systemd(SERVICE, dry)
        self.timer = Systemd(TIMER, dry)
        self.guard = Systemd(GUARD, dry)

    @property
    def program(self):
        """The path of the program."""
        return os.path.join(self.params["root"], "bin/idle-shutdown")

    @property
    def actions(self):
        """What was done, or would be."""
        return [*self.service.actions, *self.timer.actions, *self.guard.actions]

    @property
    def summary(self):
        """What was done, in one short sentence."""
        done = [one.summary() for one in (self.service, self.timer, self.guard) if one.actions]
        return "; ".join(done) or "nothing to do"

    @property
    def diff(self):
        """The diffs of the units that change."""
        return [one.diff for one in (self.service, self.timer) if one.diff]

    def converge(self):
        """Bring files, units and timer to their state."""
        if self.params["state"] == "absent":
            self.timer.remove()
            self.service.remove()
            self.remove_folders()
        else:
            self.install()
        self.guard.remove()

    def install(self):
        """Write the program, its settings and the units, and start the timer."""
        root, service, timer = self.params["root"], self.service, self.timer
        settings = {
            **self.params["settings"],
            "user": self.account.pw_name,
            "folder": FOLDER,
            "interval": self.params["interval"],
            "program": self.program,
        }
        python = self.params["python"] or accounts.interpreter()
        words = [python, "-I", "-S", f"{root}/lib/flambe_idle_shutdown", "--settings", f"{root}/settings.json"]
        command = f'exec {shlex.join(words)} "$@"'
        script = f"#!/bin/sh\n# Show or postpone the end of this host; see --help.\n{command}\n"
        wanted = {
            "settings.json": (files.as_json(settings), 0o644),
            "bin/idle-shutdown": (script, 0o755),
        }
        for name, text in self.params["files"].items():
            wanted[f"lib/flambe_idle_shutdown/{name}"] = (text, 0o644)
        for name, (text, mode) in sorted(wanted.items()):
            path = os.path.join(root, name)
            files.ensure_folder(os.path.dirname(path), 0o755, dry=self.dry)
            service.write(path, text, mode)
        service.put(service_text.unit_text(_WRITER, self.describe_service(words), "root", "/", {}), enabled=False)
        outdated = timer.put(timer_text(self.params["interval"]), enabled=True)
        if outdated or timer.show().get("ActiveState") != "active":
            timer.note(f"start {TIMER}")
            if not self.dry:
                timer.restart()

    def describe_service(self, words):
        """Describe the service of one check."""
        options = {**_HARDENING, "StateDirectory": os.path.basename(FOLDER), "SyslogIdentifier": "flambe-idle-shutdown"}
        description = "Check whether this host is idle, and power it off after some time"
        return {
            "description": description,
            "command": [*words, "check"],
            "type": "oneshot",
            "options": {**options, "StandardOutput": "null", "StandardError": "journal"},
            "enabled": False,
        }

    def remove_folders(self):
        """Remove the program, its settings and the state; the root only if nothing else is in it."""
        root = self.params["root"]
        written = [
            os.path.join(root, name) for name in ("lib/flambe_idle_shutdown", "bin/idle-shutdown", "settings.json")
        ]
        for path in filter(os.path.exists, (*written, FOLDER)):
            self.service.note(f"remove {path}")
            if not self.dry:
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        for path in (f"{root}/lib", f"{root}/bin", root):
            with contextlib.suppress(OSError):
                self.dry or os.rmdir(path)


def timer_text(interval):
    """Write the unit of the timer; ``interval``: seconds between two checks."""
    lines = [
        f"# Written by {_WRITER}; edits are lost.",
        "[Unit]",
        "Description=Check regularly whether this host is idle",
        "",
        "[Timer]",
        f"OnBootSec={interval:g}",
        f"OnUnitActiveSec={interval:g}",
        "AccuracySec=1",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join(lines) + "\n"
