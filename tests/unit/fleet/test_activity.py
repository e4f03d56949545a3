"""What hosts do in long tasks: read over their connections, with one command per host that ends with the playbook."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.events import Activity, Event, Status, StepEvent
from flambe_ansible.fleet import activity
from flambe_ansible.fleet.activity import ActivityObserver, read_text
from flambe_ansible.hosts import Host
from flambe_ansible.ssh.processes import Processes
from tests.unit.cli.made_up import HOSTS

ONE, TWO = HOSTS[1].name, HOSTS[2].name


class LocalConnections:
    """Hosts that are shells of this machine; ``files`` is the folder with the progress file of each."""

    def __init__(self, files: Path) -> None:
        self.files = files
        self.followed: list[str] = []

    def publish(self, host: str, text: str, *, started: float | None = None) -> None:
        document = {"started": started or time.time(), "text": text}
        (self.files / host).write_text(json.dumps(document) + "\n")

    def follow(self, host: Host, command: str, *, on_line: Callable[[str], None], processes: Processes) -> None:
        self.followed.append(host.name)
        local = command.replace(activity.PROGRESS_FILE, str(self.files / host.name)).replace("sleep 2", "sleep 0.1")
        output = bytearray()

        def read(chunk: bytes) -> None:
            output.extend(chunk)
            while b"\n" in output:
                line, _, rest = bytes(output).partition(b"\n")
                output[:] = rest
                on_line(line.decode())

        processes.run(["/bin/sh", "-c", local], on_output=read)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "PATIENCE", 0.2)
    monkeypatch.setattr(activity, "_TICK", 0.05)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [one.name for one in threading.enumerate() if one.name.startswith("flambe-activity")] == []


@pytest.fixture
def connections(tmp_path: Path) -> LocalConnections:
    return LocalConnections(tmp_path)


def watch(connections: Any, received: list[Event]) -> ActivityObserver:
    return ActivityObserver(connections, HOSTS, received.append)


def start(host: str, step: str = "flambe") -> StepEvent:
    return StepEvent(host=host, step=step, status=Status.RUNNING)


def wait_for(received: list[Event], event: Event) -> None:
    deadline = time.monotonic() + 20
    while event not in received:
        assert time.monotonic() < deadline, received
        time.sleep(0.02)


def test_the_activity_of_a_long_task(connections: LocalConnections) -> None:
    received: list[Event] = []
    with watch(connections, received) as observer:
        observer(start(ONE))
        wait_for(received, Activity(host=ONE, text=""))
        connections.publish(ONE, "resolving")
        wait_for(received, Activity(host=ONE, text="resolving"))
        connections.publish(ONE, "installing")
        wait_for(received, Activity(host=ONE, text="installing"))
        (connections.files / ONE).unlink()
        received.clear()
        wait_for(received, Activity(host=ONE, text=""))
        observer(start(ONE, "ray_node"))
        connections.publish(ONE, "waiting")
        wait_for(received, Activity(host=ONE, text="waiting"))
    assert connections.followed == [ONE]
    assert {event.host for event in received if isinstance(event, Activity)} == {ONE}


def test_a_short_task_starts_nothing(connections: LocalConnections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "PATIENCE", 30.0)
    received: list[Event] = []
    with watch(connections, received) as observer:
        observer(start(ONE))
        time.sleep(0.3)
    assert (connections.followed, received) == ([], [start(ONE)])


def test_a_host_without_a_task_waits_for_the_others(connections: LocalConnections) -> None:
    received: list[Event] = []
    waiting = Activity(host=ONE, text="waiting for the other hosts")
    with watch(connections, received) as observer:
        observer(start(ONE))
        observer(Activity(host=ONE, text=""))
        time.sleep(0.4)
        assert waiting not in received  # no other host has a task
        observer(start(TWO))
        wait_for(received, waiting)
        observer(start(ONE))
        received.clear()
        time.sleep(0.3)
        assert waiting not in received


def test_the_end_of_the_playbook_ends_all_commands_at_once(connections: LocalConnections) -> None:
    received: list[Event] = []
    with watch(connections, received) as observer:
        for host in HOSTS:
            observer(start(host.name))
        for host in HOSTS:
            wait_for(received, Activity(host=host.name, text=""))
        ended = time.monotonic()
    assert time.monotonic() - ended < 5
    assert sorted(connections.followed) == sorted(host.name for host in HOSTS)
    seen = len(received)
    time.sleep(0.3)
    assert len(received) == seen


@pytest.mark.parametrize("error", [None, OSError("no ssh here"), RuntimeError("no answer")])
def test_a_host_that_does_not_answer_is_ignored_and_asked_once(error: Exception | None) -> None:
    calls: list[str] = []

    class Silent:
        def follow(self, host: Host, command: str, **_: Any) -> None:
            calls.append(host.name)
            if error:
                raise error

    received: list[Event] = []
    with watch(Silent(), received) as observer:
        observer(start(ONE))
        time.sleep(0.6)
    assert (calls, received) == ([ONE], [start(ONE)])


def test_an_error_of_the_observer_ends_no_playbook_thread(connections: LocalConnections) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, Activity):
            raise BrokenPipeError

    with ActivityObserver(connections, HOSTS, fail) as observer:  # type: ignore[arg-type]
        observer(start(ONE))
        observer(start(TWO))
        observer(StepEvent(host=TWO, step="flambe", status=Status.OK))
        time.sleep(0.6)
        assert observer._thread.is_alive()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('flambe-progress 1060 {"started": 1000.5, "text": "resolving"}', "resolving"),
        ('flambe-progress 1060 {"started": 998, "text": "left behind"}', ""),
        ("flambe-progress ", ""),
        ("flambe-progress 1060 {", ""),
        ("flambe-progress 1060 []", ""),
        ('flambe-progress x {"started": 1000, "text": "a"}', ""),
        ('flambe-progress 1060 {"started": 1000}', ""),
        ('{"started": 1000, "text": "a"}', ""),
        ("Welcome to this host", ""),
        ('flambe-progress 1060 {"started": 1000, "text": "a\\u001b[2Jb\\n"}', "a[2Jb"),
        ('flambe-progress 1060 {"started": 1000, "text": "%s"}' % ("x" * 500), "x" * 200),
    ],
)
def test_read_text(line: str, expected: str) -> None:
    assert read_text(line, seconds=60) == expected
