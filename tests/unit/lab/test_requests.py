"""Handling of requests: tokens, user data, alarms, the call log."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.lab import answers
from flambe_ansible.lab.alarms import average_periods, check_alarm, derive_state
from flambe_ansible.lab.answers import RefusedError
from flambe_ansible.lab.calls import CallLog, hide_secrets, is_reading, read_operation
from flambe_ansible.lab.gate import read_error_code
from flambe_ansible.lab.launching import USER_DATA_LIMIT, read_user_data
from flambe_ansible.lab.tokens import TokenBook, fingerprint

PARAMETERS = {"ImageId": "ami-1", "MinCount": "1", "ClientToken": "t"}


def test_a_token_finds_its_reservation() -> None:
    book = TokenBook()
    assert book.find("t", PARAMETERS) is None
    book.remember("t", PARAMETERS, "r-1")
    assert book.find("t", dict(reversed(PARAMETERS.items()))) == "r-1"
    assert book.find("other", PARAMETERS) is None


def test_a_token_is_valid_for_one_request() -> None:
    book = TokenBook()
    book.remember("t", PARAMETERS, "r-1")
    with pytest.raises(RefusedError, match=r"client token t$") as caught:
        book.find("t", {**PARAMETERS, "MinCount": "2"})
    assert caught.value.code == "IdempotentParameterMismatch"


@pytest.mark.parametrize("name", ["ClientToken", "DryRun", "Action", "Version"])
def test_parameters_that_are_not_compared(name: str) -> None:
    assert fingerprint({**PARAMETERS, name: "x"}) == fingerprint(PARAMETERS)


def encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def test_scripts_are_accepted_as_user_data() -> None:
    assert read_user_data("") == ""
    assert read_user_data(encode(b"#!/bin/sh\necho \xc3\xa9\n")) == "#!/bin/sh\necho \u00e9\n"


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (encode(b"#cloud-config\n"), "supports only user data that is a script"),
        (encode(b"Content-Type: multipart/mixed\n"), "supports only user data that is a script"),
        (encode(b"#!" + b"x" * USER_DATA_LIMIT), "limited to 16384 bytes"),
        ("!!!", "Invalid BASE64"),
        (encode(b"#!\xff"), "not UTF-8"),
        (encode(b"\x1f\x8b"), "supports only user data that is a script"),
        ("\u00e9", "Invalid BASE64"),
    ],
)
def test_other_user_data_is_refused(encoded: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        read_user_data(encoded)
    assert caught.value.code == "InvalidParameterValue"


@pytest.mark.parametrize(("period", "evaluations"), [(60, 1440), (300, 288), (3600, 168), (10, 1), (60, 1)])
def test_the_longest_alarms_of_cloudwatch_are_accepted(period: int, evaluations: int) -> None:
    check_alarm({"Period": period, "EvaluationPeriods": str(evaluations)})


@pytest.mark.parametrize(("period", "evaluations"), [(60, 1441), (300, 289), (3600, 169), (90, 1), (15, 1)])
def test_longer_alarms_are_refused(period: int, evaluations: int) -> None:
    with pytest.raises(RefusedError) as caught:
        check_alarm({"Period": period, "EvaluationPeriods": evaluations})
    assert caught.value.code == "ValidationError"


AVERAGES = [
    ([], [None, None]),
    ([(95.0, 2.0)], [None, 2.0]),
    ([(35.0, 4.0), (45.0, 6.0), (95.0, 2.0)], [5.0, 2.0]),
    ([(-50.0, 9.0), (100.0, 1.0)], [None, 1.0]),
]


@pytest.mark.parametrize(("samples", "averages"), AVERAGES)
def test_samples_are_averaged_by_period(samples: list[tuple[float, float]], averages: list[float | None]) -> None:
    assert average_periods(samples, now=100.0, period=50, count=2) == averages


@pytest.mark.parametrize(
    ("averages", "state"),
    [
        ([None, None, None], "INSUFFICIENT_DATA"),
        ([None, None, 0.0], "ALARM"),
        ([None, 0.0, 1.0], "OK"),
        ([0.0, 0.0, 0.0], "ALARM"),
        ([0.0, 1.0, 0.0], "OK"),
    ],
)
def test_an_alarm_is_triggered_when_all_known_periods_breach(averages: list[float | None], state: str) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html."""
    assert derive_state(averages, lambda value: value < 0.1, needed=3) == state


