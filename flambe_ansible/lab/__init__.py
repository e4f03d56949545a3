"""EC2 on one Linux machine: moto's API in front, real hosts behind it.

``up`` and ``down`` need root; ``status`` and ``info`` do not. Only the daemon imports moto.
"""

from flambe_ansible.lab.client import LabHost, LabInfo, LabStatus
from flambe_ansible.lab.lifecycle import DEFAULT, down, status, up
from flambe_ansible.lab.lifecycle import get_info as info
from flambe_ansible.lab.system import REQUIRED_PACKAGES

__all__ = ["DEFAULT", "REQUIRED_PACKAGES", "LabHost", "LabInfo", "LabStatus", "down", "info", "status", "up"]
