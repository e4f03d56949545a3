"""Jobs of commands through the Python API and the command line: this machine takes the place of the orchestrator."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flambe_ansible import cli
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.errors import ClusterBusyError, ClusterConfigurationError, RayError, RunError
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.instance import Instance
from flambe_ansible.jobs.commands import ClusterJobs
from flambe_ansible.jobs.results import pull_command
from flambe_ansible.runtimes import make_runtime
from flambe_ansible.ssh import Completed, Connections
from tests.unit.cli.made_up import HOSTS
from tests.unit.ray_jobs.conftest import TOKEN, Ray

EXPERIMENT = str(Path(__file__).parents[3] / "examples" / "experiment.yaml")


class Local(Connections):
    """Connections whose hosts are this machine; ``lost`` connections end at once."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lost = 0

    def run(self, _host: Any, command: str, *, check: bool = True, **options: Any) -> Completed:
        given = {"input": options.get("input"), "capture_output": True, "text": True}
        done = subprocess.run(["sh", "-c", command], cwd=self.home, check=check, **given)
        return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def put(self, _host: Any, source: Any, target: str, *, options: Any = (), **_more: Any) -> None:
        subprocess.run(["rsync", "-a", *options, "--", str(source), target], cwd=self.home, check=True)

    def get(self, _host: Any, source: Any, target: Any, *, options: Any = (), **_more: Any) -> None:
        subprocess.run(["rsync", "-a", *options, "--", source, str(target)], cwd=self.home, check=True)

    def argv(self, _host: Any, *, tty: bool = False) -> list[str]:
        if self.lost:
            self.lost -= 1
            return ["sh", "-c", 'timeout 1.5 sh -c "$1"; exit 255', "ssh"]
        return ["sh", "-c", 'exec sh -c "$1"', "ssh"]

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def connections(settings: Any, tmp_path: Path) -> Local:
    return Local(tmp_path)


@pytest.fixture
def fleet(connections: Local) -> Fleet:
    return Fleet(connections=connections, username="ml", orchestrator=Instance(HOSTS[0], lambda: connections))


@pytest.fixture
def jobs(settings: Any, fleet: Fleet) -> ClusterJobs:
    runner = make_runtime("ray").commands
    assert runner is not None
    return ClusterJobs(fleet, type(runner)(**{**vars(runner), "command": settings.program, "token": "token"}))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "my work"
    (folder / "results").mkdir(parents=True)
    (folder / "train.py").write_text(
        "import os, sys\nprint('args', sys.argv[1:], os.environ.get('KEY'), flush=True)\n"
        "open('results/out', 'w').write('1')\nsys.exit(int(os.environ.get('CODE', 0)))\n"
    )
    (folder / "data.bin").write_bytes(os.urandom(2_000_000))
    return folder


def wait(jobs: ClusterJobs, job: str) -> Any:
    end = time.monotonic() + 20
    while (found := jobs.get(job, lines=5)).active:
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_a_command_runs_with_its_folder_and_its_results_are_pulled(
    jobs: ClusterJobs, fleet: Fleet, work: Path, tmp_path: Path
) -> None:
    job = jobs.submit(["python", "train.py", "--lr", "0.1", "a b"], workdir=work, env={"KEY": "s3cret"}, name="train")
    assert (job.state, job.name, job.env, job.workdir) == ("queued", "train", ("KEY",), str(work))
    assert wait(jobs, job.id).tail == ("args ['--lr', '0.1', 'a b'] s3cret",)
    assert jobs.logs("train") == "args ['--lr', '0.1', 'a b'] s3cret\n"
    assert [one.id for one in jobs.list().jobs] == [job.id]
    assert jobs.list_active() == ()
    pulled = pull_command(fleet, jobs.get("train"), tmp_path / "here")
    assert (pulled.path, pulled.missing) == (tmp_path / "here" / job.id, "")
    assert sorted(str(path.relative_to(pulled.path)) for path in pulled.path.rglob("*")) == [
        "log",
        "results",
        "results/out",
    ]


