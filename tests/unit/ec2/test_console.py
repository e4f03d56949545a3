from __future__ import annotations

import base64

import boto3
import pytest
from botocore.stub import Stubber

from flambe_ansible.ec2 import console
from flambe_ansible.errors import AWSError


def _key(kind: str, body: bytes = b"k" * 32) -> str:
    raw = b"".join(len(part).to_bytes(4, "big") + part for part in (kind.encode(), body))
    return f"{kind} {base64.b64encode(raw).decode()}"


OLD, NEW = _key("ssh-ed25519", b"o" * 32), _key("ssh-ed25519", b"n" * 32)
RSA, ECDSA = _key("ssh-rsa", b"r" * 257), _key("ecdsa-sha2-nistp256", b"e" * 65)


def _block(*lines: str, prefix: str = "") -> str:
    inside = "\r\n".join(prefix + line for line in lines)
    return (
        f"{prefix}-----BEGIN SSH HOST KEY FINGERPRINTS-----\r\n{prefix}256 SHA256:x root (ED25519)\r\n"
        f"{prefix}-----END SSH HOST KEY FINGERPRINTS-----\r\n{prefix}-----BEGIN SSH HOST KEY KEYS-----\r\n"
        f"{inside}\r\n{prefix}-----END SSH HOST KEY KEYS-----\r\n"
    )


@pytest.mark.parametrize(
    ("output", "keys"),
    [
        ("", []),
        ("Linux version 6.8\nlogin:", []),
        (_block(f"{NEW} root@ip-10-0-0-1"), [NEW]),
        (_block(f"{ECDSA} root@h", f"{NEW} root@h", f"{RSA} root@h"), [ECDSA, NEW, RSA]),
        (_block(f"{NEW} root@h", prefix="[   14.402] cloud-init[812]: "), [NEW]),
        (_block(OLD) + "rebooted\n" + _block(NEW), [NEW]),
        (_block(OLD) + "-----BEGIN SSH HOST KEY KEYS-----\n" + NEW, [OLD]),
        ("-----BEGIN SSH HOST KEY KEYS-----\n" + NEW, []),
        (_block(NEW[:-8]), []),
        (_block(NEW.replace("ssh-ed25519", "ssh-rsa")), []),
        (_block(NEW, NEW), [NEW]),
        (f"a line with {OLD} in it\n" + _block("ci-info: no authorized keys"), []),
    ],
)
def test_parse_host_keys(output: str, keys: list[str]) -> None:
    assert console.parse_host_keys(output) == keys


def _answer(text: str) -> dict[str, str]:
    return {"InstanceId": "i-1", "Output": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def stub() -> Stubber:
    return Stubber(boto3.client("ec2", region_name="eu-west-1"))


def test_read_host_keys_polls_until_there_are_keys(stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "POLL_SECONDS", 0.01)
    for text in ("", "booting", _block(NEW)):
        stub.add_response("get_console_output", _answer(text), {"InstanceId": "i-1", "Latest": True})
    with stub:
        assert console.read_host_keys(stub.client, "i-1", wait=5) == [NEW]
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(("code", "status"), [("RequestLimitExceeded", 503), ("InternalError", 500)])
def test_a_failure_that_passes_is_repeated_and_ends_no_launch(
    stub: Stubber, monkeypatch: pytest.MonkeyPatch, code: str, status: int
) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html."""
    monkeypatch.setattr(console, "POLL_SECONDS", 0.01)
    stub.add_client_error("get_console_output", code, http_status_code=status)
    stub.add_response("get_console_output", _answer(_block(NEW)), {"InstanceId": "i-1", "Latest": True})
    stub.add_client_error("get_console_output", "UnsupportedOperation")
    stub.add_client_error("get_console_output", code, http_status_code=status)
    with stub:
        assert console.read_host_keys(stub.client, "i-1", wait=5) == [NEW]
        assert console.read_host_keys(stub.client, "i-1") is None
    stub.assert_no_pending_responses()


def test_read_host_keys_without_a_wait_asks_once(stub: Stubber) -> None:
    stub.add_response("get_console_output", {"InstanceId": "i-1"}, {"InstanceId": "i-1", "Latest": True})
    with stub:
        assert console.read_host_keys(stub.client, "i-1") is None


def test_read_host_keys_falls_back_on_older_output(stub: Stubber) -> None:
    stub.add_client_error(
        "get_console_output", "UnsupportedOperation", expected_params={"InstanceId": "i-1", "Latest": True}
    )
    stub.add_response("get_console_output", _answer(_block(NEW)), {"InstanceId": "i-1"})
    with stub:
        assert console.read_host_keys(stub.client, "i-1") == [NEW]


def test_read_host_keys_reports_a_missing_permission(stub: Stubber) -> None:
    stub.add_client_error("get_console_output", "UnauthorizedOperation")
    with stub, pytest.raises(AWSError, match="Failed to read the console"):
        console.read_host_keys(stub.client, "i-1")
