"""Print the nodes of a Ray cluster as one JSON document.

    {"ray_version": "0.7.6", "python_version": "3.7.9",
     "nodes": [{"address": "10.0.0.4", "alive": true, "resources": {"CPU": 2.0}}]}

The exit code is 0, or 1 with {"error": "..."}. Runs on the runtime's Python (3.7 and later) on any host of the cluster.
With --expect it waits until nodes are alive, and prints all. With --wait it waits until workers can join the head, and
prints nothing. With --check-ports it connects to the ports of all live nodes, and prints nothing.

With --dashboard (Ray 2 with its dashboard) Ray is not imported: the head's dashboard lists all nodes. It listens on
loopback only, so other hosts ask the agent of their own node, and print that node alone.
"""

import argparse
import json
import os
import platform
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings

warnings.simplefilter("ignore")

MAX_NODES = 10000  # the largest limit that Ray accepts
CONNECT_SECONDS = 3  # for a connection from the head to another host
PAUSE_SECONDS = 0.25  # between two queries with --expect


def main():
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description="Print the nodes of the Ray cluster as one JSON document.")
    parser.add_argument("--address", required=True, help="HOST:PORT of the head")
    parser.add_argument("--timeout", type=float, default=15.0, help="time limit in seconds")
    parser.add_argument("--expect", default="", help="wait until the nodes of these addresses are alive")
    parser.add_argument("--within", type=float, default=0.0, help="seconds for --expect; then print what there is")
    parser.add_argument("--wait", action="store_true", help="wait until workers can join the head; print nothing")
    parser.add_argument("--dashboard", default="", help="URL of the dashboard on the head, or of the agent elsewhere")
    parser.add_argument("--node", default="", help="this host's address, if --dashboard is the agent of its node")
    parser.add_argument("--ray-version", default="", help="the version of Ray, if --dashboard is an agent")
    parser.add_argument("--token", default="", help="the file of the cluster's token")
    parser.add_argument("--head", action="store_true", help="this host is the head: --wait only checks the token")
    parser.add_argument("--ports", default="", help="ports of every node that the head must reach, on the head")
    parser.add_argument("--check-ports", action="store_true", help="exit with 1 if a live node has one closed")
    options = parser.parse_args()
    # Ray prints to stdout, which must hold only the document.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threading.Thread(target=give_up, args=(answer, options), daemon=True).start()
    if options.wait:
        check_token(options.token)
        if not options.head:
            wait_for_head(options.address, options.timeout, imports_ray=not options.dashboard)
        finish(0)
    if options.check_ports:
        finish(1 if has_closed_port(options) else 0)
    try:
        document = await_nodes(options)
    except Exception as error:
        finish(1, answer, {"error": str(error) or type(error).__name__})
    finish(0, answer, {"python_version": platform.python_version(), **document})


def give_up(answer, options):
    """End the process after its time limit: Ray's client can block forever."""
    time.sleep(options.within + options.timeout)
    finish(1, answer, {"error": f"no answer from Ray at {options.address} within {options.timeout:g} s"})


def finish(code, answer=None, document=None):
    """Print a document, and end at once, without Ray's threads and exit handlers."""
    if answer:
        answer.write(json.dumps(document) + "\n")
        answer.flush()
    sys.stderr.flush()
    os._exit(code)


def await_nodes(options):
    """Ask for Ray's nodes until those of ``--expect`` are alive, or the time is over; return the last answer.

    One process asks again and again: a new one for each query takes the processor from Ray while it starts.
    """
    expected = set(filter(None, options.expect.split(",")))
    end = time.monotonic() + options.within
    while True:
        late = time.monotonic() >= end
        try:
            document = ask_dashboard(options) if options.dashboard else read_nodes(options.address, options.timeout)
            if late or expected <= {node["address"] for node in document["nodes"] if node["alive"]}:
                return document
        except Exception:
            if late:
                raise
        time.sleep(PAUSE_SECONDS)


def read_nodes(address, timeout):
    """Return Ray's version and its nodes, one entry per address."""
    knock(address, timeout)
    import ray

    if is_old(ray):
        nodes = read_redis(ray, address)
    else:
        ray.init(address=address, log_to_driver=False, configure_logging=False, ignore_reinit_error=True)
        nodes = ray.nodes()
    return {"ray_version": ray.__version__, "nodes": merge(nodes)}


