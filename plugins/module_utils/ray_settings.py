"""Checks of the settings of Ray on a host, before anything is written: every problem is one line.

Messages name the variables of role ray_node, which are the options of the module with a prefix.
"""

from __future__ import annotations

import difflib
import ipaddress
import posixpath
import re

from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, ray_unit, ray_versions

LAST_PORT = 65535
SMALLEST_STORE = 75 * 1024 * 1024  # bytes; Ray refuses a smaller object store
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service\Z")
_LABEL = re.compile(r"[A-Za-z0-9_./-]+\Z")
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
            *([params["problem"]] if params["problem"] else []),
            *_check_names(params),
            *_check_ports(params),
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


def check_removal(params):
    """Check the options for a Ray that is stopped or removed; raises SettingsError."""
    _raise([*([params["problem"]] if params["problem"] else []), *_check_names(params)])


def _raise(problems):
    if problems:
        raise SettingsError("\n".join(problems))


def _check_names(params):
    """Check the name of the unit, and the paths."""
    if not _UNIT.match(params["unit"]):
        yield "ray_node_unit is {}; expected the name of a service, such as flambe-ray.service".format(params["unit"])
    for name in ("runtime", "root", "temp_dir"):
        if params[name] and not posixpath.isabs(params[name]):
            yield f"ray_node_{name} is {params[name]}; expected an absolute path, such as /opt/ray"


def _check_ports(params):
    """Check that all ports are numbers of ports; those of ``ports`` can also have wrong names."""
    for name, smallest in (("port", 0), ("dashboard_port", 1), ("client_port", 0)):
        yield from _check_port(f"ray_node_{name}", params[name], smallest)
    for name, port in params["ports"].items():
        if name in ray_unit.NODE_PORTS:
            yield from _check_port(f"{_NAMES_PORTS}.{name}", port)
        else:
            near = difflib.get_close_matches(name, ray_unit.NODE_PORTS, 1)
            expected = f"did you mean {near[0]}?" if near else "expected " + ", ".join(ray_unit.NODE_PORTS)
            yield f"{_NAMES_PORTS} has the unknown name {name}; {expected}"
    lacking = [name for name in ray_unit.NODE_PORTS if params["ports"] and name not in params["ports"]]
    if lacking:
        yield (
            f"{_NAMES_PORTS} has no {', '.join(lacking)}; expected all names, or use ray_node_min_worker_port and"
            " ray_node_max_worker_port for the ports of workers"
        )
    first, last = (_as_number(params["ports"].get(name)) for name in ("worker_min", "worker_max"))
    if _is_number(first) and _is_number(last) and first > last:
        expected = "expected ray_node_min_worker_port to be smaller"
        yield f"the range of Ray's workers, {first} to {last}, is empty; {expected}"


def _check_port(name, port, smallest=1):
    port = _as_number(port)
    if not _is_number(port) or int(port) != port or not smallest <= port <= LAST_PORT:
        also = "0 or " if smallest == 0 else ""
        yield f"{name} is {port}; expected {also}a port from 1 to {LAST_PORT}"


def _check_amounts(params):
    """Check the time limit, the memory and the resources."""
    if params["timeout"] <= 0:
        yield "ray_node_timeout is {:g}; expected seconds above 0, such as 300".format(params["timeout"])
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
        if not _LABEL.match(str(name)) or not _LABEL.match(str(value)):
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


def _as_number(value):
    """Return a text of digits, as ``-e name=value`` passes numbers, as a number; other values unchanged."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
