"""Convert botocore's errors to ``AWSError`` with a hint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore import exceptions

from flambe_ansible.errors import AWSError, LabError

LOGIN_HINT = "run 'aws configure', or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
# AWS rejects valid credentials in the same way in a region that the account has not enabled.
REJECTED_HINT = (
    "AWS rejects these credentials, or the account has not enabled this region "
    "(aws account list-regions), or the clock of this machine is wrong; " + LOGIN_HINT
)
EXPIRED_HINT = "log in again with 'aws login' or 'aws sso login', or get new temporary credentials"
PERMISSION_HINT = "these credentials lack a permission; docs/aws.md lists the permissions that are needed"

ROLE_HINT = (
    "the first alarm of an account creates a role, which needs iam:CreateServiceLinkedRole; an administrator creates "
    "it once with: aws iam create-service-linked-role --aws-service-name events.amazonaws.com"
)
DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})

REJECTED_CODES = frozenset({"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"})

HINTS = {
    **dict.fromkeys(REJECTED_CODES, REJECTED_HINT),
    "SignatureDoesNotMatch": "the secret key or the clock of this machine is wrong; " + LOGIN_HINT,
    "ExpiredToken": EXPIRED_HINT,
    "ExpiredTokenException": EXPIRED_HINT,
    "RequestExpired": "the credentials expired, or the clock of this machine is wrong; " + EXPIRED_HINT,
    "OptInRequired": "subscribe to the image, or enable the region, in the AWS console, then launch again",
    **dict.fromkeys(DENIED_CODES, PERMISSION_HINT),
    "InsufficientInstanceCapacity": "no capacity in this zone: try another type, or a subnet in another zone",
    "InsufficientHostCapacity": "no capacity in this zone: try another type, or a subnet in another zone",
    "InsufficientFreeAddressesInSubnet": "use a subnet with more free addresses",
    "InstanceLimitExceeded": "request a higher limit in the Service Quotas console, or launch fewer hosts",
    "VcpuLimitExceeded": "request a higher vCPU limit in the Service Quotas console, or launch smaller or fewer hosts",
    "MaxSpotInstanceCountExceeded": "request a higher quota for Spot requests in the Service Quotas console, launch "
    "fewer hosts, or set factories_spot: false",
    "SpotMaxPriceTooLow": "raise max_price of factories_spot, or leave it out to pay the current price",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": "the first Spot Instance of an account needs a role, which an "
    "administrator creates once with: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
    "VolumeLimitExceeded": "request a higher limit in the Service Quotas console, or use smaller volumes",
    "MaxIOPSLimitExceeded": "request a higher limit in the Service Quotas console, or use gp3 volumes",
    "Unsupported": "the zone of the subnet does not offer this: try another type, or a subnet in another zone",
    "PendingVerification": "AWS is still verifying the account for this region; try again in some minutes",
    "OperationNotPermitted": "the instance is protected: disable its termination protection first",
    "IncorrectInstanceState": "the instance is changing its state; try again in a minute",
    "RequestLimitExceeded": "AWS throttles this account; try again in a minute",
    "Throttling": "AWS throttles this account; try again in a minute",
    "ThrottlingException": "AWS throttles this account; try again in a minute",
    "InvalidSubnetID.NotFound": "check the subnet id and the region",
    "InvalidGroup.NotFound": "check the security group id and the region",
    "InvalidKeyPair.NotFound": "check the key pair's name and the region",
    "InvalidAMIID.NotFound": "check the image ids and the region",
}

# A host that was created earlier cannot change its type or zone.
STARTING_HINTS = {
    "InsufficientInstanceCapacity": "AWS has no capacity for the stopped hosts now: launch again later, or terminate "
    "the cluster (flambe-ans down CLUSTER) and launch it with another type, or in another zone",
    "VcpuLimitExceeded": "request a higher vCPU limit in the Service Quotas console, or stop other instances",
    "InstanceLimitExceeded": "request a higher limit in the Service Quotas console, or stop other instances",
    "IncorrectInstanceState": "an instance is changing its state, or was terminated; launch again in a minute",
    "Unsupported": "these hosts cannot be started any more: terminate the cluster (flambe-ans down CLUSTER), then "
    "launch it with another type",
}
STARTING_HINTS["InsufficientHostCapacity"] = STARTING_HINTS["InsufficientInstanceCapacity"]

# AWS refuses other types and images on an account with the free plan only when the hosts are created, not in a dry run.
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/free-tier-plans.html
NOT_FREE = "is not eligible for Free Tier"
FREE_PLAN_HINT = (
    "this account has AWS's free plan, which allows few types and images: upgrade to the paid plan in the Billing "
    "console, or use one of the types that this command lists: aws ec2 describe-instance-types "
    "--filters Name=free-tier-eligible,Values=true --query 'InstanceTypes[].InstanceType'"
)

# The code decides before the HTTP status: AWS refuses some requests with the status of a server error.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
UNCLEAR_CODES = frozenset({"InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable", "RequestTimeout"})
THROTTLING_CODES = frozenset(
    {"RequestLimitExceeded", "RequestThrottled", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)
NO_CAPACITY = "Insufficient"  # the beginning of the codes for a lack of capacity, which have the HTTP status 500
SERVER_ERROR = 500  # HTTP status codes from this one on are errors of the server
NETWORK_ERRORS = (exceptions.HTTPClientError, exceptions.ConnectionError)
LAB = "lab"  # the key of the lab among the details of botocore's errors
ENCODED = "Encoded authorization failure message:"


@dataclass(frozen=True)
class Lab:
    """A lab that answers instead of AWS.

    Attributes:
        name: Its name.
        start: The command that starts it.
    """

    name: str
    start: str


class UnclearAnswerError(AWSError):
    """There was no answer, or one that leaves it unknown whether the request was carried out."""


class LabUnreachableError(UnclearAnswerError, LabError):
    """A lab did not answer; it has the part of AWS."""

    exit_code = LabError.exit_code


class ThrottledError(AWSError):
    """The account made too many requests; this one was not carried out."""


@contextmanager
def aws_call(phrase: str) -> Iterator[None]:
    """Convert botocore's errors to ``AWSError("Failed to <phrase>: ...")``, as a decorator."""
    try:
        yield
    except (exceptions.ClientError, exceptions.BotoCoreError) as error:
        raise convert(error, phrase) from error


