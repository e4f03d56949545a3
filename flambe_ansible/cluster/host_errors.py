"""flambé's names for the errors of hosts: ``from flambe.cluster.instance import errors``."""

from __future__ import annotations

from flambe_ansible.errors import HostConnectionError as SSHConnectingError
from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.errors import RemoteCommandError as RemoteFileTransferError

__all__ = ["RemoteCommandError", "RemoteFileTransferError", "SSHConnectingError"]
