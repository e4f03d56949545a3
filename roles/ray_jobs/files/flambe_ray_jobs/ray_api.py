"""Ray's Jobs API, served by the dashboard on this host."""

from __future__ import annotations

import json
import shlex
import urllib.error
import urllib.request

from flambe_ray_jobs.settings import JobError

_TIMEOUT = 20.0
_ENDED = {"SUCCEEDED": "succeeded", "FAILED": "failed", "STOPPED": "stopped"}


def call(settings, method, path, body=None):
    """Call the API and return its answer; None if what the path names does not exist.

    ``kind`` of the error: ``ray`` if Ray does not answer, ``refused`` if it answers with an error.
    """
    headers = {"Content-Type": "application/json"}
    try:
        with open(settings.token, encoding="ascii") as file:
            headers["Authorization"] = f"Bearer {file.read().strip()}"
    except FileNotFoundError:
        pass  # a Ray without a token
    except OSError as error:
        raise JobError(f"{settings.token} cannot be read: {error.strerror}", "ray") from error
    data = json.dumps(body).encode() if body is not None else None
    url = settings.dashboard + path
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - http, by the role
    # Without a proxy: it is this host.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        lines = error.read().decode("utf-8", "replace").strip().splitlines() or [error.reason]
        kind = "ray" if error.code in (401, 403, 502, 503) else "refused"
        raise JobError(f"Ray's Jobs API answers with HTTP status {error.code}: {lines[-1]}", kind) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise JobError(f"Ray's Jobs API at {settings.dashboard} does not answer: {reason}", "ray") from error


def check(settings):
    """Raise an error if Ray does not answer; it does so at once, whatever the number of its jobs."""
    call(settings, "GET", "/api/version")


def submit(settings, job):
    """Submit the entry point of a job; Ray gives both commands to a shell."""
    program = shlex.quote(settings.program)
    body = {
        "submission_id": job,
        "entrypoint": f"{program} run {job}",
        "runtime_env": {
            "py_executable": f"{program} worker {job}",
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(settings.stop_grace)},
        },
    }
    call(settings, "POST", "/api/jobs/", body)


def get(settings, job):
    """Return the state of a job, and Ray's message; ("", "") if Ray has none of this id."""
    answer = call(settings, "GET", f"/api/jobs/{job}")
    if answer is None:
        return "", ""
    state = _ENDED.get(answer.get("status"), "queued" if answer.get("status") == "PENDING" else "running")
    return state, (answer.get("message") or "").strip()


def stop(settings, job):
    """Stop a job."""
    call(settings, "POST", f"/api/jobs/{job}/stop")


def list_active(settings):
    """Return the jobs that Ray runs: ``id``, ``type`` and ``entrypoint``, those of drivers and clients included."""
    answer = call(settings, "GET", "/api/jobs/") or []
    return [
        {"id": one.get("submission_id") or one.get("job_id") or "", "command": one.get("entrypoint") or ""}
        for one in answer
        if one.get("status") not in _ENDED
    ]
