"""Make Ray below 1.0 use a host's address in the cluster, also on hosts with several networks.

Below 1.0 Ray's workers use the source address of the route to the internet. If it differs from the address of the
node, for example on a host with a public and a private network, Tune treats each trial as one on a lost node. The
route to the cluster's head has the right source address. A .pth file next to this module calls ``towards``.
"""

import sys
from importlib.machinery import PathFinder

_MODULE = "ray.services"


def towards(address):
    """Make ``HOST:PORT`` the default argument of ``ray.services.get_node_ip_address``."""

    class Finder(PathFinder):
        """Find the module, and change the default argument after it is loaded."""

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
