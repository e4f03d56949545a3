"""The lab's API: it checks requests, acts on hosts, and forwards requests to moto."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flambe_ansible.lab import answers, calls, console, imaging, launching
from flambe_ansible.lab.answers import Answer
from flambe_ansible.lab.calls import CallLog
from flambe_ansible.lab.cloud import REGION, Cloud
from flambe_ansible.lab.fleet import Fleet
from flambe_ansible.lab.launching import Forward, RefusedError, replaced
from flambe_ansible.lab.signing import Request, SignatureError, read_scope, verify
from flambe_ansible.lab.state import Settings

BODY_LIMIT = 1 << 20

_CHANGES = {
    "ec2": {
        "AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress", "CreateImage", "CreateKeyPair",
        "CreateSecurityGroup", "CreateTags", "DeleteKeyPair", "DeleteSecurityGroup", "DeleteSnapshot", "DeleteTags",
        "DeregisterImage", "ImportKeyPair",
        "ModifyInstanceAttribute", "ModifyInstanceMetadataOptions", "MonitorInstances", "RebootInstances",
        "RevokeSecurityGroupEgress", "RevokeSecurityGroupIngress", "RunInstances", "StartInstances", "StopInstances",
        "TerminateInstances", "UnmonitorInstances",
    },
    "monitoring": {"DeleteAlarms", "DisableAlarmActions", "EnableAlarmActions", "PutMetricAlarm", "SetAlarmState"},
    "ssm": set(),
    "sts": set(),
}  # fmt: skip

_NO_SUCH_KEY = {"ec2": "AuthFailure", "ssm": "UnrecognizedClientException"}
_PUBLIC_IMAGES = re.compile(r"/aws/service/(canonical/ubuntu/.*/amd64|deeplearning/ami/x86_64)/.*ami-id")
_UP_FROM = {
    "StartInstances": ("stopped",),
    "StopInstances": ("running", "stopping", "stopped"),
    "RebootInstances": ("running",),
}

_log = logging.getLogger(__name__)

StartResponse = Callable[..., Any]


class Gate:
    """A WSGI application in front of moto's. The fleet's lock is held while a request is answered."""

    def __init__(
        self, settings: Settings, cloud: Cloud, fleet: Fleet, *, moto: Any, secrets: tuple[str, str], log: CallLog
    ) -> None:
        self._settings = settings
        self._cloud = cloud
        self._fleet = fleet
        self._moto = moto
        self._access_key, self._secret_key = secrets
        self._log = log

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one HTTP request."""
        request = read_request(environ)
        scope = read_scope(request.headers)
        service = scope.service if scope else "ec2"
        operation, parameters = calls.read_operation(environ.get("PATH_INFO", ""), request.headers, request.body)
        kind = request.headers.get("content-type", "")
        try:
            verify(request, access_key=self._access_key, secret_key=self._secret_key, region=REGION)
            with self._fleet.lock:
                answer = self._answer(service, operation, parameters, environ, request.body)
        except SignatureError as error:
            code = _NO_SUCH_KEY.get(service, "InvalidClientTokenId" if error.kind == "key" else "SignatureDoesNotMatch")
            code = "RequestExpired" if error.kind == "expired" else code
            answer = answers.error(service, kind, code, str(error), status=401 if service == "ec2" else 403)
        except RefusedError as error:
            answer = answers.error(service, kind, error.code, error.message)
        except Exception:
            _log.exception("%s %s failed", service, operation)
            answer = answers.error(service, kind, "InternalError", "The lab failed; see its daemon.log", status=500)
        code = read_error_code(answer)
        self._log.write(service=service, operation=operation, parameters=parameters, status=answer.status, error=code)
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        start_response(f"{answer.status} -", headers + list(answer.headers.items()))
        return [answer.body]

    def _answer(
        self, service: str, operation: str, parameters: Mapping[str, Any], environ: dict[str, Any], body: bytes
    ) -> Answer:
        """Answer a request whose signature is valid."""
        changes = _CHANGES.get(service)
        if changes is None:
            raise RefusedError("UnsupportedOperation", f"The lab has no service {service}")
        if not calls.is_reading(operation) and operation not in changes:
            raise RefusedError("UnsupportedOperation", f"The lab does not offer {operation}")
        if service == "ssm":
            return self._get_parameter(operation, parameters)

        def forward() -> Answer:
            return self._forward(environ, body)

        if service == "monitoring" and operation == "PutMetricAlarm":
            check_alarm(parameters)
        dry = str(parameters.get("DryRun", "")).lower() == "true"
        handler = None if dry or service != "ec2" else getattr(self, f"_on_{operation}", None)
        answer = forward() if handler is None else handler(parameters, forward)
        if not calls.is_reading(operation) and answer.status < 400 and not dry:
            self._fleet.save()
        return answer

    def _on_RunInstances(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        return launching.run_instances(self._cloud, self._fleet, parameters, forward)

    def _on_TerminateInstances(self, _parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        original = self._cloud.ec2.terminate_instances

        def terminate(ids: list[str]) -> Any:
            ended = {i.id for i in self._cloud.instances() if i.state in ("terminated", "shutting-down")}
            before = {i.id: (i.state, i.state_code) for i in self._cloud.instances()}
            changes = original(ids)
            for instance, previous in changes:
                if instance.id in ended:
                    instance._state.name, instance._state.code = before[instance.id]
                    previous.name, previous.code = before[instance.id]
                else:
                    self._fleet.terminate(instance)
            return changes

        with replaced(self._cloud.ec2, "terminate_instances", terminate):
            return forward()

    def _on_CreateImage(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        return imaging.create_image(self._cloud, self._fleet, parameters, forward)

    def _on_DeregisterImage(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        return imaging.deregister_image(self._cloud, self._fleet, parameters, forward)

    def _on_DescribeSnapshots(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        return imaging.describe_snapshots(self._cloud, parameters, forward)

    def _on_StopInstances(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        return self._change(parameters, forward, "StopInstances", self._fleet.stop)

    def _on_StartInstances(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        return self._change(parameters, forward, "StartInstances", self._fleet.start)

    def _on_RebootInstances(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        return self._change(parameters, forward, "RebootInstances", self._fleet.reboot)

    def _change(
        self,
        parameters: Mapping[str, Any],
        forward: Forward,
        operation: str,
        act: Callable[[Any], None],
    ) -> Answer:
        """Stop, start or reboot instances that are in a state for it."""
        verb = operation.removesuffix("Instances").lower()
        wanted = {value for key, value in parameters.items() if key.startswith("InstanceId.")}
        chosen = [instance for instance in self._cloud.instances() if instance.id in wanted]
        allowed = (*_UP_FROM[operation], *(("running", "pending") if operation == "StartInstances" else ()))
        for instance in chosen:
            if instance.state not in allowed:
                raise RefusedError(
                    "IncorrectInstanceState",
                    f"The instance '{instance.id}' is not in a state from which it can be {verb}"
                    f"{'ped' if verb == 'stop' else 'ed'}.",
                )
        before = {instance.id: (instance.state, instance.state_code) for instance in chosen}
        answer = forward()
        for instance in chosen:
            instance._state.name, instance._state.code = before[instance.id]
            goal = {"StopInstances": "running", "StartInstances": "stopped", "RebootInstances": "running"}[operation]
            if instance.state == goal:
                act(instance)
        return answer

    def _on_GetConsoleOutput(self, parameters: Mapping[str, Any], forward: Forward) -> Answer:  # noqa: N802
        from moto.ec2.responses import general

        instance = next((i for i in self._cloud.instances() if i.id == parameters.get("InstanceId")), None)
        latest = str(parameters.get("Latest", "")).lower() == "true"
        if instance is not None and latest and not self._is_nitro(instance.instance_type):
            raise RefusedError(
                "UnsupportedOperation", "This instance type does not support retrieving latest console logs."
            )
        shown = ""
        if instance is not None and instance.state in ("running", "stopping", "stopped"):
            shown = console.render(self._settings, instance.id, self._fleet.keys(instance))
        general.SAMPLE_CONSOLE_OUTPUT = shown  # moto returns it for every instance
        return forward()

    def _is_nitro(self, instance_type: str) -> bool:
        """Return whether the latest console output of an instance type can be read."""
        known = self._cloud.ec2.describe_instance_types(filters={"instance-type": [instance_type]})
        return bool(known) and known[0].get("Hypervisor") == "nitro"

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
        own = {"content-type", "content-length"}
        kind = next((value for key, value in seen["headers"] if key.lower() == "content-type"), "text/xml")
        rest = {key: value for key, value in seen["headers"] if key.lower() not in own}
        return Answer(seen["status"], kind, content, rest)


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


def check_alarm(parameters: Mapping[str, Any]) -> None:
    """Refuse alarms whose period is invalid, or that look back over a day (a week for periods of an hour).

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    period, evaluations = int(parameters.get("Period") or 60), int(parameters.get("EvaluationPeriods") or 1)
    if period not in (10, 20, 30) and (period < 60 or period % 60):
        raise RefusedError("ValidationError", f"Invalid period {period}: it must be 10, 20, 30 or a multiple of 60")
    limit = 604_800 if period >= 3600 else 86_400
    if period * evaluations > limit:
        reason = f"EvaluationPeriods * Period must be <= {limit}"
        raise RefusedError("ValidationError", f"Metrics cannot be checked across more than {limit} seconds ({reason})")