def check_token(path):
    """End the process unless the file of the token exists and only its owner can read it."""
    if not path:
        return
    try:
        mode = os.stat(path).st_mode
        with open(path, encoding="utf-8") as file:
            problem = "" if file.read().strip() else f"{path} is empty"
    except OSError as error:
        problem = f"{path}: {error.strerror}"
    else:
        problem = problem or (f"other users can read {path}" if mode & 0o077 else "")
    if problem:
        print(f"Ray does not start without the token of the cluster: {problem}", file=sys.stderr, flush=True)
        print("launch the cluster again to write it", file=sys.stderr, flush=True)
        os._exit(1)


def ask_dashboard(options):
    """Return Ray's version and its nodes from the HTTP API of Ray 2."""
    if options.node:
        text = get(options, "/api/local_raylet_healthz")
        alive = text.strip() == "success"
        return {
            "ray_version": options.ray_version,
            "nodes": [{"address": options.node, "alive": alive, "resources": {}}],
        }
    found = json.loads(get(options, f"/api/v0/nodes?limit={MAX_NODES}"))
    nodes = [
        {
            "Alive": node["state"] == "ALIVE",
            "NodeManagerAddress": node["node_ip"],
            "Resources": node.get("resources_total") or {},
        }
        for node in found["data"]["result"]["result"]
    ]
    return {"ray_version": json.loads(get(options, "/api/version"))["ray_version"], "nodes": merge(nodes)}


def has_closed_port(options):
    """Return whether this host cannot connect to a live node; False if Ray does not answer, or without ports."""
    try:
        nodes = ask_dashboard(options)["nodes"] if options.ports else []
    except (OSError, ValueError):
        return False
    try:
        for address in (node["address"] for node in nodes if node["alive"]):
            for port in options.ports.split(","):
                socket.create_connection((address, int(port)), CONNECT_SECONDS).close()
    except OSError:
        return True
    return False


def get(options, path):
    """Get a path of the dashboard, with the token of the cluster; raises ConnectionError in plain words."""
    headers = {}
    if options.token:
        try:
            with open(options.token, encoding="utf-8") as file:
                headers["Authorization"] = "Bearer " + file.read().strip()
        except OSError as error:
            raise ConnectionError(
                f"the token {options.token} cannot be read ({error.strerror}); launch the cluster again to write it"
            ) from None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(options.dashboard + path, headers=headers)  # noqa: S310 - always http
    try:
        with opener.open(request, timeout=options.timeout) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise ConnectionError(f"Ray at {options.dashboard} refuses the token in {options.token}") from None
        raise ConnectionError(
            f"Ray at {options.dashboard} answers {error.code}: {error.read().decode()[:200]}"
        ) from None
    except urllib.error.URLError as error:
        raise ConnectionError(f"nothing answers at {options.dashboard}: {error.reason}") from None


def knock(address, timeout):
    """Connect to the head, to detect a dead one early; takes at most a fifth of the time limit, and 3 to 30 s."""
    host, _colon, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), min(max(timeout / 5, 3.0), 30.0)).close()
    except OSError as error:
        raise ConnectionError(f"nothing listens at {address}: {error.strerror or error}") from None


def is_old(ray):
    """Return whether this Ray is below 1.0, with the cluster state in Redis."""
    return ray.__version__.startswith("0.")


def read_redis(ray, address):
    """Read the client table of Ray 0.7 without starting a driver."""
    import ray.services
    import ray.state

    # Ray 0.8 and later protect Redis with a default password.
    password = getattr(getattr(ray, "ray_constants", None), "REDIS_DEFAULT_PASSWORD", None)
    client = ray.services.create_redis_client(address, password)
    return ray.state._parse_client_table(client)


def merge(nodes):
    """Merge the entries of each address; it is alive if any entry is."""
    found = {}
    for node in nodes:
        alive = bool(node.get("Alive", node.get("alive", node.get("IsInsertion"))))
        address = node.get("NodeManagerAddress", "")
        if alive or address not in found:
            resources = node.get("Resources", {}) if alive else {}
            found[address] = {"address": address, "alive": alive, "resources": resources}
    return [found[address] for address in sorted(found)]


def wait_for_head(address, timeout, imports_ray):
    """Wait until workers can join the head; Ray 0.7 opens its port before its own node is registered."""
    printed = ""
    while True:
        try:
            knock(address, timeout)
            if not imports_ray:
                return
            import ray

            if not is_old(ray) or any(node["alive"] for node in merge(read_redis(ray, address))):
                return
        except Exception as error:
            if str(error) != printed:
                printed = str(error)
                print(f"waiting for Ray's head: {printed}", file=sys.stderr, flush=True)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
