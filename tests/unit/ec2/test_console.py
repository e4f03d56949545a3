from __future__ import annotations

import base64
import threading
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    monkeypatch.setattr(console.time, "monotonic", lambda: made.now)
    return made


class FakeClock(threading.Event):
    """The event that ends a wait; its waits take no time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.calls = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        self.calls += 1
        return self.is_set()


LATEST = {"InstanceId": "i-1", "Latest": True}


def test_the_console_is_read_until_it_shows_keys(stub: Stubber, clock: FakeClock) -> None:
    for text in ("", "booting", _block(NEW)):
        stub.add_response("get_console_output", _answer(text), LATEST)
    with stub:
        assert console.wait_for_host_keys(stub.client, "i-1", stop=clock) == [NEW]
    stub.assert_no_pending_responses()
    assert clock.now == 101.5


@pytest.mark.parametrize(("code", "status"), [("RequestLimitExceeded", 503), ("InternalError", 500)])
def test_a_failure_that_passes_is_repeated(stub: Stubber, clock: FakeClock, code: str, status: int) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html."""
    stub.add_client_error("get_console_output", code, http_status_code=status)
    stub.add_response("get_console_output", _answer(_block(NEW)), LATEST)
    with stub:
        assert console.wait_for_host_keys(stub.client, "i-1", stop=clock) == [NEW]
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(("nitro", "limit"), [(True, 60), (False, 300)])
def test_the_wait_is_as_long_as_the_type_needs(clock: FakeClock, nitro: bool, limit: int) -> None:
    """Without Nitro, there is no current output, and the posted one comes minutes after the boot."""
    client = boto3.client("ec2", region_name="eu-west-1")
    refused = []

    def answer(params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        if params["body"].get("Latest") and not nitro:
            refused.append(params)
            error = {"Code": "UnsupportedOperation", "Message": "no"}
            return AWSResponse("", 400, {}, None), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 400}}
        return AWSResponse("", 200, {}, None), {"InstanceId": "i-1", "Output": ""}

    client.meta.events.register("before-call.ec2.GetConsoleOutput", answer)
    assert console.wait_for_host_keys(client, "i-1", stop=clock) is None
    assert limit - 3 < clock.now - 100 <= limit
    assert len(refused) == (0 if nitro else 1)


def test_a_missing_permission_ends_the_wait_at_once(stub: Stubber, clock: FakeClock) -> None:
    stub.add_client_error("get_console_output", "UnauthorizedOperation", http_status_code=403)
    with stub, pytest.raises(AWSError, match="Failed to read the console"):
        console.wait_for_host_keys(stub.client, "i-1", stop=clock)
    assert clock.calls == 0


def test_a_cancellation_ends_the_wait(stub: Stubber, clock: FakeClock) -> None:
    clock.set()
    stub.add_response("get_console_output", _answer(""), LATEST)
    with stub:
        assert console.wait_for_host_keys(stub.client, "i-1", stop=clock) is None
    assert clock.calls == 1


def test_a_single_look_calls_once(stub: Stubber) -> None:
    stub.add_response("get_console_output", {"InstanceId": "i-1"}, LATEST)
    with stub:
        assert console.read_host_keys(stub.client, "i-1") is None


def test_a_single_look_falls_back_on_posted_output(stub: Stubber) -> None:
    stub.add_client_error("get_console_output", "UnsupportedOperation", expected_params=LATEST)
    stub.add_response("get_console_output", _answer(_block(NEW)), {"InstanceId": "i-1"})
    with stub:
        assert console.read_host_keys(stub.client, "i-1") == [NEW]


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InternalError", "RequestLimitExceeded"])
def test_a_single_look_that_fails_shows_no_keys(stub: Stubber, code: str) -> None:
    stub.add_client_error("get_console_output", code)
    with stub:
        assert console.read_host_keys(stub.client, "i-1") is None
