"""The lab's API: it checks requests, acts on hosts, and forwards requests to moto."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from flambe_ansible.lab import (
    answers,
    authorization,
    calls,
    faults,
    groups,
    imaging,
    launching,
    policies,
    prices,
    quotas,
    roles,
    spot,
)
from flambe_ansible.lab.alarms import check_alarm, set_warm_up
from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.authorization import Guard
from flambe_ansible.lab.calls import CallLog
from flambe_ansible.lab.cloud import REGION, STATE_CODES, ZONE
from flambe_ansible.lab.consistency import Visibility
from flambe_ansible.lab.console import Consoles
from flambe_ansible.lab.fleet import Fleet, set_state
from flambe_ansible.lab.launching import Forward, replaced
from flambe_ansible.lab.signing import Request, SignatureError, read_scope, verify
from flambe_ansible.lab.throttling import Throttle

BODY_LIMIT = 1 << 20

_CHANGES = {
    "ec2": {
        "AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress", "CreateImage", "CreateKeyPair",
        "CreateSecurityGroup", "CreateTags", "DeleteKeyPair", "DeleteSecurityGroup", "DeleteSnapshot", "DeleteTags",
        "DeregisterImage", "ImportKeyPair", "ModifyInstanceAttribute", "ModifyInstanceMetadataOptions",
        "MonitorInstances", "RebootInstances", "RevokeSecurityGroupEgress", "RevokeSecurityGroupIngress",
        "RunInstances", "StartInstances", "StopInstances", "TerminateInstances", "UnmonitorInstances",
    },
    "monitoring": {"DeleteAlarms", "DisableAlarmActions", "EnableAlarmActions", "PutMetricAlarm", "SetAlarmState"},
    "ssm": set(),
    "pricing": set(),
    "servicequotas": set(),
    "iam": set(),
    "sts": {"DecodeAuthorizationMessage"},
}  # fmt: skip

_NO_SUCH_KEY = {"ec2": "AuthFailure", "ssm": "UnrecognizedClientException"}
# Canonical names the type of the root volume: https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
_PUBLIC_IMAGES = re.compile(
    r"/aws/service/(canonical/ubuntu/server/(24\.04/.*/amd64/hvm/ebs-gp3|22\.04/.*/amd64/hvm/ebs-gp2)"
    r"|deeplearning/ami/x86_64/.*)/ami-id"
)

_log = logging.getLogger(__name__)


class Gate:
    """A WSGI application in front of moto's. The fleet's lock is held while a request is answered."""

    def __init__(self, fleet: Fleet, *, moto: Any, secrets: tuple[str, str], log: CallLog) -> None:
        self._fleet = fleet
        self._cloud = cloud = fleet.cloud
        self._moto = moto
        self._access_key, self._secret_key = secrets
        self._log = log
        self._throttle = Throttle()
        settings = fleet.settings
        self._guard = Guard(cloud, policies.parse(settings.policy) if settings.policy else None)
        self._faults = fleet.faults
        self._visibility = Visibility(cloud, settings.consistency, fleet.faults)
        self._consoles = Consoles(cloud, settings)
        self._services: dict[str, Callable[[str, Mapping[str, Any]], Answer]] = {
            "iam": partial(roles.answer, cloud),
            "pricing": prices.get_products,
            "servicequotas": lambda operation, parameters: quotas.answer(settings.quotas, operation, parameters),
        }
        self._handlers: dict[str, Callable[[Mapping[str, Any], Forward], Answer]] = {
            "RunInstances": partial(launching.run_instances, cloud, fleet),
            "TerminateInstances": self._terminate_instances,
            "StopInstances": self._stop_instances,
            "StartInstances": self._start_instances,
            "RebootInstances": partial(self._change, fleet.reboot, "rebooted", ("running",)),
            "CreateImage": partial(imaging.create_image, cloud, fleet),
            "DeregisterImage": partial(imaging.deregister_image, cloud, fleet),
            "DescribeSnapshots": partial(imaging.describe_snapshots, cloud),
            "DeleteSecurityGroup": partial(groups.delete_group, cloud),
            "GetConsoleOutput": self._get_console_output,
            "DescribeSpotPriceHistory": prices.describe_spot_prices,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one HTTP request."""
        request = read_request(environ)
        scope = read_scope(request.headers)
        service = scope.service if scope else "ec2"
        operation, parameters = calls.read_operation(environ.get("PATH_INFO", ""), request.headers, request.body)
        kind = request.headers.get("content-type", "")
        try:
            now = datetime.now(UTC) + timedelta(seconds=0 if service == faults.SERVICE else self._faults.find_skew())
            verify(request, access_key=self._access_key, secret_key=self._secret_key, region=REGION, now=now)
            with self._fleet.lock:
                answer = self._answer(service, operation, parameters, environ, request.body)
        except SignatureError as error:
            code = _NO_SUCH_KEY.get(service, "InvalidClientTokenId" if error.kind == "key" else "SignatureDoesNotMatch")
            code = "RequestExpired" if error.kind == "expired" else code
            status = 400 if error.kind == "expired" else 401 if service == "ec2" else 403
            answer = answers.error(service, kind, code, str(error), status=status)
        except RefusedError as error:
            answer = answers.error(service, kind, error.code, str(error), status=error.status)
        except Exception:
            _log.exception("%s %s failed", service, operation)
            answer = answers.error(service, kind, "InternalError", "The lab failed; see its daemon.log")
        lost = not calls.is_true(parameters, "DryRun") and self._faults.take("lost-response", call=operation)
        code = "lost-response" if lost else read_error_code(answer)
        self._log.write(service=service, operation=operation, parameters=parameters, status=answer.status, error=code)
        if lost:
            with suppress(OSError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        start_response(f"{answer.status} -", headers + list(answer.headers.items()))
        return [answer.body]

    def _answer(
        self, service: str, operation: str, parameters: Mapping[str, Any], environ: dict[str, Any], body: bytes
    ) -> Answer:
        """Answer a request whose signature is valid."""
        if service == faults.SERVICE:
            return faults.answer(self._faults, operation, parameters, set().union(*_CHANGES.values()))
        self._check(service, operation, parameters)
        return self._answer_aws(service, operation, parameters, environ, body)

    def _check(self, service: str, operation: str, parameters: Mapping[str, Any]) -> None:
        """Refuse calls that the lab does not offer, that the policy denies, or on which a fault acts."""
        changes = _CHANGES.get(service)
        if changes is None:
            raise RefusedError("UnsupportedOperation", f"The lab has no service {service}")
        if not calls.is_reading(operation) and operation not in changes:
            raise RefusedError("UnsupportedOperation", f"The lab does not offer {operation}")
        self._guard.check(service, operation, parameters)
        self._faults.refuse(service, operation)

    def _answer_aws(
        self, service: str, operation: str, parameters: Mapping[str, Any], environ: dict[str, Any], body: bytes
    ) -> Answer:
        """Answer a call of AWS that is allowed."""
        if service == "ssm":
            return self._get_parameter(operation, parameters)
        if operation == "DecodeAuthorizationMessage":
            return answers.decoded(authorization.decode(str(parameters.get("EncodedMessage", ""))))
        self._throttle.check(operation)
        if service in self._services:
            return self._services[service](operation, parameters)

        forward = partial(self._forward, environ, body)
        if operation == "PutMetricAlarm":
            return self._put_alarm(parameters, forward)
        dry = calls.is_true(parameters, "DryRun")
        handler = None if dry or service != "ec2" else self._handlers.get(operation)
        with self._visibility.around(operation, parameters if service == "ec2" else {}):
            answer = forward() if handler is None else handler(parameters, forward)
        if not calls.is_reading(operation) and answer.status < 400 and not dry:
            self._fleet.save()
        return answer

    def _put_alarm(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:
        """Create or replace an alarm; the first one creates the role that acts on instances."""
        check_alarm(parameters)
        name = parameters.get("AlarmName")
        before = self._cloud.cloudwatch.alarms.get(name)
        answer = forward()
        if answer.status < 400:
            set_warm_up(self._cloud.cloudwatch.alarms[name], before, parameters)
            self._cloud.linked_role |= authorization.acts_on_instances(parameters)
            self._fleet.save()
        return answer

    def _terminate_instances(self, _parameters: Mapping[str, Any], forward: Forward) -> Answer:
        """Terminate instances; the state of those that ended earlier is unchanged."""
        original = self._cloud.ec2.terminate_instances

        def terminate(ids: list[str]) -> Any:
            before = {i.id: i.state for i in self._cloud.instances()}
            changes = original(ids)
            for instance, previous in changes:
                state = before[instance.id]
                if state in ("terminated", "shutting-down"):
                    set_state(instance, state)
                    previous.name, previous.code = state, STATE_CODES[state]
                else:
                    self._fleet.terminate(instance)
            return changes

        with replaced(self._cloud.ec2, "terminate_instances", terminate):
            return forward()

    def _stop_instances(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:
        """Stop instances, if they can be started again."""
        spot.check_stop(one for one in self._cloud.instances() if one.id in _read_ids(parameters))
        return self._change(self._fleet.stop, "stopped", ("running", "stopping", "stopped"), parameters, forward)

    def _start_instances(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:
        """Start instances, if the quotas allow it."""
        for one in self._cloud.instances():
            if one.id in _read_ids(parameters):
                self._faults.refuse_capacity("StartInstances", type=one.instance_type, zone=ZONE)
        stopped = [one for one in self._cloud.instances() if one.id in _read_ids(parameters) and one.state == "stopped"]
        quotas.check_start(self._cloud, self._fleet.settings.quotas, stopped)
        return self._change(self._fleet.start, "started", ("stopped", "running", "pending"), parameters, forward)

    def _change(
        self,
        act: Callable[[Any], None],
        done: str,
        allowed: tuple[str, ...],
        parameters: Mapping[str, Any],
        forward: Forward,
    ) -> Answer:
        """Stop, start or reboot instances: those in the first of the allowed states change, the others stay."""
        wanted = _read_ids(parameters)
        chosen = [instance for instance in self._cloud.instances() if instance.id in wanted]
        for instance in chosen:
            if instance.state not in allowed:
                reason = f"The instance '{instance.id}' is not in a state from which it can be {done}."
                raise RefusedError("IncorrectInstanceState", reason)
        before = {instance.id: instance.state for instance in chosen}
        answer = forward()
        for instance in chosen:
            set_state(instance, before[instance.id])
            if instance.state == allowed[0]:
                act(instance)
        return answer

    def _get_console_output(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:
        """Return an instance's boot messages and SSH host keys."""
        from moto.ec2.responses import general

        instance = next((i for i in self._cloud.instances() if i.id == parameters.get("InstanceId")), None)
        latest = calls.is_true(parameters, "Latest")
        # moto returns it for every instance.
        general.SAMPLE_CONSOLE_OUTPUT = self._consoles.read(instance, latest=latest) if instance else ""
        return forward()

    def _get_parameter(self, operation: str, parameters: Mapping[str, Any]) -> Answer:
        """Return the lab's base image for the public parameters of Canonical's and the deep learning images."""
        name = str(parameters.get("Name", ""))
        if operation != "GetParameter":
            raise RefusedError("UnsupportedOperation", f"The lab does not offer {operation}")
        if not _PUBLIC_IMAGES.fullmatch(name):
            raise RefusedError("ParameterNotFound", f"Parameter {name} not found.")
        parameter = {
            "ARN": f"arn:aws:ssm:{REGION}::parameter{name}",
            "DataType": "aws:ec2:image",
            "LastModifiedDate": time.time(),
            "Name": name,
            "Type": "String",
            "Value": self._cloud.image_id,
            "Version": 1,
        }
        return Answer(200, "application/x-amz-json-1.1", json.dumps({"Parameter": parameter}).encode())

    def _forward(self, environ: dict[str, Any], body: bytes) -> Answer:
        """Return moto's answer."""
        seen: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], *_rest: Any) -> None:
            seen.update(status=int(status.split()[0]), headers=headers)

        copy = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        content = b"".join(self._moto(copy, start_response))
        headers = {key.lower(): value for key, value in seen["headers"] if key.lower() != "content-length"}
        return Answer(seen["status"], headers.pop("content-type", "text/xml"), content, headers)


def _read_ids(parameters: Mapping[str, Any]) -> set[str]:
    """Read the ids of instances from a request."""
    return {value for key, value in parameters.items() if key.startswith("InstanceId.")}


def read_request(environ: Mapping[str, Any]) -> Request:
    """Read an HTTP request from WSGI's environ; a body over 1 MiB is cut, which makes its signature invalid."""
    headers = {
        key[5:].replace("_", "-").lower(): str(value) for key, value in environ.items() if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = str(environ[key])
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(min(length, BODY_LIMIT)) if length else b""
    query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
    url = f"http://{headers.get('host', '')}{environ.get('PATH_INFO', '/')}{query}"
    return Request(method=environ["REQUEST_METHOD"], url=url, headers=headers, body=body)


def read_error_code(answer: Answer) -> str:
    """Read AWS's error code from an answer in any of its forms; "" if it is not an error."""
    if answer.status < 400:
        return ""
    match = re.search(rb"<Code>([\w.]+)</Code>", answer.body) or re.search(rb'"__type":\s*"([^"]+)"', answer.body)
    return match[1].decode().rpartition("#")[2] if match else str(answer.status)
