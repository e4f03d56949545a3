"""The systemd unit and the commands of Ray on a host, as text: pure functions."""

from __future__ import annotations

import json
import posixpath
import re
import shlex

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import ray_versions, service_text

START_TIMEOUT = 330  # seconds for the start of a worker in all
HEAD_TIMEOUT = 300  # seconds of that for waiting for the head
TEMP_DIR = "/tmp/ray"  # noqa: S108 - Ray's own default
RESTART_SECONDS = 3  # between the end of Ray and its restart
# The fixed ports of every node; the keys are those of the option ``ports``.
NODE_PORTS = {
    "node_manager": "--node-manager-port",
    "object_manager": "--object-manager-port",
    "runtime_env_agent": "--runtime-env-agent-port",
    "agent_grpc": "--dashboard-agent-grpc-port",
    "agent_http": "--dashboard-agent-listen-port",
    "metrics": "--metrics-export-port",
    "worker_min": "--min-worker-port",
    "worker_max": "--max-worker-port",
}
# Exits with 1 if the folder of the Ray that runs here, with its sockets and logs, was removed. Its node stays alive
# without it, and no worker can start. Ray makes the folders before it starts; the sockets follow.
_CHECK_SESSION = r"""if [ "$*" = --check-session ]; then
  grep -lzsF {runtime} /proc/[0-9]*/cmdline | xargs -r grep -hzos '^--raylet_socket_name=.*' | tr '\0' '\n' |
    while IFS='=' read -r _ socket; do
      if ! [ -d "${{socket%/*}}" ] || ! [ -d "${{socket%/*/*}}/logs" ]; then exit 1; fi
    done
  exit
fi"""
# Resources with their own option; ``ray start --resources`` refuses them.
_RESOURCES = {"CPU": "--num-cpus", "GPU": "--num-gpus", "memory": "--memory"}


def start_options(version, head, address, head_address, settings):
    """Write the options of ``ray start`` for this version of Ray; below 1.0 the address and port are those of Redis.

    ``settings`` are the module's parameters: ``port``, ``dashboard_port``, ``client_port``, ``ports``, ``head_cpus``,
    ``resources``, ``labels``, ``object_store_memory``, ``temp_dir``, ``options``.
    """
    redis = "redis-" if ray_versions.is_old(version) else ""
    port, ports = ray_versions.choose_port(version, settings["port"]), settings["ports"]
    options = ["--head", f"--{redis}port={port}"] if head else [f"--{redis}address={head_address}:{port}"]
    options += _resource_options(version, head, settings)
    if head and not redis:
        options += [
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={settings['dashboard_port']}",
        ]
        options += [f"--ray-client-server-port={settings['client_port']}"] if settings["client_port"] else []
    if redis:
        options += _old_port_options(head, port)
    else:
        options += ["--disable-usage-stats"]
        options += [f"{option}={ports[name]}" for name, option in NODE_PORTS.items() if name in ports]
    if settings["object_store_memory"]:
        options.append(f"--object-store-memory={settings['object_store_memory']}")
    if settings["temp_dir"]:
        options.append(f"--temp-dir={settings['temp_dir']}")
    known = [one for one in options if ray_versions.has_option(version, one.partition("=")[0])]
    return [*known, f"--node-ip-address={address}", *settings["options"], "--block"]


def clean_up(version, settings):
    """List the commands that make Ray's temporary folder usable after a Ray of another user on this host.

    Ray writes the address of its latest cluster to ``ray_current_cluster`` and fails if it cannot overwrite another
    user's. All users may write to the folder.
    """
    if ray_versions.is_old(version):
        return []
    return [["-/bin/rm", "-f", posixpath.join(settings["temp_dir"] or TEMP_DIR, "ray_current_cluster")]]


def _old_port_options(head, port):
    """Write the options that fix the ports of Ray below 1.0, for the firewall."""
    own = {name: port + number for name, number in ray_versions.OLD_PORTS.items()}
    options = [f"--redis-shard-ports={own['shard']}"] if head else []
    return [*options, f"--node-manager-port={own['node_manager']}", f"--object-manager-port={own['object_manager']}"]


