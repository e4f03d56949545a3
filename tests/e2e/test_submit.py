"""Experiments in the lab: submitted, followed, resumed, replaced, stopped, and with a lost host.

The tests share one cluster, also with test_submit_runnable.py, and run in their order.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flambe_ansible.lab import LabInfo
from tests.e2e import browser, cloud
from tests.e2e.commands import PROGRAM
from tests.e2e.experiments import NAME, PLANTED, Cluster
from tests.e2e.listeners import COMMAND, find_open, read_listeners

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

EXAMPLES = Path(__file__).parents[2] / "examples"
# The pattern is read from a pipe because sudo writes the arguments of a command into the journal.
SEARCH = f"printf %s '{PLANTED}' | sudo grep -rlF -f - /home /opt /etc /var /tmp --exclude-dir=cache 2>/dev/null; :"


@pytest.fixture(scope="module")
def cluster(experiments: Cluster) -> Cluster:
    return experiments


@pytest.fixture(scope="module")
def long(cluster: Cluster) -> Path:
    """Return the example with another name, a long training, and each variant on a separate factory.

    Its trainer pauses before each step: the training lasts for several tests, and would use all processors meanwhile.
    """
    extension = Path(shutil.copytree(EXAMPLES / "experiment/topics", cluster.folder / "slow"))
    trainer = extension / "topics/trainer.py"
    code, call = trainer.read_text(), "        goes_on = super().run()\n"
    assert call in code
    trainer.write_text("import time\n" + code.replace(call, f"        time.sleep(2)\n{call}"))
    text = (EXAMPLES / "experiment.yaml").read_text().replace("name: topics", "name: long")
    text = re.sub(r"(max_steps|patience): \d+", r"\1: 100000", text)
    text = text.replace("topics: experiment/topics", f"topics: {extension}")
    text = text.replace("experiment/topics.tsv", str(EXAMPLES / "experiment/topics.tsv"))
    path = cluster.folder / "long.yaml"
    # Each variant uses all CPUs of a factory: if one factory had both, its loss could end the run.
    path.write_text(f"{text}\ndevices: {{cpu: {os.cpu_count()}, gpu: 0}}\n")
    return path


def test_1_a_killed_submit_does_not_block_the_next(cluster: Cluster) -> None:
    argv = ["submit", EXAMPLES / "experiment.yaml", "--cluster", cluster.file, "--secrets", cluster.secrets, "--yes"]
    with cluster.start(*argv) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if " cluster_extensions " in line:
                break
        else:
            pytest.fail("the submission ended before it was killed")
        process.send_signal(signal.SIGKILL)
    assert cluster.status()["run"]["state"] == "none"


def test_2_the_example_completes(cluster: Cluster) -> None:
    document = cluster.submit(EXAMPLES / "experiment.yaml", "--follow")
    run = document["run"]
    assert (run["state"], run["name"], run["exit_code"]) == ("succeeded", "topics", 0)
    assert run["stages"] == dict.fromkeys(["dataset", "model", "train", "evaluate"], "succeeded")
    log = cluster.call("logs", cluster.file)
    assert "Experiment ended successfully" in log
    assert "\x1b" not in log


def test_3_all_hosts_are_ready_again_and_a_launch_changes_nothing(cluster: Cluster) -> None:
    cluster.await_run(lambda run: not run["settling"])
    status = cluster.status()
    assert (status["state"], status["ray"]["alive"]) == ("running", 3)
    launched = json.loads(cluster.call("launch", cluster.file, "--yes", "--json", "--secrets", cluster.secrets))
    assert set(launched["changed"].values()) == {0}
    assert launched["log"] is None  # no role was played


def test_3_only_the_cluster_reaches_ray(cluster: Cluster, lab: LabInfo, tmp_path: Path) -> None:
    """The Redis and the raylet of Ray 0.7 listen on all addresses, and have no password."""
    status = cluster.status()
    hosts = {"orchestrator": status["orchestrator"], "factory 0": status["factories"][0]}
    ports = {"orchestrator": {12345, 12346, 12347, 12348}, "factory 0": {12347, 12348}}
    outputs = {"orchestrator": cluster.on(COMMAND), "factory 0": cluster.on(COMMAND, "factory", "0")}
    assert read_listeners(outputs) == ports
    peer = "timeout 5 bash -c 'exec 3<>/dev/tcp/{}/12345' && echo open"
    assert cluster.on(peer.format(hosts["orchestrator"]["private_ip"]), "factory", "0") == "open\n"
    [stranger] = cloud.run(lab)
    try:
        for name, host in hosts.items():
            assert find_open(lab, stranger, host["private_ip"], {22, *ports[name]}, tmp_path) == [22], name
    finally:
        cloud.client(lab).terminate_instances(InstanceIds=[stranger])


def test_4_the_secret_is_in_one_place(cluster: Cluster) -> None:
    assert cluster.on(SEARCH).split() == ["/home/ubuntu/secrets.ini"]
    assert cluster.on("stat -c %a secrets.ini flambe.yaml output.log").split() == ["600"] * 3
    for index in ("0", "1"):
        assert cluster.on(SEARCH, "factory", index).split() == []
    found = subprocess.run(["grep", "-rlF", PLANTED, cluster.folder], capture_output=True, text=True, check=False)
    assert found.stdout.split() == [str(cluster.secrets)]


def test_5_results_are_refused_and_pulled(cluster: Cluster) -> None:
    error = cluster.submit(EXAMPLES / "experiment.yaml", code=11)["error"]
    assert error["kind"] == "ExistingResultsError"
    pulled = json.loads(cluster.call("pull", cluster.file, cluster.folder / "results", "--json"))
    folder = Path(pulled["path"])
    assert pulled["files"] > 10
    assert "Experiment ended successfully" in (folder / "output.log").read_text()
    assert list(folder.glob("train/*/checkpoint/**/*.pt")) or list(folder.glob("train/**/*.pt"))
    assert not (folder / "_resources").exists()


def test_6_the_sites_are_forwarded_to_free_ports(cluster: Cluster) -> None:
    with occupy(49556), cluster.start("open", cluster.file, "--json") as process:
        try:
            assert process.stdout is not None
            check_sites(json.loads("".join(iter(process.stdout.readline, "}\n")) + "}"))
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert "127.0.0.1:49556" in cluster.on("ss -ltn")
    assert not re.search(r"(0\.0\.0\.0|\*|\[::\]):4955[68]", cluster.on("ss -ltn"))


@contextmanager
def occupy(port: int) -> Iterator[None]:
    """Use a port of this machine, unless another process uses it."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def check_sites(sites: dict[str, str]) -> None:
    """Check both sites, and the link from one to the other."""
    assert not sites["tensorboard"].endswith(":49556/")
    assert 'href="tensorboard"' in fetch(sites["report_site"])
    for root in (sites["tensorboard"], sites["report_site"] + "tensorboard/"):
        tags = json.loads(fetch(root + "data/plugin/scalars/tags"))
        assert any("Validation/Accuracy" in names for run, names in tags.items() if run.startswith("train/"))
    with browser.start() as page:
        page.open(sites["report_site"], width=390, height=844)
        check_report(page)
        for root in (sites["tensorboard"], sites["report_site"] + "tensorboard/"):
            page.open(root)
            page.wait('document.body.innerHTML.includes("train/hidden_size=16") && document.fonts.check("16px Roboto")')
        assert page.failures() == {}
        hosts = {urlsplit(url).hostname for url in page.responses if not url.startswith("data:")}
        assert hosts == {"127.0.0.1"}


