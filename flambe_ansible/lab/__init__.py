"""EC2 on one Linux machine: moto's API in front, real hosts behind it.

``up`` and ``down`` need root; ``status`` and ``info`` do not. Nothing here imports moto: the daemon does.
"""

from .client import LabHost, LabInfo, LabStatus
from .lifecycle import DEFAULT, down, status, up
from .lifecycle import get_info as info
from .system import REQUIRED_PACKAGES

__all__ = ["DEFAULT", "REQUIRED_PACKAGES", "LabHost", "LabInfo", "LabStatus", "down", "info", "status", "up"]