def convert(error: exceptions.ClientError | exceptions.BotoCoreError, phrase: str) -> AWSError:
    """Convert a botocore error; ``phrase`` follows "Failed to"."""
    if isinstance(error, exceptions.ClientError):
        return _convert_answer(error, phrase)
    if isinstance(error, NETWORK_ERRORS) and isinstance(found := error.kwargs.get(LAB), Lab):
        return LabUnreachableError(f"Failed to {phrase}: the lab {found.name} does not answer", hint=found.start)
    # A failed connection is unclear too: botocore repeats calls, and an earlier attempt may have succeeded.
    kind = UnclearAnswerError if isinstance(error, NETWORK_ERRORS) else AWSError
    return kind(f"Failed to {phrase}: {error}", hint=_find_local_hint(error))


def is_denied(error: AWSError) -> bool:
    """Return whether AWS refused a call since a permission is missing."""
    return error.code in DENIED_CODES


def _convert_answer(error: exceptions.ClientError, phrase: str) -> AWSError:
    """Convert an error response of AWS."""
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", ""), answer.get("Message", "")
    message, _, encoded = message.partition(ENCODED)
    hint = STARTING_HINTS.get(code) if error.operation_name == "StartInstances" else None
    hint = FREE_PLAN_HINT if NOT_FREE in message else hint or HINTS.get(code)
    if "iam:CreateServiceLinkedRole" in message:
        hint = ROLE_HINT
    if encoded.strip():
        hint = f"{PERMISSION_HINT}; why: aws sts decode-authorization-message --encoded-message {encoded.strip()}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind = _classify(code, status)
    reason = f"{message.strip() or 'no reason given'} ({code})"
    text = f"Failed to {phrase}: {reason}"
    return kind(text, operation=error.operation_name, code=code, reason=reason, hint=hint)


def _classify(code: str, status: int) -> type[AWSError]:
    """Return the class of an error response with this code and HTTP status."""
    if code in THROTTLING_CODES:
        return ThrottledError
    if code.startswith(NO_CAPACITY):
        return AWSError
    return UnclearAnswerError if code in UNCLEAR_CODES or status >= SERVER_ERROR else AWSError


def _find_local_hint(error: exceptions.BotoCoreError) -> str | None:
    """Return the hint for an error that happened on this machine."""
    missing = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError)
    expired = (
        exceptions.LoginError,
        exceptions.NoAuthTokenError,
        exceptions.RefreshWithMFAUnsupportedError,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    )
    if isinstance(error, missing):
        return LOGIN_HINT
    if isinstance(error, expired):
        return EXPIRED_HINT
    if isinstance(error, exceptions.ProfileNotFound):
        return "'aws configure list-profiles' lists the profiles; set AWS_PROFILE to one of them"
    if isinstance(error, NETWORK_ERRORS):
        return "check the network and the region, then try again"
    return None
