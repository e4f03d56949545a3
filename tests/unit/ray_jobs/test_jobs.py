"""Jobs from their submission to their end, with real processes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ray_jobs.conftest import Ray, Submit, wait

SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(60)\n"


def test_a_job_runs_in_its_own_folder_with_its_variables(settings: Any, submit: Submit) -> None:
    program = "import os\nprint(os.getcwd(), os.environ['KEY'], os.environ['FLAMBE_JOB_ID'])\nopen('new', 'w')\n"
    job = submit(program, files={"same": "1"}, env={"KEY": "s3cret value"})
    found = wait(settings, job)
    work = Path(settings.folder, job, "work")
    assert Path(found["log"]).read_text() == f"{work} s3cret value {job}\n"
    assert (found["state"], found["exit_code"], found["reason"]) == ("succeeded", 0, "")
    assert (found["env"], found["command"], found["submitter"]) == (["KEY"], ["python", "main.py"], "me@here")
    # What the job wrote is kept, what it was sent is removed, its secrets are nowhere.
    assert [path.name for path in work.iterdir()] == ["new"]
    others = [path for path in Path(settings.folder).rglob("*") if path.is_file() and path.name != "log"]
    assert not [path for path in others if "s3cret" in path.read_text()]


def test_ray_gets_no_text_of_the_user(settings: Any, submit: Submit, ray: Ray) -> None:
    job = submit("", command=["python", "main.py", "; touch x"], env={"KEY": "s3cret"})
    wait(settings, job)
    [body] = ray.submitted
    assert body["entrypoint"] == f"{settings.program} run {job}"
    assert "s3cret" not in json.dumps(body)
    assert "touch" not in json.dumps(body)


def test_secrets_are_private_while_the_job_runs(settings: Any, submit: Submit) -> None:
    job = submit(SLEEP, env={"KEY": "s3cret"})
    wait(settings, job, active=True)
    path = Path(settings.folder, job, "env.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(settings.folder).stat().st_mode) == 0o700


def test_a_failed_job_has_its_exit_code_and_last_line(settings: Any, submit: Submit, ray: Ray) -> None:
    job = submit("print('one')\nraise SystemExit('no such learning rate')")
    found = wait(settings, job)
    assert (found["state"], found["exit_code"]) == ("failed", 1)
    assert found["reason"] == "exit code 1; last line: no such learning rate"
    assert ray.processes[job].wait() == 1


def test_a_command_that_cannot_be_started_fails_with_127(settings: Any, submit: Submit) -> None:
    found = wait(settings, submit("", files={"tool": "x"}, command=["./tool"]))
    assert (found["state"], found["exit_code"], found["reason"]) == ("failed", 127, "./tool: Permission denied")


def test_a_killed_driver_is_failed_with_its_signal(settings: Any, submit: Submit) -> None:
    found = wait(settings, submit("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    assert (found["state"], found["exit_code"], found["reason"]) == ("failed", 137, "killed by signal 9 (SIGKILL)")


def test_a_driver_that_the_kernel_killed_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from flambe_ray_jobs import evidence

    monkeypatch.setattr(evidence, "count_oom_kills", lambda: 3)
    monkeypatch.setattr(evidence, "find_oom_kill", lambda *_: False)
    assert evidence.explain_signal(9, 1, 0.0, 2) == "killed by the kernel: the host is out of memory"
    assert evidence.explain_signal(9, 1, 0.0, 3) == "killed by signal 9 (SIGKILL)"
    assert evidence.explain_signal(11, 1, 0.0, 2) == "killed by signal 11 (SIGSEGV)"


def test_a_shell_whose_command_the_kernel_killed_is_out_of_memory(
    settings: Any, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flambe_ray_jobs import evidence, records, running

    record = records.get(settings, submit(""))
    wait(settings, record.id)
    record.save("began", {**record.load("began"), "oom_kills": 2})
    monkeypatch.setattr(evidence, "count_oom_kills", lambda: 3)
    killed = {"state": "failed", "exit_code": 137, "reason": "killed by the kernel: the host is out of memory"}
    assert running._explain(record, 1, 137, []) == killed
    assert running._explain(record, 1, 3, [])["reason"] == "exit code 3"
    monkeypatch.setattr(evidence, "count_oom_kills", lambda: 2)
    assert running._explain(record, 1, 137, [])["reason"] == "exit code 137"


def test_a_killed_wrapper_takes_its_command_along_and_is_failed(settings: Any, submit: Submit, ray: Ray) -> None:
    job = submit("import os, time\nopen('pid', 'w').write(str(os.getpid()))\nprint('up', flush=True)\ntime.sleep(60)\n")
    wait(settings, job, active=True)
    pid = Path(settings.folder, job, "work", "pid")
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    os.kill(json.loads(Path(settings.folder, job, "began.json").read_text())["pid"], signal.SIGKILL)
    found = wait(settings, job)
    assert (found["state"], found["exit_code"], found["reason"]) == ("failed", None, "its process was killed")
    for _ in range(100):
        if (
            not Path(f"/proc/{pid.read_text()}/cmdline").exists()
            or not Path(f"/proc/{pid.read_text()}/cmdline").read_bytes()
        ):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the command still runs")


@pytest.mark.parametrize(
    ("began", "unit", "reason"),
    [
        ({"boot": "an earlier one"}, {}, "the host was rebooted while it ran"),
        ({"ray": "one"}, {"InvocationID": "two", "ActiveState": "active"}, "Ray was stopped or restarted while it ran"),
        ({"ray": "one"}, {"InvocationID": "one", "ActiveState": "deactivating"}, "Ray was stopped or restarted"),
        ({"ray": "one"}, {"InvocationID": "one", "ActiveState": "active"}, "its process was killed"),
    ],
)
def test_the_reason_of_a_lost_job(
    settings: Any, monkeypatch: pytest.MonkeyPatch, began: dict[str, Any], unit: dict[str, str], reason: str
) -> None:
    from flambe_ray_jobs import evidence

    monkeypatch.setattr(evidence, "read_unit", lambda _unit: unit)
    monkeypatch.setattr(evidence, "find_oom_kill", lambda *_: False)
    document = {"pid": 1, "clock": 0.0, "ray": "", **evidence.describe_process(settings), **began}
    assert evidence.explain_loss(settings, document).startswith(reason)


def test_a_process_lives_only_with_its_start_time_and_boot(settings: Any) -> None:
    from flambe_ray_jobs import evidence

    own = evidence.describe_process(settings)
    assert evidence.lives(own)
    assert not evidence.lives({**own, "ticks": "1"})
    assert not evidence.lives({**own, "boot": "another"})


def test_a_stopped_job(settings: Any, submit: Submit) -> None:
    from flambe_ray_jobs import control

    job = submit(SLEEP, name="train")
    wait(settings, job, active=True)
    done = control.stop(settings, "")
    assert (done["stopped"], done["job"]["state"], done["job"]["reason"]) == (True, "stopped", "stopped by a user")
    again = control.stop(settings, "train")
    assert (again["stopped"], again["job"]["id"]) == (False, job)


def test_a_job_that_was_stopped_before_it_started_does_not_start(settings: Any, submit: Submit, ray: Ray) -> None:
    from flambe_ray_jobs import control

    ray.starts = False
    job = submit("print('started')")
    Path(settings.folder, job, "request.json").write_text('{"state": "stopped"}')
    assert control.show(settings, job)["state"] == "stopped"
    assert subprocess.run([settings.program, "run", job], check=False).returncode == 143
    assert not Path(settings.folder, job, "log").exists()


def test_a_stop_without_an_answer_of_ray_leaves_the_job(settings: Any, submit: Submit) -> None:
    from flambe_ray_jobs import control
    from flambe_ray_jobs.settings import JobError

    job = submit(SLEEP)
    wait(settings, job, active=True)
    settings.dashboard = "http://127.0.0.1:9"
    with pytest.raises(JobError, match="does not answer"):
        control.stop(settings, job)
    assert control.show(settings, job)["state"] == "running"
    assert not Path(settings.folder, job, "request.json").exists()


def test_several_jobs_run_at_once_and_stop_needs_one(settings: Any, submit: Submit) -> None:
    from flambe_ray_jobs import control
    from flambe_ray_jobs.settings import JobError

    ids = [submit(SLEEP, name=name) for name in ("one", "two")]
    for job in ids:
        wait(settings, job, active=True)
    assert control.find_running(settings) == {"running": ids[::-1], "error": ""}
    with pytest.raises(JobError, match=r"several jobs are running: two-.*, one-.*; name one"):
        control.stop(settings, "")


def test_a_name_is_unique_among_running_jobs(settings: Any, submit: Submit) -> None:
    from flambe_ray_jobs import control
    from flambe_ray_jobs.settings import JobError

    first = submit(SLEEP, name="train")
    with pytest.raises(JobError, match=f"a job named train is (queued|running): {first}"):
        submit("", name="train")
    wait(settings, first, active=True)
    control.stop(settings, first)
    assert submit("", name="train") != first
    assert not list(Path(settings.folder, ".incoming").iterdir())


def test_a_launch_keeps_jobs_from_starting(settings: Any, submit: Submit) -> None:
    from flambe_ray_jobs.settings import JobError

    path = Path(settings.reservation)
    path.write_text(json.dumps({"who": "eve@laptop", "what": "launch", "since": "2026-11-29T10:00:00Z"}))
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(
            JobError, match="reserved by eve@laptop: launch is running there since 2026-11-29T10:00:00Z"
        ):
            submit("")
    submit("")  # the file alone is no reservation


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"command": ["no-such-tool"]}, "command not found: no-such-tool"),
        ({"name": "a b"}, "'a b' is not a name"),
    ],
)
def test_a_job_that_cannot_run_is_refused_before_anything_is_sent(
    settings: Any, submit: Submit, job: dict[str, Any], message: str
) -> None:
    from flambe_ray_jobs.settings import JobError

    with pytest.raises(JobError, match=message):
        submit("", **job)
    assert not Path(settings.folder, ".incoming").exists()


def test_a_wrong_token_and_an_absent_ray_are_named(settings: Any, submit: Submit, ray: Ray) -> None:
    from flambe_ray_jobs.settings import JobError

    Path(settings.token).write_text("wrong")
    with pytest.raises(JobError, match="HTTP status 401"):
        submit("")
    settings.dashboard = "http://127.0.0.1:9"
    with pytest.raises(JobError, match=r"does not answer: .*refused"):
        submit("")


def test_jobs_are_listed_while_ray_does_not_answer(settings: Any, submit: Submit) -> None:
    from flambe_ray_jobs import control

    job = submit("")
    wait(settings, job)
    settings.dashboard = "http://127.0.0.1:9"
    found = control.list_all(settings)
    assert ([one["id"] for one in found["jobs"]], found["others"]) == ([job], [])
    assert "does not answer" in found["error"]


@pytest.mark.parametrize(
    ("answer", "age", "state", "reason"),
    [
        ({"status": "PENDING"}, 0, "queued", ""),
        ({"status": "FAILED", "message": "no node"}, 0, "failed", "Ray could not start it: no node"),
        ({"status": "STOPPED"}, 0, "stopped", "stopped through Ray's Jobs API"),
        (None, 0, "queued", ""),
        (None, 100, "failed", "Ray was restarted before it started"),
    ],
)
def test_a_job_that_ray_has_not_started(
    settings: Any, submit: Submit, ray: Ray, answer: dict[str, Any] | None, age: float, state: str, reason: str
) -> None:
    from flambe_ray_jobs import control

    ray.starts = False
    job = submit("")
    if answer:
        ray.states[job] = answer
    path = Path(settings.folder, job, "job.json")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "clock": document["clock"] - age}))
    found = control.show(settings, job)
    assert (found["state"], found["reason"]) == (state, reason)


def test_active_jobs_of_other_tools_are_listed(settings: Any, ray: Ray) -> None:
    from flambe_ray_jobs import control

    ray.states = {"raysubmit_1": {"status": "RUNNING"}, "raysubmit_2": {"status": "FAILED"}}
    assert control.list_all(settings)["others"] == [{"id": "raysubmit_1", "command": "python other.py"}]
    assert control.find_running(settings)["running"] == ["raysubmit_1"]


def test_a_job_is_found_by_id_name_and_beginning(settings: Any, submit: Submit) -> None:
    from flambe_ray_jobs import records
    from flambe_ray_jobs.settings import JobError

    with pytest.raises(JobError, match="no job was submitted yet"):
        records.find(settings, "")
    first, second = submit("", name="train"), submit("")
    assert records.find(settings, "").id == second
    assert records.find(settings, "train").id == records.find(settings, first[:8]).id == first
    with pytest.raises(JobError, match=f"there is no job 'trian'; did you mean (train|{first})"):
        records.find(settings, "trian")
    with pytest.raises(JobError, match=f"the last ones are {second}, {first}"):
        records.find(settings, "qqqqqq")
    for outside in ("../jobs", ".mirrors", ""):
        with pytest.raises(JobError, match="there is no job"):
            records.get(settings, outside)


def test_a_later_job_gets_unchanged_files_from_the_mirror_and_changes_nothing_of_a_running_one(
    settings: Any, submit: Submit
) -> None:
    from flambe_ray_jobs import submitting

    job = submit(SLEEP, files={"data": "1"})
    mirror = submitting.prepare(settings, {"command": ["python"], "source": "me@here:/work"})["mirror"]
    assert {path.name: path.read_text() for path in Path(mirror).iterdir()} == {"main.py": SLEEP, "data": "1"}
    assert submitting.prepare(settings, {"command": ["python"], "source": "me@there:/work"})["mirror"] == ""
    submit("", files={"data": "2"})
    assert Path(settings.folder, job, "work", "data").read_text() == "1"


def test_tensorboard_sees_the_results(settings: Any, submit: Submit, tmp_path: Path) -> None:
    job = submit("")
    links = {path.name: str(path.readlink()) for path in Path(settings.boards).iterdir()}
    assert links == {"ray_results": str(tmp_path / "ray_results"), job: f"{settings.folder}/{job}/work/results"}


def test_the_program_prints_documents_and_errors(settings: Any, submit: Submit) -> None:
    job = submit("print('x' * 10)")
    wait(settings, job)

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([settings.program, *words], capture_output=True, text=True, check=False)

    assert json.loads(call("show", job, "--lines", "1").stdout)["tail"] == ["xxxxxxxxxx"]
    assert call("logs", job, "--offset", "7").stdout == "xxx\n"
    assert [one["id"] for one in json.loads(call("list").stdout)["jobs"]] == [job]
    failed = call("show", "nope")
    assert (failed.returncode, json.loads(failed.stdout)["kind"]) == (1, "unknown")
    assert re.search(r'"kind": "unknown"', call("logs", "nope").stderr)
    assert json.loads(call("settle").stdout) == {"active": []}
