"""Checks of what a launch needs: this machine, the AWS account, the hosts. They change nothing that stays."""
