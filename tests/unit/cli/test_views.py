"""Plan, status, card and errors as text, at common widths of terminals."""

from __future__ import annotations

import io
import shlex
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from flambe_ansible.cli.output import PlainConsole
from flambe_ansible.cli.render.card import describe_launch, list_planned_changes, render_card, write_ssh_line
from flambe_ansible.cli.render.failure import render_error
from flambe_ansible.cli.render.idle import describe, render_idle
from flambe_ansible.cli.render.plan import render_plan, summarize, write_question
from flambe_ansible.cli.render.status import describe_holder, render_status
from flambe_ansible.cli.render.words import format_seconds, format_time, list_hosts, wrap, wrap_command
from flambe_ansible.errors import (
    ClusterConfigurationError,
    PlaybookError,
    Problem,
    RayError,
    RemoteCommandError,
    TaskFailure,
)
from flambe_ansible.fleet.idle import IdleState
from flambe_ansible.fleet.reservation import Holder
from flambe_ansible.gpus import Gpu, GpuState, HostGpus
from flambe_ansible.hosts import Location, Role
from flambe_ansible.jobs.command_state import CommandJob
from flambe_ansible.jobs.state import JobState, LostHost
from flambe_ansible.launch.launch import LaunchResult
from flambe_ansible.launch.plan import Action, Change, Effect, Plan
from flambe_ansible.launch.status import ClusterState, ClusterStatus
from flambe_ansible.runtimes import RuntimeVersion
from flambe_ansible.runtimes.ray_service import RayNodes
from tests.unit.cli.made_up import HOSTS, RELEASE, make_host, make_nodes, make_plan, make_status

WIDTHS = pytest.mark.parametrize("width", [80, 120])
LONG = "x" * 64


def draw(what: RenderableType, *, width: int = 80) -> str:
    console = PlainConsole(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert not [line for line in text.splitlines() if line.endswith(" ")]
    return text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (99.4, "99s"), (100, "1m40"), (3599, "59m59"), (3600, "1h00")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@WIDTHS
def test_a_plan_has_hosts_types_image_region_and_disk(width: int) -> None:
    text = draw(render_plan(make_plan(notes=("the lab will be started",))), width=width)
    for part in ("demo", "on lab", "us-east-1", "orchestrator", "factory 1", "create", "t3.small", "gp2, 100 GB"):
        assert part in text
    assert "note: the lab will be started" in text


def test_a_plan_with_several_actions_is_summarised() -> None:
    parts = [
        make_plan(action, hosts).hosts
        for action, hosts in zip((Action.REUSE, Action.START, Action.CREATE), [(h,) for h in HOSTS], strict=True)
    ]
    plan = Plan(cluster="demo", provider="aws", hosts=tuple(host for part in parts for host in part))
    assert summarize(plan) == "Plan: 1 to add, 1 to start, 0 to change, 0 to replace, 1 unchanged"
    assert write_question(plan) == "Create 1 and start 1 host?"
    assert "running i-0000000000000000a 10.0.0.10" in draw(render_plan(plan), width=120)


@WIDTHS
def test_a_status_of_many_hosts_has_a_line_for_each_end(width: int) -> None:
    checked = {"checked": at(12), "age": 10.0, "interval": 60.0, "timeout": 3600.0}
    states = {host.name: IdleState(**checked, idle_since=at(12), ends=at(13)) for host in (HOSTS[0], *MANY)}
    states |= {host.name: IdleState(**checked, idle_since=at(12), ends=at(14)) for host in MANY[1::2]}
    states["demo_orchestrator"] = IdleState(**checked, idle_since=at(12))
    lines = draw(render_idle((HOSTS[0], *MANY), states), width=width).splitlines()
    assert [line.split("idle")[0].split() for line in lines] == [["orchestrator"], ["32", "hosts"], ["31", "hosts"]]


MANY = tuple(make_host(index) for index in range(63))


@WIDTHS
def test_a_plan_of_many_hosts_has_a_line_for_all_factories_that_are_equal(width: int) -> None:
    same = make_plan(Action.REUSE, (HOSTS[0], *MANY[:9], *MANY[10:])).hosts
    added = make_plan(Action.CREATE, MANY[9:10]).hosts
    text = draw(render_plan(Plan(cluster="demo", provider="aws", hosts=(*same, *added))), width=width)
    rows = [line.split() for line in text.splitlines() if "factory" in line or "orchestrator" in line]
    assert [row[0] for row in rows] == ["orchestrator", "factory", "+"]
    assert rows[1][1:4] == ["0-8,", "factory", "10-62"]
    assert rows[1][-1] == "running"
    assert rows[2][1:4] == ["factory", "9", "create"]


@WIDTHS
def test_a_card_of_many_hosts_has_the_orchestrator_and_ranges(width: int) -> None:
    created = [host.name for host in MANY]
    result = replace(make_result(), hosts=(HOSTS[0], *MANY), created=created)
    text = draw(render_card(result, file="c.yaml", cluster="demo", changes=[(created[0], "a", "b")]), width=width)
    assert "created: factory 0-62\n" in text
    [row] = [line for line in text.splitlines() if line.startswith("factory")]
    assert row.strip() == "factory 0-62  see the status"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["factory 0", "factory 1", "factory 2", "factory 3"], "factory 0, factory 1, factory 2, factory 3"),
        (
            ["orchestrator", *(f"factory {index}" for index in (0, 1, 2, 4, 6, 7))],
            "orchestrator, factory 0-2, factory 4, factory 6-7",
        ),
        (["a", "b", "c 1x", "d 10", "e 11"], "a, b, c 1x, d 10, e 11"),
        ([f"rack_factory_{index}" for index in range(8, 13)], "rack_factory_8-12"),
        (["n01", "n02", "10.0.0.1", "10.0.0.2", "n3"], "n01, n02, 10.0.0.1, 10.0.0.2, n3"),
    ],
)
def test_many_hosts_are_listed_as_ranges(names: list[str], text: str) -> None:
    assert list_hosts(names) == text


