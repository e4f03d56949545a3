"""OpenSSH connections to the cluster's hosts: commands, files, tunnels, and host facts."""

from flambe_ansible.ssh.completed import Completed
from flambe_ansible.ssh.connections import Connections
from flambe_ansible.ssh.files import Progress
from flambe_ansible.ssh.options import quote
from flambe_ansible.ssh.parallel import on_each
from flambe_ansible.ssh.probing import Probe
from flambe_ansible.ssh.waiting import Patience

__all__ = ["Completed", "Connections", "Patience", "Probe", "Progress", "on_each", "quote"]