def check_report(page: browser.Page) -> None:
    """Check the page of a completed experiment in a window of a phone's width."""
    page.wait('document.getElementById("top-alert").innerText.includes("ended successfully")')
    page.wait('document.querySelector("canvas")')  # drawn by a script from this host
    counts = "Array.from(document.querySelectorAll('td'), one => one.id + ' ' + one.innerText).slice(0, 4)"
    assert page.evaluate(counts) == ["pending-count 0", "success-count 4", "failure-count 0", "total-count 4"]
    assert page.evaluate('document.getElementById("env").innerText') == "Ran on 2 factories"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    icon = 'getComputedStyle(document.querySelector(".navbar-toggler-icon")).backgroundImage'
    assert page.evaluate(icon).startswith("url(")
    page.evaluate('document.querySelector(".navbar-toggler").click()')
    page.wait('document.querySelector("#navbarResponsive.show a[href=tensorboard]")?.offsetWidth > 0')
    for name in ("configModal", "train"):
        page.evaluate(f'$("#{name}").modal("show"); 0')
        page.wait(f'document.querySelector("#{name}.show .modal-dialog")?.offsetWidth == 358')  # 16 px beside it
        # Bootstrap ignores a click while the dialog is moving.
        close = f'document.querySelector("#{name}.show .close")?.click()'
        page.wait(f'({close}, !document.querySelector(".modal-backdrop"))')


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def test_7_a_second_experiment_resumes_the_first(cluster: Cluster) -> None:
    before = cluster.on("ls topics/output__topics/train").split()
    assert before
    run = cluster.submit(EXAMPLES / "experiment-resume.yaml", "--follow")["run"]
    assert (run["state"], list(run["stages"])[-1]) == ("succeeded", "compare")
    after = cluster.on("ls topics/output__topics/train").split()
    assert [name for name in after if "experiment_state" not in name] == [
        name for name in before if "experiment_state" not in name
    ]


