"""The fields of all clusters and the rules for their values.

``config`` checks files against these tables, and the constructors of clusters call ``check_arguments``.
"""

from flambe_ansible.validation.aws_fields import AWS_CLUSTER
from flambe_ansible.validation.check import check_arguments, find_flaws
from flambe_ansible.validation.fields import BASE_FIELDS
from flambe_ansible.validation.lab_fields import LAB_CLUSTER
from flambe_ansible.validation.schema import Change, CrossRule, Field, Flaw, Kind, Schema
from flambe_ansible.validation.ssh_fields import SSH_CLUSTER

__all__ = [
    "AWS_CLUSTER",
    "BASE_FIELDS",
    "LAB_CLUSTER",
    "SSH_CLUSTER",
    "Change",
    "CrossRule",
    "Field",
    "Flaw",
    "Kind",
    "Schema",
    "check_arguments",
    "find_flaws",
]