@WIDTHS
def test_a_status_has_all_hosts_and_the_state_of_ray(width: int) -> None:
    found = make_status(ClusterState.DEGRADED, ray=make_nodes(dead=("demo_factory_1",)))
    text = draw(render_status(found), width=width)
    assert "demo is degraded" in text
    assert "Ray: 2 of 3 nodes alive (0.7.6)" in text
    assert [line.split()[-1] for line in text.splitlines() if "10.0.0.1" in line] == ["alive", "alive", "dead"]


@WIDTHS
def test_a_status_lists_the_gpus_of_equal_hosts_once(width: int) -> None:
    good = HostGpus(state=GpuState.OK, gpus=(Gpu(index=0, name="NVIDIA H200", memory=143771, driver="580.159.04"),))
    broken = HostGpus(state=GpuState.NO_DEVICES, error="nvidia-smi: No devices were found")
    none = HostGpus(state=GpuState.NONE)
    for gpus, lines in (
        ((none, good, good), ["1 x NVIDIA H200, 140 GiB, driver 580.159.04: factory 0, factory 1"]),
        (
            (good, broken, none),
            [
                "1 x NVIDIA H200, 140 GiB, driver 580.159.04: orchestrator",
                "factory 0: nvidia-smi: No devices were found",
            ],
        ),
    ):
        found = make_status(gpus=dict(zip((host.name for host in HOSTS), gpus, strict=True)))
        text = draw(render_status(found), width=width).splitlines()
        assert [line.strip() for line in text if "NVIDIA" in line or "nvidia" in line] == lines