def test_8_a_busy_cluster_refuses_and_force_replaces(cluster: Cluster, long: Path) -> None:
    first = cluster.submit(long)["run"]
    error = cluster.submit(long, code=11)["error"]
    assert (error["kind"], error["state"]) == ("ClusterBusyError", "running")
    assert cluster.status()["run"]["id"] == first["id"]
    check_launches(cluster)
    assert (cluster.status()["run"]["id"], cluster.status()["run"]["active"]) == (first["id"], True)
    second = cluster.submit(long, "--force")
    assert second["replaced"]
    assert second["run"]["id"] != first["id"]
    assert "replaced: another job was started" in cluster.on("journalctl -u flambe-run -o cat --no-pager")


def check_launches(cluster: Cluster) -> None:
    """Launch while a job runs: without a change, and with another version."""
    started = "systemctl show flambe-ray --property InvocationID"
    before = cluster.on(started)
    launch = ["launch", cluster.file, "--yes", "--json", "--secrets", cluster.secrets]
    assert set(json.loads(cluster.call(*launch))["changed"].values()) == {0}
    text = cluster.file.read_text()
    cluster.file.write_text(f"{text}flambe_version: 0.4.17\n")
    error = json.loads(cluster.call(*launch, code=11))["error"]
    cluster.file.write_text(text)
    assert (error["kind"], error["state"]) == ("ClusterBusyError", "running")
    hosts = [f"{NAME}_{name}" for name in ("factory_0", "factory_1", "orchestrator")]
    assert all(host in error["message"] for host in hosts)
    assert (
        "flambe-ray.service is running and would be restarted: flambe changes from 0.4.18 to 0.4.17" in error["message"]
    )
    assert cluster.on(started) == before


def test_9_a_lost_factory_is_reported_and_the_run_continues(cluster: Cluster) -> None:
    cluster.await_run(lambda run: run["stage"] == "train")
    ask = "ps -eo args | grep '^ray_'"  # Ray shows the method that a process runs
    cloud.ask_until(lambda: cluster.on(ask, "factory", "0"), lambda shown: ":train" in shown, "factory 0 trains")
    killed = time.monotonic()
    argv = [PROGRAM, "ssh", str(cluster.file), "factory", "0", "--", "sudo systemctl poweroff --force --force"]
    pipes = {"stdin": subprocess.DEVNULL, "capture_output": True}
    subprocess.run(argv, env=cluster.environment, timeout=60, check=False, **pipes)
    run = cluster.await_run(lambda run: bool(run["lost"]) or not run["active"])
    assert time.monotonic() - killed < 150
    assert [one["name"] for one in run["lost"]] == [f"{NAME}_factory_0"]
    assert "the host does not answer" in run["lost"][0]["reason"]
    assert f"{NAME}_factory_0" in cluster.call("logs", cluster.file)
    assert run["state"] == "running"


