"""What a launch on EC2 needs, found and checked before anything is created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import launching
from flambe_ansible.ec2.caller import Network
from flambe_ansible.ec2.checks import Checked, examine, examine_route
from flambe_ansible.ec2.choices import is_refusal
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.instances import Existing
from flambe_ansible.ec2.quotas import Demand
from flambe_ansible.errors import AWSError, ClusterConfigurationError
from flambe_ansible.findings import Finding
from flambe_ansible.hosts import Role
from flambe_ansible.providers.ec2_spec import EC2Spec
from flambe_ansible.providers.own_resources import Found, OwnResources

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

Missing = Mapping[Role, Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What was found and checked before a launch.

    Attributes:
        demand: The hosts to create and start.
        found: What exists of the cluster's own resources.
        checked: The result of the checks.
        sources: The networks from which the cluster's own security group lets SSH in; None if it has none.
        notes: Messages for the user.
    """

    demand: Demand
    found: Found
    checked: Checked
    sources: Sequence[Network] | None
    notes: tuple[str, ...]


def prepare(
    own: OwnResources, clients: Clients, spec: EC2Spec, demand: Demand, *, existing: Existing, missing: Missing
) -> Prepared:
    """Find and check everything that creating the missing hosts needs; change nothing.

    Raises:
        ClusterConfigurationError: Something does not exist, does not fit, or cannot be determined.
    """
    found = own.look(spec.settings, existing, missing)
    checked = Checked()
    if demand:
        checked = _examine(clients, spec, found.settings, demand).require()
        _rehearse(clients.ec2, spec, found.settings, checked, missing)
    sources, notes = _find_sources(own, found, spec, existing, public=checked.public)
    return Prepared(demand=demand, found=found, checked=checked, sources=sources, notes=(*checked.notes, *notes))


def diagnose(
    own: OwnResources, clients: Clients, spec: EC2Spec, demand: Demand, *, existing: Existing, missing: Missing
) -> list[Finding]:
    """Check as ``prepare``, and return all results, also those that prevent a launch."""
    settings = own.look(spec.settings, existing, missing).settings
    checked = _examine(clients, spec, settings, demand)
    if not any(finding.problems for finding in checked.findings):
        _rehearse(clients.ec2, spec, settings, checked, {role: one for role, one in missing.items() if one})
    routes = [examine_route(clients.ec2, one) for one in settings.subnet_ids] if spec.needs.on_aws else []
    return [*checked.findings, *routes]


def _examine(clients: Clients, spec: EC2Spec, settings: launching.InstanceSettings, demand: Demand) -> Checked:
    return examine(
        clients.ec2, clients.ssm, clients.service_quotas, settings, demand, names=spec.names, needs=spec.needs
    )


def _rehearse(
    ec2: EC2Client, spec: EC2Spec, settings: launching.InstanceSettings, checked: Checked, missing: Missing
) -> None:
    """Send the first request of each role as a dry run; without a security group or key pair that does not exist yet.

    A lack of capacity is no problem if there are other combinations.
    """
    for role, indices in missing.items():
        choices = checked.choices[role]
        own = choices[0].apply(settings, role)
        request = launching.build_request(own, choices[0].image, cluster=spec.tags, role=role, indices=indices)
        try:
            launching.rehearse(ec2, request)
        except AWSError as error:
            if len(choices) == 1 or not is_refusal(error):
                raise


def _find_sources(
    own: OwnResources, found: Found, spec: EC2Spec, existing: Existing, *, public: bool
) -> tuple[Sequence[Network] | None, list[str]]:
    """Return the networks from which SSH is allowed, and notes.

    If they cannot be found, the rules of existing hosts stay as they are.
    """
    public = public or (spec.needs.public and any(one.public_ip for one in existing.all))
    try:
        return own.find_sources(found, existing, configured=spec.ssh_sources, public=public), []
    except ClusterConfigurationError as error:
        if not found.complete:
            raise
        return None, [f"the rules of the security group are unchanged: {error.problems[0].message}"]