@WIDTHS
def test_a_plan_has_the_gpus_of_the_types(width: int) -> None:
    plan = make_plan()
    planned = [replace(one, gpus="" if one.role is Role.ORCHESTRATOR else "4 x T4, 16 GiB") for one in plan.hosts]
    lines = draw(render_plan(replace(plan, hosts=tuple(planned))), width=width).splitlines()
    [line] = [line for line in lines if "GPUs" in line]
    assert line.split("GPUs")[1].strip() == "4 x T4, 16 GiB (2 of 3 hosts)"


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (ClusterStatus(name="demo", state=ClusterState.ABSENT), "demo is absent"),
        (make_status(ClusterState.PROVISIONING, ray=None), "Ray: not set up yet"),
        (make_status(ClusterState.SUSPENDED, ray=None), "Ray: stopped with the hosts"),
        (make_status(ClusterState.STOPPED, ray=None), "Ray: stopped with the hosts"),
        (make_status(ClusterState.DEGRADED, ray=RayNodes(error="a\nno head")), "Ray: not available: no head"),
        (make_status(ClusterState.DEGRADED, ray=None, unreachable="no route"), "the orchestrator does not answer"),
    ],
)
def test_a_status_has_the_reason_if_ray_is_not_available(found: ClusterStatus, line: str) -> None:
    assert line in draw(render_status(found), width=120)


def test_a_status_shows_who_has_reserved_the_cluster() -> None:
    now = datetime.now(UTC)
    holder = Holder(who="ann@laptop", what="launch", since=f"{now:%Y-%m-%dT%H:%M:%SZ}", origin="10.0.0.7")
    line = f"Reserved: launch by ann@laptop since {now.astimezone():%H:%M}, from 10.0.0.7"
    assert line in draw(render_status(make_status(reserved=holder)))
    assert "Reserved" not in draw(render_status(make_status()))
    assert describe_holder(Holder()) == "a command by another user"
    older = datetime(2026, 1, 2, 12, 3, tzinfo=UTC)
    assert format_time("2026-01-02T12:03:00Z") == f"{older.astimezone():%Y-%m-%d %H:%M}"


def at(hour: int) -> str:
    """Return the time of today's hour, local time, as ISO 8601 (UTC)."""
    moment = datetime.now().astimezone().replace(hour=hour, minute=3, second=0)
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@WIDTHS
def test_a_status_shows_when_hosts_end(width: int) -> None:
    job = {"signal": "ray", "reason": "Ray runs job " + "train-" * 10}
    ssh = {"signal": "ssh", "reason": "SSH connection of ubuntu"}
    checked = {"checked": at(12), "age": 10.0, "interval": 60.0, "timeout": 3600.0}
    idle = {
        "demo_orchestrator": IdleState(**checked, busy=(job, ssh), kept_until=at(15)),
        "demo_factory_0": IdleState(**checked, idle_since=at(12), ends=at(13)),
        "demo_factory_1": IdleState(**{**checked, "age": 900.0}, idle_since=at(12), ends=at(14), kept_until=at(14)),
    }
    text = " ".join(draw(render_status(make_status(idle=idle)), width=width).split())
    end = text.partition("Automatic shutdown: ")[2]
    factories = " factory 0 idle since 12:03, {0} factory 1 idle since 12:03, {1}; kept until 14:03"
    late = "; the last check was at 12:03"
    stays = "stays with the orchestrator"
    assert end == (
        f"orchestrator busy: {job['reason']}, and 1 more; kept until 15:03" + factories.format(stays, stays) + late
    )
    idle["demo_orchestrator"] = IdleState(**checked, busy=(ssh,))
    end = " ".join(draw(render_status(make_status(idle=idle)), width=width).split()).partition("shutdown: ")[2]
    assert end == (
        "orchestrator busy: SSH connection of ubuntu" + factories.format("ends at 13:03", "ends at 14:03") + late
    )
    assert "Automatic shutdown" not in draw(render_status(make_status()))


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (IdleState(), "not checked yet"),
        (IdleState(age=1, interval=60, timeout=-1, idle_since=at(9)), "idle since 09:03, never ends itself"),
        (
            IdleState(
                age=1,
                timeout=300,
                idle_since=at(9),
                ends=at(10),
                busy=({"signal": "cluster", "reason": "the orchestrator does not answer: timed out"},),
            ),
            "idle since 09:03, ends at 10:03; the orchestrator does not answer: timed out",
        ),
    ],
)
def test_the_state_of_a_host_in_words(state: IdleState, text: str) -> None:
    assert describe(state) == text


