"""botocore's errors as ours, each with what to do next."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from botocore import exceptions

from flambe_ansible.errors import AWSError

P = ParamSpec("P")
T = TypeVar("T")

LOGIN_HINT = "run 'aws configure', or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
EXPIRED_HINT = "log in again: 'aws sso login', or fetch new temporary credentials"
PERMISSION_HINT = "the account may not do this; docs/aws.md lists the permissions that are needed"

HINTS = {
    "AuthFailure": "AWS does not accept these credentials (or the clock of this machine is wrong); " + LOGIN_HINT,
    "InvalidClientTokenId": "AWS does not know these credentials; " + LOGIN_HINT,
    "UnrecognizedClientException": "AWS does not know these credentials; " + LOGIN_HINT,
    "SignatureDoesNotMatch": "the secret key or the clock of this machine is wrong; " + LOGIN_HINT,
    "ExpiredToken": EXPIRED_HINT,
    "ExpiredTokenException": EXPIRED_HINT,
    "RequestExpired": "the credentials expired, or the clock of this machine is wrong; " + EXPIRED_HINT,
    "OptInRequired": "subscribe to what the image or the region needs, then launch again",
    "UnauthorizedOperation": PERMISSION_HINT,
    "AccessDenied": PERMISSION_HINT,
    "AccessDeniedException": PERMISSION_HINT,
    "InsufficientInstanceCapacity": "AWS has none left there: another type, or a subnet in another zone, may have",
    "InsufficientHostCapacity": "AWS has none left there: another type, or a subnet in another zone, may have",
    "InsufficientFreeAddressesInSubnet": "use a subnet with more free addresses",
    "InstanceLimitExceeded": "ask for a higher limit in the Service Quotas console, or launch fewer hosts",
    "VcpuLimitExceeded": "ask for a higher vCPU limit in the Service Quotas console, or launch smaller or fewer hosts",
    "VolumeLimitExceeded": "ask for a higher limit in the Service Quotas console, or use smaller volumes",
    "MaxIOPSLimitExceeded": "ask for a higher limit in the Service Quotas console, or use gp3 volumes",
    "Unsupported": "the zone of the subnet does not offer this; another type or another subnet may work",
    "PendingVerification": "AWS is still verifying the account for this region; try again in some minutes",
    "OperationNotPermitted": "the instance is protected: take its termination protection off first",
    "IncorrectInstanceState": "the instance is changing its state; try again in a minute",
    "RequestLimitExceeded": "AWS throttles this account; try again in a minute",
    "Throttling": "AWS throttles this account; try again in a minute",
    "InvalidSubnetID.NotFound": "look at 'subnet_id' and 'region_name'",
    "InvalidGroup.NotFound": "look at 'security_group' and 'region_name'",
    "InvalidKeyPair.NotFound": "look at 'key_name' and 'region_name'",
    "InvalidAMIID.NotFound": "look at 'orchestrator_ami', 'factory_ami' and 'region_name'",
}

# Codes after which nobody knows whether the request was carried out.
UNCLEAR_CODES = frozenset({"InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable", "RequestTimeout"})
SERVER_ERROR = 500  # HTTP status codes from here on are the server's fault
NETWORK_ERRORS = (exceptions.HTTPClientError, exceptions.ConnectionError)
ENCODED = "Encoded authorization failure message:"


class UnclearAnswerError(AWSError):
    """No answer came, or one that does not say whether the request was carried out."""


def aws_call(phrase: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a function raise ``AWSError("Failed to <phrase>: ...")`` where botocore fails.

    Args:
        phrase: What the function does, as it follows "Failed to".
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except (exceptions.ClientError, exceptions.BotoCoreError) as error:
                raise convert(error, phrase) from error

        return call

    return decorate


def convert(error: exceptions.ClientError | exceptions.BotoCoreError, phrase: str) -> AWSError:
    """Turn a botocore error into ours; ``phrase`` follows "Failed to"."""
    if isinstance(error, exceptions.ClientError):
        return _convert_answer(error, phrase)
    # A failed connection counts too: botocore repeats calls, and an earlier attempt may have got through.
    kind = UnclearAnswerError if isinstance(error, NETWORK_ERRORS) else AWSError
    return kind(f"Failed to {phrase}: {error}", hint=_find_local_hint(error))


def _convert_answer(error: exceptions.ClientError, phrase: str) -> AWSError:
    """Convert an error that AWS answered with."""
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", ""), answer.get("Message", "")
    message, _, encoded = message.partition(ENCODED)
    hint = HINTS.get(code)
    if encoded.strip():
        hint = f"{PERMISSION_HINT}; why: aws sts decode-authorization-message --encoded-message {encoded.strip()}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind = UnclearAnswerError if code in UNCLEAR_CODES or status >= SERVER_ERROR else AWSError
    text = f"Failed to {phrase}: {message.strip() or 'no reason given'} ({code})"
    return kind(text, operation=error.operation_name, code=code, hint=hint)


def _find_local_hint(error: exceptions.BotoCoreError) -> str | None:
    """Say what to do about an error that happened on this side."""
    missing = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError)
    expired = (exceptions.TokenRetrievalError, exceptions.SSOError, exceptions.NoAuthTokenError)
    if isinstance(error, missing):
        return LOGIN_HINT
    if isinstance(error, expired):
        return EXPIRED_HINT
    if isinstance(error, exceptions.ProfileNotFound):
        return "'aws configure list-profiles' shows the profiles; AWS_PROFILE names the one to use"
    if isinstance(error, NETWORK_ERRORS):
        return "look at the network and at 'region_name', then run this again"
    return None