def test_only_changed_files_are_sent_again(
    jobs: ClusterJobs, connections: Local, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def put(_self: Any, _host: Any, source: Any, target: str, *, options: Any = (), **_more: Any) -> None:
        # --no-whole-file: as over a network, where a local copy would count every byte as sent.
        argv = ["rsync", "-a", "--no-whole-file", "--stats", *options, "--", str(source), target]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        [line] = [one for one in done.stdout.splitlines() if one.startswith("Total bytes sent")]
        sent.append(int(line.split(":")[1].replace(",", "")))

    monkeypatch.setattr(Local, "put", put)
    for _ in range(2):
        wait(jobs, jobs.submit(["python", "train.py"], workdir=work).id)
    assert sent[0] > 2_000_000
    assert sent[1] < 2_000


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        ([], ClusterConfigurationError, "no command was given"),
        (["no-such-tool"], RunError, "command not found: no-such-tool"),
        (["./train.py"], ClusterConfigurationError, "train.py is not executable"),
        (["./nope.sh"], ClusterConfigurationError, "nope.sh does not exist"),
        (["./ignored.sh"], ClusterConfigurationError, "an ignore file excludes it"),
    ],
)
def test_a_command_that_cannot_run_is_refused(
    jobs: ClusterJobs, work: Path, command: list[str], error: type[Exception], message: str
) -> None:
    (work / "ignored.sh").write_text("x")
    (work / ".gitignore").write_text("ignored.sh\n")
    with pytest.raises(error, match=message):
        jobs.submit(command, workdir=work)
    assert jobs.list().jobs == ()


@pytest.mark.parametrize("results", ["", "/tmp", "../x"])
def test_results_are_in_the_working_folder(jobs: ClusterJobs, work: Path, results: str) -> None:
    with pytest.raises(ClusterConfigurationError, match="results: "):
        jobs.submit(["python"], workdir=work, results=results)


def test_errors_of_the_orchestrator(jobs: ClusterJobs, settings: Any, work: Path, connections: Local) -> None:
    with pytest.raises(RunError, match="no job was submitted yet"):
        jobs.get()
    Path(settings.token).write_text("wrong")
    with pytest.raises(RayError, match="HTTP status 401"):
        jobs.submit(["python"], workdir=work)
    with pytest.raises(ClusterConfigurationError, match="'a b' is not a name"):
        jobs.submit(["python"], workdir=work, name="a b")
    Path(settings.program).unlink()
    assert jobs.list_active() == ()
    with pytest.raises(RunError, match="the cluster was not launched with this runtime"):
        jobs.list()


def test_a_launch_refuses_jobs(jobs: ClusterJobs, settings: Any, work: Path) -> None:
    import fcntl

    with Path(settings.reservation).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ClusterBusyError, match="reserved by another user"):
            jobs.submit(["python"], workdir=work)


def test_the_token_is_written_to_a_private_file(jobs: ClusterJobs, tmp_path: Path) -> None:
    path = tmp_path / "ray-token"
    assert jobs.fetch_token(path)
    assert (path.read_text(), path.stat().st_mode & 0o777) == (TOKEN, 0o600)


# The command line.


# What a cluster does before and after a command.
QUIET = {
    "attach_early": lambda _started, **_options: None,
    "record_access": lambda _file: None,
    "close": lambda: None,
}


@pytest.fixture
def run(
    jobs: ClusterJobs, fleet: Fleet, connections: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> Any:
    """Return a function that runs a command line; it returns the exit code and both outputs."""
    cluster = SimpleNamespace(
        name="demo",
        jobs=jobs,
        fleet=fleet,
        connections=connections,
        runs_commands=True,
        state_dir=tmp_path,
        _runtime=make_runtime("ray"),
        **QUIET,
    )
    for name in ("check_command_jobs", "check_file_jobs"):
        setattr(cluster, name, getattr(Cluster, name).__get__(cluster))
    monkeypatch.setattr("flambe_ansible.cluster.loading.load_cluster", lambda _file: cluster)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(arguments)
        streams = capfd.readouterr()
        return code, streams.out, streams.err

    return call


def test_submit_follows_and_returns_the_exit_code_of_the_command(run: Any, work: Path) -> None:
    options = ["submit", "-c", "c.yaml", "--workdir", str(work), "--follow", "--env", "CODE=3"]
    code, out, _ = run(*options, "--", "python", "train.py", "--follow")
    assert code == 3
    assert "args ['--follow'] None\n" in out
    assert "exit code 3; last line: args ['--follow'] None" in out
    code, out, err = run(*options, "--json", "--", "python", "train.py")
    document = json.loads(out)["job"]
    assert (code, document["state"], document["exit_code"], document["env"]) == (3, "failed", 3, ["CODE"])
    assert "args [] None\n" in err


def test_a_variable_without_a_value_is_the_one_of_this_machine(
    run: Any, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "s3cret")
    argv = ["submit", "-c", "c.yaml", "--workdir", str(work), "--env", "KEY", "--follow", "--", "python", "train.py"]
    assert "args [] s3cret\n" in run(*argv)[1]
    jobs = run("jobs", "c.yaml", "--json")
    assert "s3cret" not in jobs[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "give either FILE, or a command after `--`"),
        (["x.yaml", "--", "python"], 2, "give either FILE, or a command after `--`"),
        (["--force", "--", "python"], 2, "--force needs FILE"),
        (["--workdir", ".", "x.yaml"], 2, "--workdir needs a command after `--`"),
        (["--env", "1x", "--", "python"], 2, "--env: '1x' is not the name of an environment variable"),
        (["--env", "NO_SUCH", "--", "python"], 2, "--env NO_SUCH: the variable is not set here"),
        (["--workdir", "/nope", "--", "python"], 3, "the working folder /nope does not exist"),
        ([EXPERIMENT], 3, "cluster demo has runtime ray, which cannot run experiments of flamb"),
    ],
)
def test_a_wrong_submit_is_refused(run: Any, words: list[str], code: int, message: str) -> None:
    found, _, err = run("submit", "-c", "c.yaml", *words)
    assert found == code
    assert message in err