def test_a_status_after_a_job_reports_that_ray_restarts() -> None:
    job = JobState(state="succeeded", name="topics", settling=True)
    text = draw(render_status(make_status(ClusterState.DEGRADED, ray=RayNodes(error="no answer"), run=job)))
    assert text.startswith("demo is running; Ray is restarting after the job\n")
    assert text.count("restarting") == 6
    assert "dead" not in text


def test_a_host_that_was_lost_during_the_job_is_not_restarting() -> None:
    lost = LostHost(name="demo_factory_0", address="10.0.0.11", since="", reason="gone")
    job = JobState(state="failed", name="topics", settling=True, lost=(lost,))
    assert "demo is degraded" in draw(render_status(make_status(ClusterState.DEGRADED, run=job)))


def make_result(version: RuntimeVersion = RELEASE) -> LaunchResult:
    return LaunchResult(
        hosts=HOSTS, created=(), version=version, playbook={}, ray=make_nodes(), seconds=12.0, log=Path("/state/log")
    )


@WIDTHS
def test_a_card_has_addresses_changes_and_next_commands(width: int) -> None:
    result = make_result()
    changes = [(f"demo_factory_{index}", "ray_node", "started") for index in range(6)]
    text = draw(render_card(result, file="c.yaml", cluster="demo", changes=changes), width=width)
    for part in ("10.0.0.12", "i-0000000000000000a", "ray_node on 6 hosts: started", "flambe-ans ssh c.yaml"):
        assert part in text


def test_the_ssh_line_is_quoted_for_a_shell() -> None:
    line = write_ssh_line(HOSTS[0], username="ubuntu", key="/a b/key", known_hosts=Path("/c d/known_hosts"))
    assert shlex.split(line) == [
        *("ssh", "-i", "/a b/key", "-o", 'UserKnownHostsFile="/c d/known_hosts"'),
        *("-o", "HostKeyAlias=i-0000000000000000a", "-o", "IdentitiesOnly=yes", "ubuntu@10.0.0.10"),
    ]


def test_the_ssh_line_goes_through_the_bastion() -> None:
    line = write_ssh_line(HOSTS[0], username="u", key="/k", known_hosts=Path("/h"), proxy_jump="me@gate:2222")
    assert "ProxyJump=me@gate:2222" in shlex.split(line)


def test_a_card_without_changes() -> None:
    result = make_result()
    assert "No changes: all hosts were up to date." in draw(
        render_card(result, file="c.yaml", cluster="demo", changes=[])
    )


def test_a_card_lists_what_the_plan_changed_in_place() -> None:
    tags = Change(field="tags.team", current="", wanted="ml", effect=Effect.IN_PLACE)
    size = Change(field="volume_size", current="50 GB", wanted="100 GB", effect=Effect.NEW_HOSTS)
    budget = Change(field="budget", current="", wanted="5 USD", effect=Effect.IN_PLACE)
    plan = make_plan(Action.REUSE, changes=(budget,))
    changed = replace(plan, hosts=tuple(replace(host, changes=(tags, size)) for host in plan.hosts))
    card = draw(render_card(make_result(), file="c.yaml", cluster="demo", changes=list_planned_changes(changed)))
    assert "changed: budget: 5 USD\nchanged: tags.team on orchestrator, factory 0, factory 1: ml\n" in card
    assert ("No changes" in card, "volume_size" in card) == (False, False)
    started = list_planned_changes(make_plan(Action.START))
    card = draw(render_card(make_result(), file="c.yaml", cluster="demo", changes=started))
    assert "changed: start on orchestrator, factory 0, factory 1\n" in card
    assert list_planned_changes(make_plan(Action.CREATE)) == list_planned_changes(make_plan(Action.REUSE)) == []


def test_a_card_shows_a_checkout_instead_of_a_release() -> None:
    checkout = RuntimeVersion(version="0.4.18+content.1a", origin="built from /me/flambe", source=Path("/me/flambe"))
    card = draw(render_card(make_result(checkout), file="c.yaml", cluster="demo", changes=[]))
    assert "flambe: 0.4.18+content.1a (built from /me/flambe)\n" in card
    assert "flambe: " not in draw(render_card(make_result(), file="c.yaml", cluster="demo", changes=[]))
    where = Location(region="us-east-1", account="123456789012")
    document = describe_launch(make_result(checkout), cluster="demo", location=where)
    assert (document["region"], document["account"]) == ("us-east-1", "123456789012")
    assert document["flambe"] == {"version": "0.4.18+content.1a", "origin": "built from /me/flambe"}


