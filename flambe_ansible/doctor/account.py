"""Checks of an AWS account: the sign-in, the clock, the region, quotas, and the permission to set alarms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from flambe_ansible.ec2 import alarms, api, quotas, signin
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.errors import REJECTED_CODES, ROLE_HINT, is_denied
from flambe_ansible.errors import AWSError, FlambeAnsibleError
from flambe_ansible.findings import Finding, make_problem, note_denied

SOON = timedelta(hours=1)  # credentials that expire within it are worth a note
CLOCK_NOTE, CLOCK_LIMIT = 60.0, 300.0  # seconds; AWS rejects requests that are signed at a time further away
CLOCK_REMEDY = "set this machine's clock: timedatectl set-ntp true"
REGION = "region"  # the last check of an account
EXAMPLES = ("t3.small", "g4dn.xlarge")  # one type without and one with a GPU


def examine_account(clients: Clients, *, required: bool = True) -> list[Finding]:
    """Check the credentials and who they belong to, this machine's clock, and the region.

    Args:
        clients: The API clients.
        required: Whether missing credentials prevent a launch.
    """
    try:
        found = signin.read(clients.session)
    except AWSError as error:
        return [report_error("credentials", error)]
    if found is None:
        if not required:
            return [Finding(check="credentials", notes=(signin.NONE,), remedy=signin.REMEDY)]
        return [Finding(check="credentials", problems=(make_problem("", signin.NONE, expected=signin.REMEDY),))]
    findings = [_judge_credentials(found)]
    try:
        answer = api.get_identity(clients.identity_source)
    except AWSError as error:
        return [*findings, *_judge_clock(_read_headers(error)), report_error("identity", error)]
    findings.append(Finding(check="identity", fact=f"{answer['Arn']}, account {answer['Account']}"))
    findings += _judge_clock(answer["ResponseMetadata"]["HTTPHeaders"])
    return [*findings, _examine_region(clients)]


def examine_quotas(clients: Clients) -> list[Finding]:
    """Show the vCPU quotas of the account for hosts without and with GPUs."""
    try:
        found = quotas.measure(clients.ec2, clients.service_quotas, dict.fromkeys(EXAMPLES, 0))
    except AWSError as error:
        return [quotas.note_unread(error)]
    findings = []
    for usage in found:
        notes = () if usage.limit > usage.running else (f"{usage}: no further hosts can start",)
        remedy = f"request a higher one, days before: {quotas.request_increase(usage, clients.region, more=8)}"
        findings.append(Finding(check=quotas.CHECK, fact=str(usage), notes=notes, remedy=remedy))
    return findings


def examine_alarms(clients: Clients, alarm: Mapping[str, Any] | None) -> Finding:
    """Check that alarms can be set; ``alarm`` is one of no instance, None if the cluster has no alarms.

    An alarm is tried only if the role exists that the first alarm of an account creates.
    """
    check = "idle alarms"
    if alarm is None:
        return Finding(check=check, fact="none are set: the timeouts are -1")
    try:
        exists = api.has_role(clients.iam, alarms.ROLE)
    except AWSError as error:
        return note_denied(check, error.operation) if is_denied(error) else report_error(check, error)
    if not exists:
        note = f"the role {alarms.ROLE} does not exist: the launch creates it with the first alarm"
        return Finding(check=check, notes=(note,), remedy=ROLE_HINT)
    try:
        alarms.rehearse(clients.cloudwatch, alarm)
    except AWSError as error:
        return report_error(check, error)
    return Finding(check=check, fact="allowed")


def report_error(check: str, error: FlambeAnsibleError) -> Finding:
    """Make the finding of a check that ended with an error."""
    problem = make_problem("", error.message, expected=error.hint or "")
    return Finding(check=check, problems=(problem,), exit_code=error.exit_code)


def _judge_credentials(found: signin.SignIn) -> Finding:
    left = found.expires - datetime.now(UTC) if found.expires else None
    notes = (f"{found}; that is soon",) if left is not None and left < SOON and not found.renewed else ()
    return Finding(check="credentials", fact=str(found), notes=notes, remedy="sign in again before a long launch")


def _judge_clock(headers: Mapping[str, str]) -> list[Finding]:
    """Compare this machine's clock with the time of an answer; nothing without one."""
    try:
        there = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return []
    skew = (datetime.now(UTC) - there).total_seconds()
    fact = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's"
    if abs(skew) > CLOCK_LIMIT:
        problem = make_problem("", fact, expected=CLOCK_REMEDY)
        return [Finding(check="clock", problems=(problem,), exit_code=AWSError.exit_code)]
    return [Finding(check="clock", fact=fact, notes=(fact,) if abs(skew) > CLOCK_NOTE else (), remedy=CLOCK_REMEDY)]


def _examine_region(clients: Clients) -> Finding:
    """Check with one call that the region accepts the credentials, which are valid elsewhere."""
    try:
        api.describe_key_pairs(clients.ec2)
    except AWSError as error:
        if error.code not in REJECTED_CODES:
            return report_error(REGION, error)
        message = f"{clients.region} rejects these credentials, which are valid: the account has not enabled it"
        expected = f"aws account enable-region --region-name {clients.region}, or another region"
        problem = make_problem("region_name", message, expected=expected)
        return Finding(check=REGION, problems=(problem,), exit_code=AWSError.exit_code)
    return Finding(check=REGION, fact=f"{clients.region} is enabled")


def _read_headers(error: AWSError) -> Mapping[str, str]:
    """Return the headers of the answer that an error was made of."""
    response = getattr(error.__cause__, "response", {})
    headers: Mapping[str, str] = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers
