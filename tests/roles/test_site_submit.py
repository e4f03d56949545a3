"""submit.yml on the cluster of site.yml, only with ansible-playbook. The tests run in order, after those of test_site.

They are the last that use the cluster: its hosts are terminated after them, because an idle Ray costs processor time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.paths import collection
from flambe_ansible.pythons import find_uv
from tests.roles.conftest import SITE
from tests.roles.examples import join_examples
from tests.roles.lab_hosts import Fleet, Run, Site

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

SUBMIT = collection() / "playbooks/submit.yml"
HOSTS = ("head", "one", "two")
RESULTS = "a $HOME 100% result/output"
EXTENSION = "~/extensions/my ext"
UNITS = ("flambe-run", "flambe-tensorboard", "flambe-report-site")
RUN = "/opt/flambe/bin/flambe-run"
SCRIPT = 'echo begun; /usr/local/bin/ray stop; until test -e /var/tmp/go; do sleep 0.1; done; echo "$WHO"'


@pytest.fixture(scope="module")
def variables(cluster: Site, fleet: Fleet, first_run: Run) -> Iterator[dict[str, Any]]:
    """Return variables for the cluster of site.yml, with an extension in a folder with an unusual name on each host."""
    del first_run
    project = '[project]\nname = "my-ext"\nversion = "1"\n[tool.setuptools]\npy-modules = ["my_ext"]\n'
    for host in HOSTS:
        folder = "~/extensions/'my ext'"
        cluster.ssh(
            host,
            f"mkdir -p {folder} && cd {folder} && echo 'A = 1' > my_ext.py && cat > pyproject.toml <<'E'\n{project}E",
        )
    yield {
        "cluster_extensions_packages": {"my_ext": EXTENSION},
        "tensorboard_logdir": RESULTS,
        "tensorboard_uv_src": str(find_uv()),
        "report_site_output_dir": RESULTS,
    }
    fleet.terminate(fleet.hosts[:3])


def ask(cluster: Site, command: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(cluster.ssh("head", command, check=False).strip().splitlines()[-1])
    return document


def test_check_mode_before(cluster: Site, variables: dict[str, Any]) -> None:
    run = cluster.play(SUBMIT, "--check", "--diff", **variables).assert_ok()
    assert set(run.changed) == set(HOSTS)
    assert cluster.ssh("head", "ls -d /var/lib/flambe-run /opt/flambe-tensorboard 2>/dev/null; :") == ""


def test_first_run(cluster: Site, variables: dict[str, Any]) -> None:
    cluster.play(SUBMIT, "--diff", **variables).assert_ok()
    for host in HOSTS:
        assert cluster.ssh(host, "/opt/flambe/venv/bin/python -c 'import my_ext; print(my_ext.A)'") == "1\n"
    assert cluster.ssh("head", "systemctl is-active flambe-tensorboard flambe-report-site") == "active\nactive\n"
    assert cluster.ssh("head", "stat -c '%a %U' /var/lib/flambe-run") == "700 ubuntu\n"
    listening = cluster.ssh("head", "ss -ltnH | awk '{print $4}'").split()
    assert {"127.0.0.1:49556", "127.0.0.1:49558"} <= set(listening)
    assert not {place for place in listening if place.endswith((":49556", ":49558"))} - {
        "127.0.0.1:49556",
        "127.0.0.1:49558",
    }


def test_units_are_valid_and_pass_words_unchanged(cluster: Site) -> None:
    paths = " ".join(f"/etc/systemd/system/{unit}.service" for unit in UNITS)
    assert cluster.ssh("head", f"systemd-analyze verify {paths} 2>&1") == ""
    arguments = cluster.ssh(
        "head", "tr '\\0' '\\n' < /proc/$(systemctl show -p MainPID --value flambe-tensorboard)/cmdline"
    )
    assert RESULTS in arguments.splitlines()


def test_second_run_changes_nothing(cluster: Site, variables: dict[str, Any]) -> None:
    cluster.play(SUBMIT, **variables).assert_unchanged()
    cluster.play(SUBMIT, "--check", "--diff", **variables).assert_unchanged()


def test_only_changed_extensions_are_installed_again(cluster: Site, variables: dict[str, Any]) -> None:
    cluster.ssh("one", "cd ~/extensions/'my ext' && echo 'A = 2' > my_ext.py")
    run = cluster.play(SUBMIT, "--tags", "cluster_extensions", **variables).assert_ok()
    assert {host for host, count in run.changed.items() if count} == {"one"}
    assert cluster.ssh("one", "/opt/flambe/venv/bin/python -c 'import my_ext; print(my_ext.A)'") == "2\n"


def test_a_run_of_any_command(cluster: Site) -> None:
    factories = [host for name, host in cluster.groups["factories"]]
    names = [name for name, _ in cluster.groups["factories"]]
    head = cluster.groups["orchestrator"][0][1]
    spec = {
        "name": "anything",
        "command": ["/bin/bash", "-c", SCRIPT],
        "directory": "/home/ubuntu",
        "log": "output.log",
        "environment": {"WHO": "it's $me %h"},
        "hosts": {
            "user": "ubuntu",
            "head": {"name": "head", "address": head.address},
            "workers": [{"name": name, "address": host.address} for name, host in zip(names, factories, strict=True)],
        },
    }
    text = json.dumps(spec).replace("'", "'\\''")
    started = ask(cluster, f"echo '{text}' | {RUN} start")
    assert (started["state"], started["active"]) == ("running", True)
    refused = ask(cluster, f"echo '{text}' | {RUN} start")
    assert (refused["error"], refused["busy"]) == ("a job is running", True)
    cluster.ssh("head", "touch /var/tmp/go")
    ended = ask(cluster, f"{RUN} wait")
    assert (ended["state"], ended["exit_code"], ended["settling"]) == ("succeeded", 0, False)
    assert "it's $me %h\n" in cluster.ssh("head", f"{RUN} logs")
    nodes = ask(cluster, "/opt/flambe/bin/ray-nodes")["nodes"]
    assert {node["address"]: node["alive"] for node in nodes} == {host.address: True for host in (head, *factories)}


def test_site_changes_nothing_after_a_run_restarted_ray(cluster: Site, site_variables: dict[str, Any]) -> None:
    cluster.play(SITE, **site_variables).assert_unchanged()


def test_a_killed_supervisor_is_reported(cluster: Site) -> None:
    spec = cluster.ssh("head", "cat /var/lib/flambe-run/spec.json")
    long = json.dumps({**json.loads(spec), "command": ["/bin/sleep", "600"]}).replace("'", "'\\''")
    assert ask(cluster, f"echo '{long}' | {RUN} start")["active"]
    cluster.ssh("head", "until pgrep -fx '/bin/sleep 600'; do sleep 0.2; done")
    cluster.ssh("head", "sudo systemctl kill --kill-whom=main --signal=KILL flambe-run")
    ended = ask(cluster, f"{RUN} wait")
    assert (ended["state"], ended["reason"]) == ("failed", "its process was killed (signal)")
    assert cluster.ssh("head", "pgrep -fx '/bin/sleep 600'; :") == ""


def test_the_examples_in_the_readmes(cluster: Site, variables: dict[str, Any], wheel: Path) -> None:
    """The examples of roles that need the runtime of flambé."""
    folder = cluster.folder / "examples"
    (folder / "dist").mkdir(parents=True)
    shutil.copy(wheel, folder / "dist")
    workers = cluster.groups["factories"]
    site = Site(folder, cluster.key, {"workers": workers, "head": cluster.groups["orchestrator"]})
    for name, _ in workers:
        cluster.ssh(name, "cd ~/extensions && cp -r 'my ext' topics && cd topics && mv my_ext.py topics.py")
        cluster.ssh(name, "cd ~/extensions/topics && sed -i 's/my-ext/topics/; s/my_ext/topics/' pyproject.toml")
    path = folder / "example.yml"
    path.write_text(join_examples("flambe", "cluster_extensions", "report_site"))
    site.play(path, "--check").assert_ok()
    assert {name for name, count in site.play(path).assert_ok().changed.items() if count} == {"one", "two", "head"}
    site.play(path).assert_unchanged()
    statement = "import topics, tabulate; print(tabulate.__version__)"
    assert cluster.ssh("one", f"/opt/flambe/venv/bin/python -c '{statement}'") == "0.9.0\n"
    assert "my_experiment" in cluster.ssh("head", "systemctl show -p ExecStart flambe-report-site")