def test_the_document_of_a_launch_with_current_ray() -> None:
    version = RuntimeVersion(version="2.60.0", origin="as configured")
    document = describe_launch(replace(make_result(version), runtime="ray"), cluster="demo", location=Location())
    assert document["ray"] == {"alive": len(HOSTS), "version": "2.60.0", "error": "", "origin": "as configured"}


def test_a_caret_marks_the_column(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("!LabCluster\nname: demo\n\tkey: [b]\n")
    problem = Problem(file=str(file), line=3, column=7, message="a list", expected="a text")
    lines = render_error(ClusterConfigurationError.of([problem]), excerpts=True)
    assert [line.plain for line in lines] == [
        f"{file}:3:7: a list; expected a text",
        "    \tkey: [b]",
        "    \t     ^",
    ]


def test_a_problem_of_a_deleted_file_has_no_excerpt() -> None:
    problem = Problem(file="/nonexistent", line=3, column=7, message="a list")
    assert len(render_error(ClusterConfigurationError.of([problem]), excerpts=True)) == 1


def test_a_host_missing_in_ray_is_shown_with_its_log() -> None:
    error = RayError("no live node on demo_factory_1", missing=["demo_factory_1"], logs={"demo_factory_1": "boom\n"})
    assert [line.plain for line in render_error(error, next_command="flambe-ans launch c.yaml")] == [
        "error: no live node on demo_factory_1",
        "demo_factory_1: from Ray's log:",
        "  | boom",
        "next: flambe-ans launch c.yaml",
    ]


def test_hosts_with_the_same_failure_share_a_block() -> None:
    failures = [TaskFailure(host=f"h{n}", role="flambe", task="Install", message="no", output="no") for n in (1, 2)]
    error = PlaybookError("2 of 3 hosts failed", failures=failures, log="/log")
    assert [line.plain for line in render_error(error)] == [
        "error: 2 of 3 hosts failed",
        "h1, h2: failed in flambe: Install",
        "  | no",
        "full log: /log",
    ]


def test_of_further_failures_only_the_end_of_the_output_is_shown() -> None:
    output = "\n".join(f"line {number}" for number in range(30))
    failures = [TaskFailure(host=name, role="r", task="t", message="no", output=output + name) for name in "abc"]
    lines = [line.plain for line in render_error(PlaybookError("failed", failures=failures, log="/log"))]
    assert lines.count("  | ... 10 earlier lines") == 1
    assert lines.count("  | ... 25 earlier lines") == 2
    assert lines[-8:] == [
        "  no",
        "  | ... 25 earlier lines",
        *(f"  | line {number}" for number in range(25, 29)),
        "  | line 29c",
        "full log: /log",
    ]


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (
            "INFO started\n" * 30 + "ConnectionRefused: port 12345\n" + "INFO retry\n" * 30,
            ["ConnectionRefused: port 12345"],
        ),
        ("".join(f"INFO {number}\n" for number in range(30)), [f"INFO {number}" for number in range(25, 30)]),
        ("", []),
    ],
)
def test_of_the_log_of_ray_the_lines_about_problems_are_shown(log: str, shown: list[str]) -> None:
    lines = [line.plain for line in render_error(RayError("no live node on a", missing=["a"], logs={"a": log}))]
    assert lines == ["error: no live node on a", "a: from Ray's log:", *(f"  | {line}" for line in shown)]


@pytest.mark.parametrize("said", ["exit code 7: x y\nno", "exit code 7: x y"])
def test_a_command_and_its_output_are_shown_once(said: str) -> None:
    failure = TaskFailure(
        host="h", role="", task="Run", message=f"it failed with {said}", command="x y", returncode=7, output="no\n"
    )
    error = PlaybookError("1 host failed", failures=[failure])
    expected = ["h: failed in Run", "  it failed with exit code 7: x y", "  | no"]
    assert [line.plain for line in render_error(error)][1:] == expected
    error = PlaybookError("1 host failed", failures=[replace(failure, returncode=8)])
    assert [line.plain for line in render_error(error)][3] == "  $ x y  (exit code 8)"


