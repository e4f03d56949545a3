"""``flambe-ans doctor``: check what a launch needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.completing import complete_yaml
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster import Cluster
    from flambe_ansible.findings import Finding


@options.command("flambe-ans doctor", "flambe-ans doctor cluster.yaml", "flambe-ans doctor cluster.yaml --json")
@click.argument("file", metavar="[CLUSTER]", default="", type=click.Path(path_type=str), shell_complete=complete_yaml)
@options.json_option
@click.pass_context
def doctor(ctx: click.Context, file: str) -> None:
    """Check everything that a launch needs; create nothing that stays.

    Without CLUSTER, the programs of this machine and the AWS account are checked. With it, also what its launch
    needs: on AWS and in a lab the network, the key, the types, images, quotas and permissions; on existing hosts the
    login, the host keys, sudo, Python and rsync.

    Every check has one line, with what to do about it. The exit code is 0 if a launch can be tried, else the one with
    which it would fail.
    """
    from flambe_ansible.cli.render.doctor import describe_findings, render_finding, summarize
    from flambe_ansible.findings import Level

    output: Output = ctx.obj
    findings = []
    for finding in _examine(output, file):
        findings.append(finding)
        for line in render_finding(output.console, finding):
            output.console.print(line, soft_wrap=True)
    failed = [finding for finding in findings if finding.level is Level.FAILED]
    output.console.print(summarize(findings), soft_wrap=True)
    if output.json:
        output.write_document(describe_findings(findings))
    ctx.exit(failed[0].exit_code if failed else 0)


def _examine(output: Output, file: str) -> Iterator[Finding]:
    """Run the checks, one after the other."""
    from flambe_ansible.doctor.local import examine_key, examine_tools
    from flambe_ansible.errors import ClusterConfigurationError
    from flambe_ansible.findings import Finding, make_problem

    yield from examine_tools()
    if not file:
        yield from _examine_account()
        return
    try:
        with options.open_cluster(output, file) as cluster:
            if _has_key(cluster):
                yield examine_key(cluster.key)
            yield from cluster.diagnose()
    except ClusterConfigurationError as error:
        problems = error.problems or [make_problem("", error.message, expected=error.hint or "")]
        yield Finding(check="configuration", problems=tuple(problems))


def _has_key(cluster: Cluster) -> bool:
    """Return whether the private key exists before a launch; a launch creates the cluster's own key pair."""
    from flambe_ansible.cluster.aws import AWSCluster

    creates = isinstance(cluster, AWSCluster) and not cluster.key_name
    return bool(cluster.key) and (not creates or Path(cluster.key).expanduser().exists())


def _examine_account() -> Iterator[Finding]:
    """Check the account of the local AWS configuration; without one, nothing else is checked."""
    from flambe_ansible.doctor import account
    from flambe_ansible.ec2 import session
    from flambe_ansible.ec2.clients import Clients

    clients = Clients(session.make_session, lambda: None)
    findings = account.examine_account(clients, required=False)
    yield from findings
    if findings[-1].check == account.REGION and not findings[-1].problems:  # the checks before it passed
        yield from account.examine_quotas(clients)
