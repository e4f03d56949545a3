"""Ray on a host that is not to run: the unit is stopped, or everything that the module wrote is removed."""

from __future__ import annotations

import glob
import os

from ansible_collections.flambe.cluster.plugins.module_utils import ray_service
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import ProtectedError, has_ended


def stop(systemd, params):
    """Stop the unit and disable its start at boot; raises ProtectedError if it runs and must not be restarted."""
    state = systemd.show_settled()
    runs, enabled = not has_ended(state), state.get("UnitFileState") == "enabled"
    if runs and not params["restart"]:
        raise ProtectedError(systemd.unit, "ray_node_state is {}".format(params["state"]), verb="stopped")
    if runs:
        systemd.note("stop Ray")
    if enabled:
        systemd.note(f"disable {systemd.unit}")
    if systemd.dry:
        return
    if runs:
        systemd.call("stop", systemd.unit)
        systemd.call("reset-failed", systemd.unit, check=False)  # of a Ray that ended with an error
    if enabled:
        systemd.call("disable", "--quiet", systemd.unit)


def remove(systemd, params):
    """Stop Ray and remove its unit, commands and rules of the firewall; environment, token and results are kept."""
    root = params["root"].rstrip("/")
    firewall = os.path.join(root, "bin/ray-firewall")
    stop(systemd, params)
    systemd.remove()
    if os.path.exists(firewall) and not systemd.dry:
        ray_service.call_firewall(firewall, "stop")
    sites = os.path.join(glob.escape(params["runtime"].rstrip("/")), "lib/python3.*/site-packages")
    written = [
        firewall,
        os.path.join(root, "bin/ray-nodes"),
        os.path.join(root, "bin", ray_service.SCRIPT),
        ray_service.TMPFILES,
        *(glob.glob(os.path.join(sites, ray_service.NODE_ADDRESS + ".p*"))),
    ]
    for path in filter(os.path.exists, written):
        systemd.note(f"remove {path}")
        if not systemd.dry:
            os.unlink(path)