@pytest.mark.parametrize("margin", ["", "    ", "  | "])
def test_lines_wrap_at_words(margin: str) -> None:
    words = ["one", "two", "/a/path/that/is/longer/than/the/line", "three", "four"]
    lines = wrap(Console(width=24), Text(margin + " ".join(words * 3)))
    assert [word for line in lines for word in line.plain.removeprefix(margin).split()] == words * 3
    assert all(line.plain.startswith(margin) for line in lines)
    assert all(len(line.plain) <= 24 or line.plain == margin + words[2] for line in lines)


def test_lines_wrap_between_wide_characters() -> None:
    assert [line.plain for line in wrap(Console(width=20), Text("一二三四五 六七八九十 ab\n  c"))] == [
        "一二三四五",
        "六七八九十 ab",
        "  c",
    ]
    assert [line.plain for line in wrap(Console(width=20), Text(""))] == [""]


def test_a_command_is_wrapped_for_pasting() -> None:
    command = "next: flambe-ans submit 'my experiment, the second.yaml' --cluster lab.yaml --force"
    line = Text(f"{command}   # overwrites the results of the experiment before it")
    lines = [one.plain for one in wrap_command(Console(width=50), line)]
    assert lines == [
        "next: flambe-ans submit \\",
        "        'my experiment, the second.yaml' \\",
        "        --cluster lab.yaml --force",
        "        # overwrites the results of the experiment",
        "        # before it",
    ]
    run = "\n".join(lines).replace("next: flambe-ans", "printf '[%s]'")
    pasted = subprocess.run(["sh", "-c", run], capture_output=True, text=True, check=True).stdout
    assert pasted == "[submit][my experiment, the second.yaml][--cluster][lab.yaml][--force]"
    assert [line.plain for line in wrap_command(Console(width=120), Text(command))] == [command]


def test_a_command_that_failed_is_shown_with_its_output() -> None:
    error = RemoteCommandError(
        "demo_factory_0: it failed", host="demo_factory_0", command="x [y]", returncode=3, output="no"
    )
    assert [line.plain for line in render_error(error)][1:] == ["  $ x [y]  (exit code 3)", "  | no"]


def test_a_status_distinguishes_dead_nodes_from_hosts_that_do_not_answer() -> None:
    hosts = (make_host(), *(make_host(index) for index in range(4)))
    nodes = make_nodes(hosts[:4], dead=(hosts[1].name, hosts[3].name))
    silent = {hosts[3].name: f"{hosts[3].name}: no SSH at 10.0.0.13 port 22: timed out, for 10 s"}
    text = draw(render_status(make_status(ClusterState.DEGRADED, hosts, ray=nodes, silent=silent)), width=120)
    rows = {line.split("  ")[0]: line.split()[-2:] for line in text.splitlines() if "running" in line}
    assert [words[-1] for words in rows.values()] == ["alive", "dead", "alive", "answer", "joined"]
    assert "factory 2: no answer: no SSH at 10.0.0.13 port 22: timed out, for 10 s" in text
    lost = make_status(ClusterState.DEGRADED, hosts[:2], ray=RayNodes(error="no answer"))
    assert "dead" not in draw(render_status(lost), width=120)


def test_the_status_of_a_ray_cluster_lists_its_active_jobs() -> None:
    job = CommandJob(id="train-3f2a9c", state="running", active=True)
    assert draw(render_status(make_status(jobs=(job,)))).splitlines()[-1] == "Jobs: train-3f2a9c running"
    assert draw(render_status(make_status(jobs=()))).splitlines()[-1] == "Jobs: none is active"
    assert make_status(jobs=(job,)).to_dict()["jobs"][0]["id"] == "train-3f2a9c"
    assert "jobs" not in make_status().to_dict()
