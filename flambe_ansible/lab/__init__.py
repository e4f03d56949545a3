"""EC2 on one Linux machine: moto's API in front, real hosts behind it.

``up`` and ``down`` need root; ``status`` and ``info`` do not. Only the daemon imports moto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambe_ansible import lazy

if TYPE_CHECKING:
    from flambe_ansible.lab.client import DEFAULT, LabHost, LabInfo, LabStatus, status
    from flambe_ansible.lab.client import get_info as info
    from flambe_ansible.lab.fault_client import add as add_fault
    from flambe_ansible.lab.fault_client import clear as clear_faults
    from flambe_ansible.lab.fault_client import list_all as list_faults
    from flambe_ansible.lab.fault_kinds import KINDS as FAULT_KINDS
    from flambe_ansible.lab.fault_kinds import Fault
    from flambe_ansible.lab.lifecycle import down, up
    from flambe_ansible.lab.system import REQUIRED_PACKAGES

__all__ = [
    "DEFAULT", "FAULT_KINDS", "REQUIRED_PACKAGES", "Fault", "LabHost", "LabInfo", "LabStatus", "add_fault",
    "clear_faults", "down", "info", "list_faults", "status", "up",
]  # fmt: skip

__getattr__ = lazy.attach(
    __name__,
    {
        "LabHost": "client",
        "LabInfo": "client",
        "LabStatus": "client",
        "add_fault": "fault_client:add",
        "clear_faults": "fault_client:clear",
        "list_faults": "fault_client:list_all",
        "FAULT_KINDS": "fault_kinds:KINDS",
        "Fault": "fault_kinds",
        "DEFAULT": "client",
        "down": "lifecycle",
        "status": "client",
        "up": "lifecycle",
        "info": "client:get_info",
        "REQUIRED_PACKAGES": "system",
    },
)
