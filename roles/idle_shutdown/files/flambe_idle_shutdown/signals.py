"""What keeps this host busy: a job, Ray, a launch, a login, the user's own check."""

from __future__ import annotations

import fcntl
import json
import os
import re

from flambe_idle_shutdown.settings import PATH, SignalError, clean, run

YOUNG_SECONDS = 15  # a connection that is not older does not restart the idle time
LATE_INTERVALS = 3  # an older check of the orchestrator is late
LATE_SECONDS = 60
_HTTP_SECONDS = 20
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_STOPPED = ("inactive", "failed")
# Titles of sshd's processes after the login: "sshd: ann@pts/0", "sshd: ann"; those before it have brackets.
_SSHD = re.compile(r"sshd(-session)?: (?P<user>[^][@ ]+)(@\S+)?\Z")
_OTHER_LOGINS = re.compile(r"(\S*/)?(ssm-session-worker|mosh-server)\b")
# Ray 2 names a worker ray::IDLE between tasks, Ray 0.7 ray_worker; an actor has the name of its class.
_RAY = re.compile(r"ray::|ray_[A-Za-z0-9]")
_RAY_IDLE = re.compile(r"(ray::(IDLE(_\w+)?|DashboardAgent|RuntimeEnvAgent)|ray_worker)\Z")
_COMMAND_ERRORS = (126, 127)  # of a shell, for a command that cannot be run
_JOB_SIGNALS = ("job", "ray", "launch")  # of the orchestrator, that keep the other hosts


def find_jobs(settings):
    """Return the units of jobs that are active."""
    found = []
    for unit in settings.units:
        state = read_unit(unit)
        if state not in _STOPPED:
            found.append(f"{unit} is {state}")
    return found


def find_ray_jobs(settings):
    """Return the jobs and actors that Ray's dashboard on this host lists; nothing if Ray does not run."""
    if not settings.dashboard or read_unit(settings.ray_unit) in _STOPPED:
        return []
    jobs = [one for one in ask_ray(settings, "/api/jobs/") if one["status"] not in _ENDED]
    names = [one.get("submission_id") or one.get("job_id") or "?" for one in jobs]
    if names:
        return [f"Ray runs job {name}" for name in names]
    query = "/api/v0/actors?limit=1&filter_keys=state&filter_predicates=%21%3D&filter_values=DEAD"
    actors = ask_ray(settings, query)["data"]["result"]["result"]
    return ["Ray has actor {}".format(one["class_name"]) for one in actors]


def find_ray_work(processes):
    """Return the tasks and actors of Ray on this host, by the titles of its workers."""
    titles = {one.title for one in processes if _RAY.match(one.title) and not _RAY_IDLE.match(one.title)}
    return [f"Ray runs {title}" for title in sorted(titles)]


def find_launch(settings):
    """Return whether a launch has reserved the cluster on this host, or a submission, or another command."""
    for folder in (os.path.dirname(settings.reservation), "/tmp"):  # noqa: S108 - fleet/holding.py uses both
        path = os.path.join(folder, os.path.basename(settings.reservation))
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return [f"the cluster is reserved{_name_holder(path)}"]
        finally:
            os.close(descriptor)
    return []


def find_logins(processes):
    """Return the logins over the network: the old connections, and the young ones."""
    old, young = [], []
    for one in processes:
        match = _SSHD.match(one.title)
        if match:
            text = "SSH connection of {}".format(match["user"])
        elif _OTHER_LOGINS.match(one.title):
            text = "session of {}".format(os.path.basename(one.title.split()[0]))
        else:
            continue
        (old if one.age >= YOUNG_SECONDS else young).append(text)
    return sorted(set(old)), sorted(set(young))


def ask_command(settings):
    """Return whether the user's own check counts this host as busy: it exits with 0."""
    if not settings.command:
        return []
    env = {"HOME": settings.home, "USER": settings.user, "LOGNAME": settings.user, "PATH": PATH, "LANG": "C.UTF-8"}
    argv = [*settings.as_user, "/bin/bash", "-c", settings.command]
    try:
        code, _output, errors = run(argv, timeout=settings.command_timeout, env=env, cwd=settings.home)
    except SignalError as error:
        raise SignalError(f"idle_command: {error}") from error
    if code in _COMMAND_ERRORS or code < 0 or code > 128:
        raise SignalError(f"idle_command: exit code {code}: {errors.strip()}")
    return [] if code else ["idle_command exits with 0"]


def ask_head(settings):
    """Return what keeps the hosts of the cluster busy by the orchestrator's last check: a job, Ray, a launch."""
    if not settings.head:
        return []
    ssh = ["ssh", "-i", settings.key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    ssh += ["-o", "ConnectTimeout=10", "-o", "IdentitiesOnly=yes", f"{settings.user}@{settings.head}"]
    env = {"HOME": settings.home, "PATH": PATH}
    code, output, errors = run([*settings.as_user, *ssh, f"{settings.program} show"], env=env)
    if code:
        reason = (errors or output).strip().rpartition("\n")[2] or f"exit code {code}"
        raise SignalError(f"the orchestrator does not answer: {reason}")
    state = json.loads(output.strip().rpartition("\n")[2])  # a login shell may print more before it
    if state["age"] is None or state["age"] > max(LATE_INTERVALS * state["interval"], LATE_SECONDS):
        raise SignalError(f"the last check of the orchestrator is late: it was {state['age']} s ago")
    busy = [one for one in state["busy"] if one["signal"] in _JOB_SIGNALS]
    return ["orchestrator: {}".format(one["reason"]) for one in busy]


def read_unit(unit):
    """Return the state of a unit, such as ``active``; ``inactive`` if it is not installed."""
    code, output, errors = run(["systemctl", "show", "--property=ActiveState", "--value", "--", unit])
    if code or not output.strip():
        raise SignalError(f"systemctl show {unit}: {errors.strip() or f'exit code {code}'}")
    return output.strip()


def ask_ray(settings, path):
    """Get a document of the dashboard's HTTP API, with the cluster's token."""
    import urllib.error  # slow, and only the orchestrator asks
    import urllib.request

    headers = {}
    try:
        with open(settings.token, encoding="ascii") as file:
            headers["Authorization"] = f"Bearer {file.read().strip()}"
    except FileNotFoundError:
        pass  # a Ray without a token
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is this host
    request = urllib.request.Request(settings.dashboard + path, headers=headers)  # noqa: S310 - http, by the role
    try:
        with opener.open(request, timeout=_HTTP_SECONDS) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise SignalError(f"Ray's dashboard answers with HTTP status {error.code}") from error
    except OSError as error:
        raise SignalError(f"Ray's dashboard does not answer: {getattr(error, 'reason', error)}") from error


def _name_holder(path):
    """Return who has reserved the cluster, as the file states; every user can write to it."""
    try:
        with open(path, encoding="utf-8") as file:
            holder = json.loads(file.read(4096))
        return ": {} by {}".format(clean(holder["what"]), clean(holder["who"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ""