@pytest.mark.parametrize(
    ("missing", "states"),
    [
        ("missing", ["ALARM", "INSUFFICIENT_DATA", "OK"]),
        ("ignore", ["BEFORE", "BEFORE", "OK"]),
        ("breaching", ["ALARM", "ALARM", "OK"]),
        ("notBreaching", ["OK", "OK", "OK"]),
    ],
)
def test_missing_data_count_as_the_alarm_states(missing: str, states: list[str]) -> None:
    lists = [[0.0, None], [None, None], [1.0, None]]
    found = [
        derive_state(averages, lambda value: value < 0.1, needed=2, missing=missing, before="BEFORE")
        for averages in lists
    ]
    assert found == states


def test_some_periods_may_be_enough() -> None:
    assert derive_state([0.0, 1.0, 0.0], lambda value: value < 0.1, needed=2) == "ALARM"
    assert derive_state([0.0, 1.0, None], lambda value: value < 0.1, needed=2, missing="breaching") == "ALARM"
    assert derive_state([1.0, 1.0, None], lambda value: value < 0.1, needed=2, missing="ignore") == "OK"


def test_operations_are_recognised_in_every_protocol() -> None:
    form = b"Action=RunInstances&Version=2016-11-15&ImageId=ami-1&DryRun=true"
    assert read_operation("/", {}, form) == ("RunInstances", {"ImageId": "ami-1", "DryRun": "true"})
    target = {"x-amz-target": "AmazonSSM.GetParameter"}
    assert read_operation("/", target, b'{"Name": "/a"}') == ("GetParameter", {"Name": "/a"})
    path = "/service/GraniteServiceVersion20100801/operation/DescribeAlarms"
    cbor = b"\xa1\x6aAlarmNames\x81\x61a"
    assert read_operation(path, {}, cbor) == ("DescribeAlarms", {"AlarmNames": ["a"]})


@pytest.mark.parametrize("body", [b"\xff", b"\x81\x01", b"\xa1", b""])
def test_a_malformed_body_is_ignored(body: bytes) -> None:
    assert read_operation("/service/X/operation/PutMetricAlarm", {}, body) == ("PutMetricAlarm", {})
    assert read_operation("/", {"x-amz-target": "A.GetParameter"}, body) == ("GetParameter", {})


@pytest.mark.parametrize(
    ("operation", "reading"),
    [("DescribeInstances", True), ("GetConsoleOutput", True), ("RunInstances", False), ("", False)],
)
def test_read_only_operations(operation: str, reading: bool) -> None:
    assert is_reading(operation) is reading


def test_secrets_are_hidden() -> None:
    shown = hide_secrets({"UserData": "secret", "PublicKeyMaterial": "key", "ClientToken": "t", "A": {"Password": "x"}})
    assert shown == {
        "UserData": "<6 characters>",
        "PublicKeyMaterial": "<3 characters>",
        "ClientToken": "t",
        "A": {"Password": "<1 characters>"},
    }


def test_only_the_owner_can_read_the_log(tmp_path: Path) -> None:
    import os

    path = tmp_path / "calls.jsonl"
    log = CallLog(path, (os.getuid(), os.getgid()))
    log.write(
        service="ec2",
        operation="RunInstances",
        parameters={"DryRun": "true", "UserData": "s"},
        status=412,
        error="DryRunOperation",
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    line: dict[str, Any] = json.loads(path.read_text())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "service": "ec2", "operation": "RunInstances", "read_only": False, "dry_run": True,
        "parameters": {"DryRun": "true", "UserData": "<1 characters>"}, "status": 412, "error": "DryRunOperation",
    }  # fmt: skip


PROTOCOLS = [
    ("ec2", "application/x-www-form-urlencoded", b"<Response><Errors><Error><Code>X</Code><Message>a &lt; b</Message>"),
    ("sts", "application/x-www-form-urlencoded", b"<ErrorResponse>"),
    ("ssm", "application/x-amz-json-1.1", b'{"__type": "X", "message": "a < b"}'),
    ("monitoring", "application/cbor", b"\xa2\x79\x00\x06__type\x79\x00\x01X\x79\x00\x07message\x79\x00\x05a < b"),
]


@pytest.mark.parametrize(("service", "kind", "body"), PROTOCOLS)
def test_errors_use_the_protocol_of_the_client(service: str, kind: str, body: bytes) -> None:
    answer = answers.error(service, kind, "X", "a < b")
    assert body in answer.body
    assert answer.status == 400
    if "cbor" not in kind:
        assert read_error_code(answer) == "X"
