"""Ray clusters the Ansible way: flambé's remote layer on EC2, SSH hosts, or the lab."""

__version__ = "0.1.0"
