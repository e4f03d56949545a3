"""site.yml on three new hosts: from an empty host to a Ray cluster with flambé. The tests run in order."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.roles.conftest import SECRET, SITE
from tests.roles.lab_hosts import Run, Site

pytestmark = pytest.mark.lab

HOSTS = ("head", "one", "two")
START = re.compile(r"(?<!re)start Ray")


@pytest.fixture
def variables(site_variables: dict[str, Any], first_run: Run) -> dict[str, Any]:
    """Return the variables of the cluster, after the first run."""
    del first_run
    return site_variables


def ray_nodes(site: Site, host: str = "head") -> dict[str, bool]:
    answer = json.loads(site.ssh(host, "/opt/flambe/bin/ray-nodes"))
    return {node["address"]: node["alive"] for node in answer["nodes"]}


def addresses(site: Site) -> dict[str, bool]:
    return {host.address: True for members in site.groups.values() for _, host in members}


def test_check_mode_on_fresh_hosts(cluster: Site, site_variables: dict[str, Any]) -> None:
    run = cluster.play(SITE, "--check", "--diff", **site_variables).assert_ok()
    assert set(run.changed) == set(HOSTS)
    assert SECRET not in run.output
    for host in HOSTS:
        assert (
            cluster.ssh(
                host, "ls -d ~/ray_bootstrap_key.pem ~/setup.log /opt/flambe /etc/systemd/system/flambe-ray.service; :"
            )
            == ""
        )


def test_first_run_creates_a_ray_cluster(cluster: Site, first_run: Run) -> None:
    assert ray_nodes(cluster) == ray_nodes(cluster, "one") == addresses(cluster)
    for text in (SECRET, "stays-here", "PRIVATE KEY"):
        assert text not in first_run.output
    assert "from the controller" not in first_run.output  # the others copied uv from the head
    logins = cluster.ssh("head", "sudo journalctl -q -o cat -u ssh | grep 'Accepted publickey'")
    for address in [host.address for name, host in cluster.groups["factories"]]:
        assert f" from {address} " in logins
    for host in HOSTS:
        assert (
            cluster.ssh(host, "/opt/flambe/venv/bin/python -W ignore -c 'import flambe, ray; print(ray.__version__)'")
            == "0.7.6\n"
        )
        assert (
            cluster.ssh(host, "readlink /usr/local/bin/ray; ls /usr/local/bin/flambe; :")
            == "/opt/flambe/venv/bin/ray\n"
        )
        assert cluster.ssh(host, "cat ~/setup.log; wc -c < ~/stdin") == "ubuntu /home/ubuntu\n0\n"
        assert (
            cluster.ssh(host, "systemctl is-enabled flambe-ray; stat -c %a ~/ray_bootstrap_key.pem") == "enabled\n600\n"
        )
    assert cluster.ssh("head", "cat ~/secrets.ini; stat -c %a ~/secrets.ini") == f"[GIT]\ntoken = {SECRET}\n600\n"
    assert cluster.ssh("one", "ls ~/secrets.ini; :") == ""


def test_hosts_outside_the_cluster_cannot_reach_redis(cluster: Site, strangers: Site) -> None:
    head = dict(cluster.groups["orchestrator"])["head"].address
    for port in (12345, 12346):
        command = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{head}/{port}' 2>/dev/null && echo open || echo closed"
        assert strangers.ssh("box-a", command) == "closed\n"
        assert cluster.ssh("one", command) == "open\n"
        assert cluster.ssh("head", command) == "open\n"


def test_second_run_changes_nothing(cluster: Site, variables: dict[str, Any]) -> None:
    cluster.play(SITE, **variables).assert_unchanged()
    cluster.play(SITE, "--check", "--diff", **variables).assert_unchanged()


def test_the_idle_shutdown_checks_all_hosts(cluster: Site) -> None:
    show = "systemctl is-active flambe-idle-shutdown.timer && sudo systemctl start flambe-idle-shutdown && "
    for host in HOSTS:
        active, _, text = cluster.ssh(host, show + "/opt/flambe-idle-shutdown/bin/idle-shutdown show").partition("\n")
        state = json.loads(text)
        assert (active, state["interval"], state["timeout"]) == ("active", 60, -1 if host == "head" else 86_400)
        assert state["age"] < 60
        log = cluster.ssh(host, "sudo journalctl -q --no-pager -o cat -p warning -u flambe-idle-shutdown")
        assert log == ""


def test_timeouts_of_minus_one_remove_the_idle_shutdown(cluster: Site, variables: dict[str, Any]) -> None:
    found = "ls -d /opt/flambe-idle-shutdown /var/lib/flambe-idle-shutdown /etc/systemd/system/*idle-shutdown*; :"
    never = {**variables, "cluster_factories_idle_seconds": -1}
    limits = ("--limit", "two", "--tags", "idle_shutdown")
    assert cluster.play(SITE, *limits, **never).assert_ok().changed["two"] == 1
    assert cluster.ssh("two", found) == ""
    cluster.play(SITE, *limits, **never).assert_unchanged()
    assert cluster.play(SITE, *limits, **variables).assert_ok().changed["two"] == 1


def test_hosts_reach_each_other_with_strict_host_key_checking(cluster: Site) -> None:
    strict = "ssh -i ~/ray_bootstrap_key.pem -o BatchMode=yes -o StrictHostKeyChecking=yes"
    names = {name: host.address for members in cluster.groups.values() for name, host in members}
    for source in HOSTS:
        for target, address in names.items():
            expected = cluster.ssh(target, "hostname")
            assert cluster.ssh(source, f"{strict} {address} hostname; {strict} {target} hostname") == expected * 2
    assert len({cluster.ssh(host, "cat ~/ray_bootstrap_key.pub") for host in HOSTS}) == 1
    config = cluster.ssh("head", f"ssh -G {names['one']}")
    assert "connecttimeout 10" in config
    assert "serveraliveinterval 15" in config


def test_repairs_are_reported(cluster: Site, variables: dict[str, Any]) -> None:
    key = cluster.ssh("head", "cat ~/ray_bootstrap_key.pub")
    package = "/opt/flambe/venv/lib/python3.7/site-packages/flambe"
    ended = "while systemctl is-active -q flambe-ray; do sleep 0.2; done"
    cluster.ssh("one", f"sudo systemctl kill --signal=KILL flambe-ray; {ended}; rm -r {package}/runner")
    cluster.ssh("head", "rm ~/ray_bootstrap_key.pem ~/ray_bootstrap_key.pub ~/secrets.ini")
    cluster.ssh("two", "chmod 644 ~/ray_bootstrap_key.pem; echo '# mine' >> ~/.ssh/authorized_keys")
    run = cluster.play(SITE, **variables).assert_ok()
    assert ray_nodes(cluster) == addresses(cluster)
    assert cluster.ssh("head", "cat ~/ray_bootstrap_key.pub; stat -c %a ~/ray_bootstrap_key.pem") == f"{key}600\n"
    assert (
        cluster.ssh("two", "stat -c %a ~/ray_bootstrap_key.pem; grep -c '# mine' ~/.ssh/authorized_keys") == "600\n1\n"
    )
    assert run.results["Install the runtime", "one"]["msg"] == "repair flambe"
    assert START.search(run.results["Start or restart Ray with the facts of the head", "one"]["msg"])
    cluster.play(SITE, **variables).assert_unchanged()


def test_factories_reconnect_to_a_restarted_head(cluster: Site, variables: dict[str, Any]) -> None:
    cluster.ssh("head", "sudo systemctl stop flambe-ray")
    run = cluster.play(SITE, "--tags", "ray_node", **variables).assert_ok()
    assert START.search(run.results["Start Ray on all hosts", "head"]["msg"])
    assert ray_nodes(cluster) == addresses(cluster)
    cluster.play(SITE, "--tags", "ray_node", **variables).assert_unchanged()


@pytest.mark.parametrize("host", ["one", "head"])
def test_limited_to_one_host(cluster: Site, variables: dict[str, Any], host: str) -> None:
    cluster.play(SITE, "--limit", host, **variables).assert_unchanged()


def test_another_version_converges(cluster: Site, variables: dict[str, Any]) -> None:
    installed = "ls -d /opt/flambe/venv/lib/python3.7/site-packages/flambe-*"
    for version in ("0.4.16", "0.4.18"):
        run = cluster.play(
            SITE, "--limit", "two", "--tags", "flambe,ray_node", **{**variables, "flambe_version": version}
        )
        run.assert_ok()
        assert cluster.ssh("two", installed).strip().endswith(f"flambe-{version}.dist-info")
        joined = run.results["Start or restart Ray with the facts of the head", "two"]
        assert "restart Ray: its runtime changed" in joined["msg"]


def add_module(wheel: Path, text: str) -> None:
    """Add flambe.mine to a wheel."""
    with zipfile.ZipFile(wheel) as old:
        content = {name: old.read(name) for name in old.namelist()}
    content["flambe/mine.py"] = text.encode()
    content["flambe/__init__.py"] += b"import flambe.mine\n"
    content["flambe-0.4.18.dist-info/RECORD"] += b"flambe/mine.py,,\n"
    with zipfile.ZipFile(wheel, "w") as new:
        for name, data in content.items():
            new.writestr(name, data)


def test_a_local_wheel_and_the_return_to_a_release_converge(
    cluster: Site, variables: dict[str, Any], wheel: Path
) -> None:
    def play(*arguments: str) -> Run:
        limits = ["--limit", "two", "--tags", "flambe", *arguments]
        return cluster.play(SITE, *limits, **{**variables, "flambe_wheel_src": str(wheel)})

    found = "ls /opt/flambe/wheels; cat /opt/flambe/venv/lib/python3.7/site-packages/flambe/mine.py; :"
    assert play("--check", "--diff").assert_ok().changed["two"] == 1
    assert cluster.ssh("two", found) == ""
    play().assert_ok()
    assert cluster.ssh("two", found) == f"{wheel.name}\n"
    play("--check", "--diff").assert_unchanged()
    add_module(wheel, "this is broken\n")  # different content under the same name
    run = play()
    assert set(run.failed) == {"two"}
    assert "import flambe, ray failed with exit code 1" in run.output
    add_module(wheel, "MINE = 1\n")
    run = play().assert_ok()
    message = run.results["Install the runtime", "two"]["msg"]
    assert message.startswith("change to flambe==0.4.18, ")
    assert cluster.ssh("two", found) == f"{wheel.name}\nMINE = 1\n"
    play().assert_unchanged()
    cluster.play(SITE, "--limit", "two", **variables).assert_ok()
    assert cluster.ssh("two", found) == ""


def test_a_version_that_does_not_exist_keeps_the_installed_one(cluster: Site, variables: dict[str, Any]) -> None:
    run = cluster.play(SITE, "--limit", "two", "--tags", "flambe", **{**variables, "flambe_version": "9.9.9"})
    assert run.returncode == 2
    assert "there is no version of flambe==9.9.9" in run.output
    cluster.play(SITE, "--limit", "two", **variables).assert_unchanged()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"setup_cmds_commands": ["true", "echo seen; exit 7"]},
            "setup command 2 of 2 failed with exit code 7: echo seen; exit 7",
        ),
        (
            {"setup_cmds_commands": ["sleep 60"], "setup_cmds_timeout": 1},
            "setup command 1 of 1 (sleep 60): still running after 1 s; last output: none; raise setup_cmds_timeout",
        ),
        ({"setup_cmds_user": "no-such-user"}, "user no-such-user does not exist on this host"),
    ],
)
def test_setup_commands_that_fail(
    cluster: Site, variables: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    run = cluster.play(SITE, "--tags", "setup_cmds", **{**variables, **changes})
    assert run.returncode == 2
    assert set(run.failed) == set(HOSTS)
    result = run.results["Run the setup commands", "one"]
    assert expected in result["msg"]
    if "rc" in result:
        assert (result["rc"], result["output"]) == (7, "seen")


def test_setup_commands_run_when_changed_or_requested(cluster: Site, variables: dict[str, Any]) -> None:
    # The failures above were not recorded as done.
    cluster.play(SITE, "--tags", "setup_cmds", **variables).assert_unchanged()
    changed = [*variables["setup_cmds_commands"], "true"]
    for changes in ({"setup_cmds_commands": changed}, {"setup_cmds_rerun": True}):
        run = cluster.play(SITE, "--tags", "setup_cmds", **{**variables, **changes}).assert_ok()
        assert "(the commands changed)" in run.results["Run the setup commands", "one"]["msg"]
    rerun = cluster.play(SITE, "--tags", "setup_cmds", **{**variables, "setup_cmds_rerun": True}).assert_ok()
    assert "(requested)" in rerun.results["Run the setup commands", "one"]["msg"]


def test_a_missing_section_is_reported(cluster: Site, variables: dict[str, Any]) -> None:
    run = cluster.play(SITE, "--tags", "cluster_secrets", **{**variables, "cluster_secrets_sections": ["GIT", "AWS"]})
    assert run.returncode == 2
    assert "has no section [AWS]" in run.output
    assert SECRET not in run.output
    assert (
        "the secrets file does not exist: /no/such"
        in cluster.play(SITE, "--tags", "cluster_secrets", cluster_secrets_src="/no/such").output
    )


def test_a_host_missing_in_ray_is_reported_with_its_log(cluster: Site, variables: dict[str, Any]) -> None:
    cluster.ssh("two", "sudo cp /opt/flambe/venv/bin/ray /tmp/ray.kept; sudo systemctl stop flambe-ray")
    broken = "#!/bin/sh\\necho broken on purpose\\nexit 3\\n"
    ray = "/opt/flambe/venv/bin/ray"
    cluster.ssh("two", f"rm {ray}; printf '{broken}' > {ray}; chmod +x {ray}")
    try:
        run = cluster.play(SITE, "--tags", "ray_node", **{**variables, "ray_node_timeout": 20})
    finally:
        cluster.ssh("two", "cp /tmp/ray.kept /opt/flambe/venv/bin/ray")
    assert run.returncode == 2
    assert set(run.failed) == {"two"}
    assert "broken on purpose" in run.output
    cluster.play(SITE, **variables).assert_ok()
    assert ray_nodes(cluster) == addresses(cluster)
