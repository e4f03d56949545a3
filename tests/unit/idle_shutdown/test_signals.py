"""The signals, read from real processes, files and servers."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flambe_idle_shutdown import processes, settings, signals, usage
from flambe_idle_shutdown.settings import SignalError

DATA = Path(__file__).parent / "nvidia_smi"
COLUMNS = {"memory.total": 5, "memory.used": 6, "utilization.gpu": 7}  # of the files


class Dashboard:
    """Ray's dashboard: answers with documents by path, to those with the token."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {"/api/jobs/": [], "/api/v0/actors": list_actors()}
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                allowed = self.headers["Authorization"] == "Bearer t0ken"
                body = json.dumps(dashboard.documents.get(self.path.partition("?")[0])).encode()
                self.send_response(200 if allowed else 401)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def list_actors(*names: str) -> dict[str, Any]:
    return {"data": {"result": {"result": [{"class_name": name} for name in names]}}}


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    made = Dashboard()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def ray(make_settings: Callable[..., Any], dashboard: Dashboard, host: SimpleNamespace, tmp_path: Path) -> Any:
    host.units = {"flambe-ray.service": "active"}
    (tmp_path / "token").write_text("t0ken\n")
    return make_settings(dashboard=dashboard.url, token=str(tmp_path / "token"))


def test_rays_jobs_and_actors(ray: Any, dashboard: Dashboard) -> None:
    assert signals.find_ray_jobs(ray) == []
    dashboard.documents["/api/jobs/"] = [
        {"submission_id": "old", "status": "SUCCEEDED"},
        {"submission_id": "train", "status": "PENDING"},
        {"job_id": "02000000", "submission_id": None, "status": "RUNNING"},
    ]
    assert signals.find_ray_jobs(ray) == ["Ray runs job train", "Ray runs job 02000000"]
    dashboard.documents["/api/jobs/"] = []
    dashboard.documents["/api/v0/actors"] = list_actors("ServeController")
    assert signals.find_ray_jobs(ray) == ["Ray has actor ServeController"]


def test_a_dashboard_without_an_answer_is_an_error(ray: Any, dashboard: Dashboard, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another")
    with pytest.raises(SignalError, match="HTTP status 401"):
        signals.find_ray_jobs(ray)
    dashboard.server.shutdown()
    dashboard.server.server_close()
    with pytest.raises(SignalError, match="does not answer"):
        signals.find_ray_jobs(ray)


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_ray_that_does_not_run_is_not_asked(
    make_settings: Callable[..., Any], host: SimpleNamespace, state: str
) -> None:
    host.units = {"flambe-ray.service": state}
    assert signals.find_ray_jobs(make_settings(dashboard="http://127.0.0.1:1")) == []


@pytest.mark.parametrize("document", [None, {}, [{}], "text"])
def test_malformed_answers_raise_an_error_that_counts(ray: Any, dashboard: Dashboard, document: Any) -> None:
    from flambe_idle_shutdown import checking

    dashboard.documents["/api/jobs/"] = document
    found = checking.read("ray", lambda: signals.find_ray_jobs(ray))
    if document == {}:  # a mapping without jobs; the next answer is asked for
        dashboard.documents["/api/v0/actors"] = {}
        found = checking.read("ray", lambda: signals.find_ray_jobs(ray))
    assert [one["reason"].startswith("malformed answer") for one in found] == [True]


def test_the_reservation_of_a_launch(make_settings: Callable[..., Any]) -> None:
    made = make_settings()
    assert signals.find_launch(made) == []
    Path(made.reservation).parent.mkdir()
    with Path(made.reservation).open("w") as file:
        assert signals.find_launch(made) == []
        fcntl.flock(file, fcntl.LOCK_EX)
        assert signals.find_launch(made) == ["the cluster is reserved"]
        json.dump({"what": "launch", "who": "ann@laptop\x1b"}, file)
        file.flush()
        assert signals.find_launch(made) == ["the cluster is reserved: launch by ann@laptop?"]
    assert signals.find_launch(made) == []


def test_the_users_own_check(make_settings: Callable[..., Any], tmp_path: Path) -> None:
    def ask(command: str, **changes: Any) -> list[str]:
        found: list[str] = signals.ask_command(make_settings(command=command, **changes))
        return found

    assert ask("test $HOME = ~ && test -n $USER") == ["idle_command exits with 0"]
    assert ask("false") == ask("exit 3") == ask("") == []
    for command, message in {
        "no-such-command": "exit code 127",
        "kill -KILL $$": "idle_command: exit code -9",
    }.items():
        with pytest.raises(SignalError, match=message):
            ask(command)
    with pytest.raises(SignalError, match=r"no answer within 2 s"):
        ask(f"sleep 60 & echo $! > {tmp_path}/pid; wait", command_timeout=2)
    left = Path("/proc") / (tmp_path / "pid").read_text().strip() / "stat"
    end = time.monotonic() + 10
    with suppress(FileNotFoundError):  # the child ends with the command, a moment later
        while left.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < end
            time.sleep(0.05)


def test_units_are_read_from_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "run", lambda _argv: (1, "", "Failed to connect to bus"))
    with pytest.raises(SignalError, match="Failed to connect to bus"):
        signals.read_unit("flambe-run.service")


