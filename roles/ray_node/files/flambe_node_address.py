"""Have old Ray take a host by its address in the cluster, also where the host has another network.

Before 1.0 Ray's workers ask for the address that the host sends from towards the internet. Where this is not the
address that the node has, as on a host with a public and a private network, Tune takes every trial for one whose node
was lost. The way to the cluster's head has the right address. A .pth file beside this one calls ``towards``.
"""

import sys
from importlib.machinery import PathFinder

_MODULE = "ray.services"


def towards(address):
    """Have ``ray.services.get_node_ip_address`` ask for the way to ``HOST:PORT`` where nothing else is asked for."""

    class Finder(PathFinder):
        """Finds the one module, and changes a default of one function in it once it is loaded."""

        @classmethod
        def find_spec(cls, fullname, path=None, target=None):
            if fullname != _MODULE:
                return None
            sys.meta_path.remove(cls)
            spec = PathFinder.find_spec(fullname, path, target)
            load = getattr(spec and spec.loader, "exec_module", None)
            if load:

                def exec_module(module):
                    load(module)
                    if hasattr(module, "get_node_ip_address"):
                        module.get_node_ip_address.__defaults__ = (address,)

                spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder)
