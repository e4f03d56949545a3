"""The hosts of a cluster that this machine can talk to: connections, transfers, playbooks."""