def test_processes_are_read_from_the_system() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; sum(range(10**7)); time.sleep(60)", "mark"]) as child:
        try:
            [own] = [one for one in processes.read_all() if "sum(range" in one.title]
            assert own.title.endswith("mark")
            assert 0 <= own.age < 30
        finally:
            child.kill()
    assert sum(one.cpu for one in processes.read_all()) > 0


def test_the_sum_of_all_processes_counts_those_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a process whose parent ignores its end is lost, so that other processes can disturb a measure."""
    monkeypatch.setattr(usage, "CONTAINER", "/")
    code = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"

    def measure() -> float:
        before = usage.measure(processes.read_all())["used"]
        subprocess.run([sys.executable, "-c", code], check=True)
        return usage.measure(processes.read_all())["used"] - before

    assert any(measure() >= 0.4 for _ in range(5))


def test_the_checks_own_cpu_use_is_left_out() -> None:
    before = {"clock": 100.0, "used": 10.0, "own": 4.0}
    assert usage.read_cpu(before, {"clock": 160.0, "used": 20.0, "own": 0.0}, interval=60) == 10.0


def fake(csv: str, *, apps: str = "apps-idle.csv") -> Callable[..., tuple[int, str, str]]:
    """Return nvidia-smi's answers by the columns that are asked for, from its real output."""

    def run(argv: list[str], **_options: Any) -> tuple[int, str, str]:
        query = argv[1].partition("=")[2]
        if "compute-apps" in argv[1]:
            return 0, (DATA / apps).read_text(), ""
        rows = [line.split(", ") for line in csv.splitlines()]
        return 0, "".join(", ".join(row[COLUMNS[one]] for one in query.split(",")) + "\n" for row in rows), ""

    return run


def test_gpus_by_the_real_answers_of_nvidia_smi(
    make_settings: Callable[..., Any], host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "has_gpu", lambda: True)
    made = make_settings()
    idle, busy = (DATA / "idle.csv").read_text(), (DATA / "busy.csv").read_text()
    host.answers["nvidia-smi"] = fake(idle)
    assert usage.find_gpus(made) == []
    host.answers["nvidia-smi"] = fake(idle + busy)
    assert usage.find_gpus(made) == ["GPU 1 is 100 % in use"]
    host.answers["nvidia-smi"] = fake(busy.replace(", 1395, 100,", ", 71885, 0,"))
    assert usage.find_gpus(made) == ["50 % of the memory of GPU 0 is in use"]
    divided = idle.replace(", 0, 0, 0, P0, Disabled", ", 0, [N/A], [N/A], P0, Enabled")
    host.answers["nvidia-smi"] = fake(divided)
    assert usage.find_gpus(made) == []
    host.answers["nvidia-smi"] = fake(divided, apps="apps-busy.csv")
    assert usage.find_gpus(made) == ["a process uses GPU 0"]


@pytest.mark.parametrize(
    "answer",
    [
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ""),
        (0, "", ""),
        (0, "0, 143771\n", ""),
        (0, "[N/A], 143771, 0\n", ""),
        (0, "0, 143771, [Unknown Error]\n", ""),
        SignalError("nvidia-smi: no answer within 20 s"),
    ],
)
def test_a_driver_without_a_proper_answer_is_an_error(
    make_settings: Callable[..., Any], host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(usage, "has_gpu", lambda: True)
    host.answers["nvidia-smi"] = answer
    with pytest.raises(SignalError, match="nvidia-smi: "):
        usage.find_gpus(make_settings())


@pytest.mark.parametrize(
    ("vendor", "kind", "driver", "has"),
    [("0x10de", "0x030200", True, True), ("0x10de", "0x030000", False, False), ("0x1d0f", "0x020000", True, False)],
)
def test_gpus_are_found_on_the_bus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str, kind: str, driver: bool, has: bool
) -> None:
    device = tmp_path / "pci/0000:00:06.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(kind + "\n")
    if driver:
        (tmp_path / "driver/nvidia").mkdir(parents=True)
    monkeypatch.setattr(usage, "PCI", str(tmp_path / "pci"))
    monkeypatch.setattr(usage, "PROC", str(tmp_path))
    assert usage.has_gpu() is has


def test_a_command_that_is_missing_or_late_is_an_error() -> None:
    with pytest.raises(SignalError, match="no-such-program: No such file"):
        settings.run(["no-such-program"])
    with pytest.raises(SignalError, match=r"sleep: no answer within 0.1 s"):
        settings.run(["sleep", "60"], timeout=0.1)