def list_ports(version, head, settings):
    """List the ports that Ray opens to the network, as numbers and ranges ``first-last``."""
    port = ray_versions.choose_port(version, settings["port"])
    if ray_versions.is_old(version):
        return [port, *(port + number for number in ray_versions.OLD_PORTS.values())]
    named = dict(settings["ports"])
    first, last = named.pop("worker_min", None), named.pop("worker_max", None)
    ports = [port, settings["client_port"], settings["dashboard_port"], *ray_versions.METRICS_PORTS] if head else []
    workers = [f"{first}-{last}"] if first and last else []
    inside = range(int(first), int(last) + 1) if workers else ()
    return sorted({int(one) for one in (*ports, *named.values()) if int(one) not in inside}) + workers


def add_gpus(resources, number, before):
    """Add the GPUs that nvidia-smi lists to the resources of a host.

    If it gives no number, the number in the present unit's text is kept; without one Ray detects them by itself.
    """
    if number is None:
        present = re.search(r"--num-gpus=(\d+)", before or "")
        number = int(present.group(1)) if present else 0
    return {**({"GPU": number} if number else {}), **resources}


def _resource_options(version, head, settings):
    """Write the options for resources and labels; a head has ``head_cpus`` CPUs."""
    resources = {**({"CPU": settings["head_cpus"]} if head else {}), **settings["resources"]}
    options = [f"{option}={resources[name]}" for name, option in _RESOURCES.items() if name in resources]
    custom = {name: amount for name, amount in resources.items() if name not in _RESOURCES}
    if custom:
        options.append(f"--resources={json.dumps(custom, sort_keys=True)}")
    if settings["labels"]:
        if ray_versions.parse(version) < ray_versions.LABELS:
            raise ValueError("labels need Ray {}.{} or later, not {}".format(*ray_versions.LABELS, version))
        options.append("--labels=" + ",".join(f"{name}={value}" for name, value in sorted(settings["labels"].items())))
    return options


def unit_text(
    description, user, home, runtime, command, start_pre, depends, stop_post=(), variables=None, restart=False
):
    """Write the unit that runs the words of ``command`` after the commands ``start_pre``.

    ``variables`` are set for Ray, whatever /etc/environment contains. ``depends``: see ``service_text``.
    """
    again = {"Restart": "always", "RestartSec": RESTART_SECONDS} if restart else {"Restart": "no"}
    words = [f"{name}={value}" for name, value in sorted((variables or {}).items())]
    spec = {
        "description": description,
        "type": "simple",
        # Workers must find the runtime's python3 first. Variables in /etc/environment would override Environment=.
        "command": ["/usr/bin/env", f"PATH={runtime}/bin:{accounts.SYSTEM_PATH}", *words, *command],
        "start_pre": start_pre,
        "stop_post": list(stop_post),
        "environment": {
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
            "LC_ALL": "C.UTF-8",
            "LANG": "C.UTF-8",
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        "options": {
            **again,
            "KillMode": "control-group",
            # By default systemd stops all of Ray if the kernel kills one of its processes for lack of memory.
            "OOMPolicy": "continue",
            "TimeoutStopSec": 15,
            "LimitNOFILE": 65536,
            **({"TimeoutStartSec": START_TIMEOUT} if start_pre else {}),
        },
    }
    return service_text.unit_text("flambe.cluster.ray_node", spec, user, home, depends)


def read_depends(text, name):
    """Read a value of ``depends`` from a unit's text; "" if it is not there."""
    match = re.search(rf"^# {re.escape(name)}: (.*)$", text or "", re.M)
    return match.group(1) if match else ""


def wrapper_text(runtime, script, address, options=(), variables=None):
    """Write the command ray-nodes: it runs the script on the runtime's Python with the address of the head.

    A host that has no ports to check starts no Python for ``--check-ports``, and no host does for ``--check-session``.
    """
    words = [f"{name}={value}" for name, value in sorted((variables or {}).items())]
    command = shlex.join([*words, runtime + "/bin/python", script, "--address", address, *options])
    clean = " ".join(f"-u {name}" for name in accounts.FOREIGN_PYTHON)
    lines = ["#!/bin/sh", "# Print the nodes of the Ray cluster as one JSON document."]
    if "--ports" not in options:
        lines.append('if [ "$*" = --check-ports ]; then exit 0; fi')
    lines.append(_CHECK_SESSION.format(runtime=shlex.quote(runtime + "/")))
    return "\n".join([*lines, f'exec env {clean} {command} "$@"', ""])
