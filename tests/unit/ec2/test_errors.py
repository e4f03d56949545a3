from __future__ import annotations

import boto3
import pytest
from botocore import exceptions
from botocore.stub import Stubber

from flambe_ansible.ec2 import api, errors
from flambe_ansible.errors import AWSError
from tests.unit.ec2.support import client_error


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (exceptions.NoCredentialsError(), AWSError, "aws configure"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="secret"), AWSError, "aws configure"),
        (exceptions.UnauthorizedSSOTokenError(), AWSError, "aws sso login"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="gone"), AWSError, "aws sso login"),
        (exceptions.LoginRefreshRequired(), AWSError, "aws login"),
        (exceptions.LoginTokenLoadError(error_msg="gone"), AWSError, "aws login"),
        (exceptions.RefreshWithMFAUnsupportedError(), AWSError, "aws login"),
        (exceptions.ProfileNotFound(profile="work"), AWSError, "list-profiles"),
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), errors.UnclearAnswerError, "network"),
        (exceptions.ReadTimeoutError(endpoint_url="https://x"), errors.UnclearAnswerError, "network"),
        (exceptions.ConnectTimeoutError(endpoint_url="https://x"), errors.UnclearAnswerError, "network"),
        (exceptions.ConnectionClosedError(endpoint_url="https://x"), errors.UnclearAnswerError, "network"),
        (exceptions.ProxyConnectionError(proxy_url="http://p"), errors.UnclearAnswerError, "network"),
        (client_error("AuthFailure"), AWSError, "aws configure"),
        (client_error("AuthFailure", status=401), AWSError, "has not enabled this region"),
        (client_error("UnrecognizedClientException"), AWSError, "has not enabled this region"),
        (client_error("ExpiredToken"), AWSError, "aws sso login"),
        (client_error("RequestExpired"), AWSError, "clock"),
        (client_error("UnauthorizedOperation"), AWSError, "docs/aws.md"),
        (client_error("RequestLimitExceeded", status=503), errors.ThrottledError, "throttles this account"),
        (client_error("Throttling"), errors.ThrottledError, "throttles this account"),
        (
            client_error("InsufficientInstanceCapacity", status=500),
            AWSError,
            "another type, or a subnet in another zone",
        ),
        (client_error("VcpuLimitExceeded"), AWSError, "Service Quotas"),
        (client_error("InvalidSubnetID.NotFound"), AWSError, "subnet id"),
        (client_error("OperationNotPermitted"), AWSError, "termination protection"),
        (client_error("InternalError", status=500), errors.UnclearAnswerError, ""),
        (client_error("Whatever", status=503), errors.UnclearAnswerError, ""),
        (client_error("SomethingNew"), AWSError, ""),
    ],
)
def test_convert_adds_a_hint(error: exceptions.BotoCoreError, kind: type, hint: str) -> None:
    converted = errors.convert(error, "create instances")
    assert type(converted) is kind
    assert converted.message.startswith("Failed to create instances: ")
    assert "\n" not in converted.message
    assert hint in (converted.hint or "")
    assert bool(converted.hint) == bool(hint)
    assert converted.exit_code == 4


def test_convert_keeps_operation_and_code_and_cause() -> None:
    ec2 = boto3.client("ec2", region_name="eu-west-1")
    with Stubber(ec2) as stub, pytest.raises(AWSError) as caught:
        stub.add_client_error("start_instances", "IncorrectInstanceState", "not now", http_status_code=400)
        api.start_instances(ec2, ["i-1"])
    assert caught.value.operation == "StartInstances"
    assert caught.value.code == "IncorrectInstanceState"
    assert caught.value.reason == "not now (IncorrectInstanceState)"
    assert str(caught.value) == "Failed to start instances: not now (IncorrectInstanceState)"
    assert isinstance(caught.value.__cause__, exceptions.ClientError)


def test_a_stopped_host_is_not_advised_to_change_its_type_or_zone() -> None:
    hints = [
        errors.convert(client_error("InsufficientInstanceCapacity", operation, status=500), "x").hint
        for operation in ("RunInstances", "StartInstances")
    ]
    assert "try another type, or a subnet in another zone" in (hints[0] or "")
    assert "launch again later" in (hints[1] or "")


@pytest.mark.parametrize("what", ["instance type", "image"])
def test_the_refusals_of_the_free_plan_have_a_hint(what: str) -> None:
    """https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/free-tier-plans.html."""
    message = (
        f"The specified {what} is not eligible for Free Tier. For a list of Free Tier instance types, run "
        "'describe-instance-types' with the filter 'free-tier-eligible=true'."
    )
    converted = errors.convert(client_error("InvalidParameterCombination", message=message), "create instances")
    assert "upgrade to the paid plan" in (converted.hint or "")
    assert type(converted) is AWSError


def test_convert_moves_the_encoded_message_into_a_command() -> None:
    text = "You are not authorized to perform this operation. Encoded authorization failure message: aBc-123"
    converted = errors.convert(client_error("UnauthorizedOperation", message=text), "create instances")
    assert "aBc-123" not in converted.message
    assert "aws sts decode-authorization-message --encoded-message aBc-123" in (converted.hint or "")
