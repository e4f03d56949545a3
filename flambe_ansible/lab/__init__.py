"""EC2 on one Linux machine: moto's API in front, real hosts behind it.

``up`` and ``down`` need root; ``status`` and ``info`` do not. Only the daemon imports moto.
"""

from flambe_ansible.lab.client import LabHost, LabInfo, LabStatus
from flambe_ansible.lab.fault_client import add as add_fault
from flambe_ansible.lab.fault_client import clear as clear_faults
from flambe_ansible.lab.fault_client import list_all as list_faults
from flambe_ansible.lab.fault_kinds import KINDS as FAULT_KINDS
from flambe_ansible.lab.fault_kinds import Fault
from flambe_ansible.lab.lifecycle import DEFAULT, down, status, up
from flambe_ansible.lab.lifecycle import get_info as info
from flambe_ansible.lab.system import REQUIRED_PACKAGES

__all__ = [
    "DEFAULT", "FAULT_KINDS", "REQUIRED_PACKAGES", "Fault", "LabHost", "LabInfo", "LabStatus", "add_fault",
    "clear_faults", "down", "info", "list_faults", "status", "up",
]  # fmt: skip