def test_a_a_job_runs_on_the_factories_that_answer(cluster: Cluster, long: Path) -> None:
    cluster.call("ssh", cluster.file, "factory", "1", "--", "sudo systemctl mask --now ssh.service ssh.socket")
    document = cluster.submit(long, "--force", code=5)  # creates factory 0 anew, which was powered off
    assert {name: error["kind"] for name, error in document["failed"].items()} == {
        f"{NAME}_factory_1": "HostConnectionError"
    }
    assert (document["run"]["state"], document["state"]) == ("running", "degraded")
    first, second = (host["private_ip"] for host in document["factories"])
    environment = cluster.on("grep RemoteEnvironment flambe.yaml")
    assert (first in environment, second in environment) == (True, False)
    assert cluster.status()["ray"]["alive"] == 2  # Ray was restarted without the lost factory


def test_a_stop_ends_the_run_and_the_next_launch_restarts_ray(cluster: Cluster) -> None:
    cluster.await_run(lambda run: run["stage"] == "train")  # the site shows the state that the experiment has written
    stopped = json.loads(cluster.call("stop", cluster.file, "--json"))
    assert stopped["stopped"]
    assert (stopped["run"]["state"], stopped["run"]["settling"]) == ("stopped", False)
    assert cluster.on("pgrep -f flambe.runner.run").split() == []
    shown = json.loads(json.loads(cluster.on("curl -s http://127.0.0.1:49558/state")))
    assert (shown["finished"], shown["over"]) == (False, True)
    assert cluster.status()["state"] == "degraded"
    cluster.call("launch", cluster.file, "--yes", "--replace-dead", "--secrets", cluster.secrets)
    status = cluster.status()
    assert (status["state"], status["ray"]["alive"]) == ("running", 3)
    assert status["run"]["state"] == "stopped"
    assert json.loads(cluster.call("stop", cluster.file, "--json"))["stopped"] is False


def test_b_an_extension_that_cannot_be_installed_is_reported(cluster: Cluster, long: Path) -> None:
    bad = cluster.folder / "bad.yaml"
    bad.write_text("nothing: flambe-extension-that-does-not-exist==1.0\n" + long.read_text())
    error = cluster.submit(bad, "--force", code=6)["error"]
    assert {failure["host"] for failure in error["failures"]} == {
        f"{NAME}_orchestrator", f"{NAME}_factory_0", f"{NAME}_factory_1",
    }  # fmt: skip
    for failure in error["failures"]:
        assert failure["message"].startswith("extension nothing could not be installed")
        assert "flambe-extension-that-does-not-exist" in failure["output"]


def test_c_a_failed_run_has_a_reason_and_the_state_survives_a_reboot(cluster: Cluster, flambe_sdist: Path) -> None:
    checkout = Path(shutil.copytree(flambe_sdist, cluster.folder / "flambe"))
    with (checkout / "flambe" / "logo.py").open("a") as logo:
        logo.write('ASCII_LOGO = "this is a modified flambe"\n')
    with cluster.file.open("a") as file:
        file.write("flambe_source: flambe\n")
    wrong = cluster.folder / "wrong.ini"
    wrong.write_text("[TOPICS]\nsigning_key = another\n")
    argv = [
        "submit",
        EXAMPLES / "experiment.yaml",
        "--cluster",
        cluster.file,
        "--secrets",
        wrong,
        "--force",
        "--follow",
    ]
    output = cluster.call(*argv, code=11)
    assert "the resource sentences does not match its signature" in output
    assert "this is a modified flambe" in output
    ask = "cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic"
    boot = cluster.on(ask)
    cluster.on("sudo systemctl reboot")
    cloud.ask_until(lambda: cluster.on(ask), lambda now: now != boot and "UserspaceTimestamp" in now, "a reboot", 300)
    run = cluster.status()["run"]
    assert (run["state"], run["active"]) == ("failed", False)
    assert "does not match its signature" in run["reason"]