def test_a_command_is_refused_by_a_runtime_without_commands(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(name="demo", _runtime=make_runtime("flambe"), **QUIET)
    fake.check_command_jobs = Cluster.check_command_jobs.__get__(fake)
    monkeypatch.setattr("flambe_ansible.cluster.loading.load_cluster", lambda _file: fake)
    code, _, err = run("submit", "-c", "c.yaml", "--", "python")
    assert (code, "does not run commands; jobs, tunnel and submit with a command need runtime: ray" in err) == (3, True)
    assert "flambe-ans submit experiment.yaml --cluster c.yaml" in err


def test_a_very_large_folder_needs_consent(run: Any, work: Path) -> None:
    with (work / "huge").open("wb") as file:
        file.truncate(2 * 1024**3 + 1)
    code, _, err = run("submit", "-c", "c.yaml", "--workdir", str(work), "--", "python", "train.py")
    assert code == 2
    assert "huge (2.0 GB)" in err
    assert "nothing was sent" in err
    assert "--allow-large" in err


def test_logs_survive_a_lost_connection(run: Any, jobs: ClusterJobs, work: Path, connections: Local) -> None:
    (work / "count.py").write_text("import time\nfor n in range(8):\n    print(n, flush=True)\n    time.sleep(0.5)\n")
    job = jobs.submit(["python", "count.py"], workdir=work, name="count")
    connections.lost = 1
    code, out, err = run("logs", "c.yaml", "count", "--follow")
    assert code == 0
    assert out.splitlines()[:8] == [str(number) for number in range(8)]
    assert "the connection was lost; the job keeps running; connecting again" in err
    assert run("logs", "c.yaml", job.id, "-n", "2") == (0, "6\n7\n", "")


def test_ctrl_c_ends_the_output_and_not_the_job(run: Any, jobs: ClusterJobs, work: Path) -> None:
    (work / "sleep.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")

    def press() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if any(one.state == "running" for one in jobs.list().jobs):
                break
            time.sleep(0.1)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    code, _, err = run("submit", "-c", "c.yaml", "--workdir", str(work), "--follow", "--", "python", "sleep.py")
    [job] = jobs.list_active()
    assert code == 130
    assert f"no longer following {job.id}; the job keeps running" in err
    assert f"flambe-ans stop c.yaml {job.id}" in err
    assert run("stop", "c.yaml") == (0, f"{job.id} is stopped.\n", "")
    assert "was not running; it stopped at" in run("stop", "c.yaml", job.id)[1]


def test_the_list_of_jobs(run: Any, jobs: ClusterJobs, work: Path, ray: Ray) -> None:
    assert "No job was submitted yet." in run("jobs", "c.yaml")[1]
    wait(jobs, jobs.submit(["python", "train.py"], workdir=work, env={"CODE": "3"}, name="train").id)
    ray.states = {"raysubmit_1": {"status": "RUNNING"}}
    _, out, _ = run("jobs", "c.yaml")
    assert "python train.py" in out
    assert "exit code 3; last line: args [] None" in " ".join(out.split())  # a narrow column is wrapped
    assert "raysubmit_1" in out
    document = json.loads(run("jobs", "c.yaml", "--json")[1])
    assert (document["jobs"][0]["state"], document["others"][0]["id"]) == ("failed", "raysubmit_1")
    described = (
        (Path(__file__).parents[3] / "docs/jobs.md").read_text().partition("each job has ")[2].partition(". ")[0]
    )
    assert list(document["jobs"][0]) == re.findall(r"`(\w+)`", described)


def test_an_unknown_job_names_a_similar_one(run: Any, jobs: ClusterJobs, work: Path) -> None:
    wait(jobs, jobs.submit(["python", "train.py"], workdir=work, name="train").id)
    code, _, err = run("logs", "c.yaml", "trian")
    assert (code, "there is no job 'trian'; did you mean train" in err) == (11, True)
    assert "next: flambe-ans jobs c.yaml" in err
