"""Checks of the settings of Ray on a host against each other and against Ray's rules: every problem is one line.

Messages name the variables of role ray_node, which are the options of the module with a prefix. Types, paths, units and
numbers of ports are checked for all roles before the module runs.
"""

from __future__ import annotations

import difflib
import ipaddress
import re

from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, ray_unit, ray_versions

SMALLEST_STORE = 75 * 1024 * 1024  # bytes; Ray refuses a smaller object store
_LABEL = re.compile(r"[A-Za-z0-9_./-]*\Z")
_NAMES_PORTS = "ray_node_ports"
# The options of ``ray start`` that the role sets, and the variable for each; "" if there is none.
_OWN_OPTIONS = {
    "--head": "ray_node_head",
    **dict.fromkeys(("--address", "--redis-address"), "ray_node_head and ray_node_head_address"),
    **dict.fromkeys(("--port", "--redis-port", "--redis-shard-ports"), "ray_node_port"),
    "--node-ip-address": "ray_node_address",
    **dict.fromkeys(("--num-cpus", "--num-gpus", "--memory", "--resources"), "ray_node_resources"),
    **dict.fromkeys(("--labels", "--labels-file"), "ray_node_labels"),
    "--object-store-memory": "ray_node_object_store_memory",
    "--temp-dir": "ray_node_temp_dir",
    **dict.fromkeys(("--dashboard-host", "--include-dashboard", "--block", "--disable-usage-stats"), ""),
    "--dashboard-port": "ray_node_dashboard_port",
    "--ray-client-server-port": "ray_node_client_port",
    **dict.fromkeys(ray_unit.NODE_PORTS.values(), _NAMES_PORTS),
    "--min-worker-port": "ray_node_min_worker_port",
    "--max-worker-port": "ray_node_max_worker_port",
    "--worker-port-list": "ray_node_min_worker_port and ray_node_max_worker_port",
}


class SettingsError(Exception):
    """Settings that cannot be used; one line for each."""


def check(params):
    """Check the options of the module; raises SettingsError."""
    _raise(
        [
            *_check_head(params),
            *_check_ports(params["ports"]),
            *_check_amounts(params),
            *_check_labels(params["labels"]),
            *_check_networks(params),
            *_check_options(params["options"]),
        ]
    )


def check_collisions(version, params):
    """Check that no two parts of Ray on this host use the same port; raises SettingsError."""
    if ray_versions.is_old(version):
        return
    ports = dict(params["ports"])
    first, last = int(ports.pop("worker_min", 0)), int(ports.pop("worker_max", 0))
    named = {f"{_NAMES_PORTS}.{name}": int(port) for name, port in ports.items()}
    if params["head"]:
        named["ray_node_port"] = ray_versions.choose_port(version, params["port"])
        named.update({f"ray_node_{name}": params[name] for name in ("dashboard_port", "client_port") if params[name]})
    seen, problems = {}, []
    for name, port in named.items():
        if first <= port <= last:
            problems.append(
                f"{name} is {port}, which is in the range of Ray's workers, {first} to {last}: choose another port, or"
                " move the range with ray_node_min_worker_port and ray_node_max_worker_port"
            )
        if port in seen:
            problems.append(f"{name} and {seen[port]} are both {port}: choose different ports")
        seen[port] = name
    _raise(problems)


def _raise(problems):
    if problems:
        raise SettingsError("\n".join(problems))


def _check_head(params):
    if not params["head"] and params["head_state"] != "present":
        yield "ray_node_state is {} on the head: no host can join it".format(params["head_state"])


def _check_ports(ports):
    """Check the names of the ports, and the range of the workers."""
    for name in ports:
        if name not in ray_unit.NODE_PORTS:
            near = difflib.get_close_matches(name, ray_unit.NODE_PORTS, 1)
            expected = f"did you mean {near[0]}?" if near else "expected " + ", ".join(ray_unit.NODE_PORTS)
            yield f"{_NAMES_PORTS} has the unknown name {name}; {expected}"
    lacking = [name for name in ray_unit.NODE_PORTS if ports and name not in ports]
    if lacking:
        yield (
            f"{_NAMES_PORTS} has no {', '.join(lacking)}; expected all names, or use ray_node_min_worker_port and"
            " ray_node_max_worker_port for the ports of workers"
        )
    first, last = (int(ports.get(name, 0)) for name in ("worker_min", "worker_max"))
    if first > last and not lacking:
        expected = "expected ray_node_min_worker_port to be smaller"
        yield f"the range of Ray's workers, {first} to {last}, is empty; {expected}"


def _check_amounts(params):
    """Check the memory and the resources."""
    if params["head_cpus"] < 0:
        yield "ray_node_head_cpus is {}; expected 0 or more".format(params["head_cpus"])
    if params["object_store_memory"] and params["object_store_memory"] < SMALLEST_STORE:
        size = params["object_store_memory"]
        yield f"ray_node_object_store_memory is {size} bytes; expected 0 or at least {SMALLEST_STORE}"
    for name, amount in params["resources"].items():
        if not _is_number(amount) or amount < 0:
            yield f"ray_node_resources.{name} is {amount!r}; expected a number, such as 1"


def _check_labels(labels):
    """Check names and values of labels, which are joined by commas."""
    for name, value in labels.items():
        if not name or not _LABEL.match(str(name)) or not _LABEL.match(str(value)):
            yield f"ray_node_labels has {name}: {value}; expected letters, digits and the characters _ . / -"


def _check_networks(params):
    """Check the address of this host, and the allowed addresses and networks; names are resolved later."""
    if params["address"] and not cluster_ssh.is_address(params["address"]):
        yield "ray_node_address is {}; expected an IP address, such as 10.0.0.4".format(params["address"])
    for one in params["allow"]:
        if cluster_ssh.is_address(one.partition("/")[0]):
            try:
                ipaddress.ip_network(one, strict=False)
            except ValueError:
                yield f"ray_node_allow has {one}; expected an address or a network, such as 10.1.0.0/16"


def _check_options(words):
    """Check that further options do not contradict those that the role sets."""
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if option in _OWN_OPTIONS:
            variable = _OWN_OPTIONS[option]
            remedy = f"use {variable}" if variable else "remove it"
            yield f"ray_node_options has {option}, which the role sets: {remedy}"


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
