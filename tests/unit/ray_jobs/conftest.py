"""Make the package of ray-jobs importable, as on a host; a Jobs API on loopback that runs entry points for real."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.paths import collection

FILES = collection() / "roles/ray_jobs/files"
sys.path.insert(0, str(FILES))

TOKEN = "t0ken"


class Ray:
    """A Jobs API: it starts submitted entry points in a session of their own, as Ray's supervisor does."""

    def __init__(self) -> None:
        self.submitted: list[dict[str, Any]] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.states: dict[str, dict[str, Any]] = {}  # answers that differ from the processes
        self.starts = True
        ray = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ray.answer(self, "GET")

            def do_POST(self) -> None:
                ray.answer(self, "POST")

            def log_message(self, *_arguments: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, method: str) -> None:
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            self.send(request, 401, "Unauthorized")
            return
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"] or 0)) or b"null")
        words = [word for word in request.path.split("/") if word][2:]
        if method == "POST" and not words:
            self.start(body)
            self.send(request, 200, {})
        elif method == "POST":
            os.killpg(self.processes[words[0]].pid, signal.SIGTERM)
            self.send(request, 200, {"stopped": True})
        elif words:
            found = self.describe(words[0])
            self.send(request, 200 if found else 404, found or "no such job")
        else:
            self.send(request, 200, [self.describe(name) for name in {**self.processes, **self.states}])

    def start(self, body: dict[str, Any]) -> None:
        self.submitted.append(body)
        if self.starts:
            argv = ["sh", "-c", body["entrypoint"]]
            self.processes[body["submission_id"]] = subprocess.Popen(argv, start_new_session=True)

    def describe(self, name: str) -> dict[str, Any] | None:
        if name in self.states:
            return {"submission_id": name, "entrypoint": "python other.py", **self.states[name]}
        if name not in self.processes:
            return None
        code = self.processes[name].poll()
        status = "RUNNING" if code is None else "SUCCEEDED" if code == 0 else "FAILED"
        return {"submission_id": name, "status": status, "message": "", "entrypoint": "x"}

    @staticmethod
    def send(request: BaseHTTPRequestHandler, code: int, document: Any) -> None:
        request.send_response(code)
        request.end_headers()
        request.wfile.write(json.dumps(document).encode())

    def end(self) -> None:
        self.server.shutdown()
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def ray() -> Iterator[Ray]:
    made = Ray()
    yield made
    made.end()


@pytest.fixture
def settings(tmp_path: Path, ray: Ray, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return settings with a folder of this test, and the program for them."""
    from flambe_ray_jobs.settings import Settings

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    runtime = tmp_path / "venv" / "bin"
    runtime.mkdir(parents=True)
    (runtime / "python").symlink_to(sys.executable)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    program, values = tmp_path / "ray-jobs", tmp_path / "settings.json"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {FILES}/flambe_ray_jobs --settings {values} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    document = {
        "program": str(program),
        "folder": str(tmp_path / "jobs"),
        "boards": str(tmp_path / "boards"),
        "runtime": str(runtime.parent),
        "dashboard": f"http://127.0.0.1:{ray.server.server_port}",
        "token": str(tmp_path / "token"),
        "ray_unit": "no-such-ray.service",
        "key": str(tmp_path / "key"),
        "reservation": str(tmp_path / "reservation"),
        "stop_grace": 5,
    }
    values.write_text(json.dumps(document))
    return Settings(document)


Submit = Callable[..., str]


@pytest.fixture
def submit(settings: Any) -> Submit:
    """Return a function that submits a Python program, and returns the job's id."""
    from flambe_ray_jobs import submitting

    def start(text: str, *, name: str = "", files: dict[str, str] | None = None, **facts: Any) -> str:
        job = {"name": name, "command": ["python", "main.py"], "source": "me@here:/work", **facts}
        prepared = submitting.prepare(settings, job)
        for path, content in {"main.py": text, **(files or {})}.items():
            Path(prepared["work"], path).write_text(content)
        more = {"submitter": "me@here", "workdir": "/work", "results": "results", "env": facts.get("env", {})}
        submitting.submit(settings, {**job, **more, "id": prepared["id"]})
        return str(prepared["id"])

    return start


def wait(settings: Any, job: str, *, active: bool = False, seconds: float = 20) -> dict[str, Any]:
    """Wait until a job has ended, or with ``active`` until it runs; return its document."""
    from flambe_ray_jobs import control

    end = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = control.show(settings, job)
        if found["state"] == "running" if active else not found["active"]:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)
