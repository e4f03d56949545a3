"""Ask Ray which nodes it knows, and print the answer as one JSON document.

    {"ray_version": "0.7.6", "nodes": [{"address": "10.0.0.4", "alive": true, "resources": {"CPU": 2.0}}]}

Exits 0 with that, or 1 with {"error": "..."}. Runs on the runtime's own Python (3.7 and later) on any host of the
cluster. With --wait it only waits until the head is ready to be joined, and prints nothing.
"""

import argparse
import json
import os
import socket
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore")


def main():
    """Parse the options and do what they ask."""
    parser = argparse.ArgumentParser(description="Ask Ray which nodes are alive; prints one JSON document.")
    parser.add_argument("--address", required=True, help="HOST:PORT of the head")
    parser.add_argument("--timeout", type=float, default=15.0, help="seconds until the answer is given up")
    parser.add_argument("--wait", action="store_true", help="wait until the head can be joined, print nothing")
    options = parser.parse_args()
    # Ray prints on stdout where it likes: our document keeps that stream for itself.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threading.Thread(target=give_up, args=(answer, options.timeout, options.address), daemon=True).start()
    if options.wait:
        wait_for_head(options.address)
        finish(0)
    try:
        document = ask(options.address)
    except Exception as error:
        fail(answer, str(error) or type(error).__name__)
    answer.write(json.dumps(document) + "\n")
    answer.flush()
    finish(0)


def give_up(answer, seconds, address):
    """End the process after so many seconds: Ray's client can block for ever."""
    time.sleep(seconds)
    fail(answer, f"no answer from Ray at {address} within {seconds:g} s")


def finish(code):
    """End at once: Ray's threads and exit handlers are of no use here."""
    sys.stderr.flush()
    os._exit(code)


def fail(answer, reason):
    """Print an error as JSON and end."""
    answer.write(json.dumps({"error": reason}) + "\n")
    answer.flush()
    finish(1)


def ask(address):
    """Ask Ray at this address for its version and nodes, one entry an address."""
    knock(address)
    import ray

    nodes = ask_redis(ray, address) if is_old(ray) else ask_driver(ray, address)
    return {"ray_version": ray.__version__, "nodes": merge(nodes)}


def knock(address, timeout=3.0):
    """Open a connection to the head, so that a dead one is told apart at once."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout).close()
    except OSError as error:
        raise ConnectionError(f"nothing answers at {address}: {error.strerror or error}") from None


def is_old(ray):
    """Tell Ray before 1.0, whose cluster state is in Redis."""
    return ray.__version__.startswith("0.")


def ask_redis(ray, address):
    """Read the client table of Ray 0.7, without becoming a driver."""
    import ray.services
    import ray.state

    # Ray 0.8 and later protect Redis with a default password.
    password = getattr(getattr(ray, "ray_constants", None), "REDIS_DEFAULT_PASSWORD", None)
    client = ray.services.create_redis_client(address, password)
    return ray.state._parse_client_table(client)


def ask_driver(ray, address):
    """Ask through a driver, the public way since Ray 1.0."""
    ray.init(address=address, log_to_driver=False, configure_logging=False)
    return ray.nodes()


def merge(nodes):
    """Make one entry of all that an address was in its life: alive if any is."""
    found = {}
    for node in nodes:
        alive = bool(node.get("Alive", node.get("alive", node.get("IsInsertion"))))
        address = node.get("NodeManagerAddress", "")
        if alive or address not in found:
            resources = node.get("Resources", {}) if alive else {}
            found[address] = {"address": address, "alive": alive, "resources": resources}
    return [found[address] for address in sorted(found)]


def wait_for_head(address):
    """Wait until the head can be joined; Ray 0.7 opens its port before its own node is known."""
    said = ""
    while True:
        try:
            knock(address)
            import ray

            if not is_old(ray) or any(node["alive"] for node in merge(ask_redis(ray, address))):
                return
        except Exception as error:
            if str(error) != said:
                said = str(error)
                sys.stderr.write(f"waiting for Ray's head: {said}\n")
                sys.stderr.flush()
        time.sleep(0.5)


if __name__ == "__main__":
    main()
