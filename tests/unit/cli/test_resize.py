"""``flambe-ans resize``, ``remove``, ``suspend`` and ``resume``: what they call, their notes and their errors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flambe_ansible.errors import ClusterBusyError, ClusterConfigurationError
from flambe_ansible.hosts import HostState
from flambe_ansible.launch.plan import Action
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import HOSTS, FakeCluster, make_plan


def test_a_larger_number_is_launched_and_the_file_is_compared(run: Run, cluster: FakeCluster) -> None:
    done = run("resize", "cluster.yaml", "4", "--yes")
    assert (done.code, ("keep_factories", 4) in cluster.calls) == (0, True)
    note = "note: cluster.yaml still has factories_num: 2; the next launch keeps all of them; change the file to keep 4"
    assert note in done.stderr


def test_a_smaller_number_removes_the_highest_ones(run: Run, cluster: FakeCluster) -> None:
    done = run("resize", "cluster.yaml", "1", "--yes", "--timeout", "7", "--json")
    assert ("remove_hosts", [HOSTS[2].name], False, 7.0) in cluster.calls
    assert json.loads(done.stdout)["removed"] == [HOSTS[2].name]
    assert "still has factories_num: 2; the next launch creates 1 more" in done.stderr


def test_the_same_number_has_no_note(run: Run, cluster: FakeCluster) -> None:
    cluster.planned = make_plan(Action.REUSE)
    done = run("resize", "cluster.yaml", "2")
    assert (done.code, "factories_num" in done.stderr) == (0, False)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("resize", "cluster.yaml", "two"), "'two' is not a valid whole number."),
        (("resize", "cluster.yaml", "2.5"), "'2.5' is not a valid whole number."),
        (("resize", "cluster.yaml", "2", "--timeout", "long"), "'long' is not a valid number."),
        (("logs", "cluster.yaml", "--lines", "all"), "'all' is not a valid whole number."),
        (("open", "cluster.yaml", "--port", "http"), "'http' is not a valid whole number."),
    ],
)
def test_a_word_instead_of_a_number(run: Run, argv: tuple[str, ...], expected: str) -> None:
    done = run(*argv)
    assert (done.code, expected in done.stderr) == (2, True)


@pytest.mark.parametrize("words", [("factory", "1"), ("factory 1",), ("1",), (HOSTS[2].name,)])
def test_a_factory_is_given_by_number_or_name(run: Run, cluster: FakeCluster, words: tuple[str, ...]) -> None:
    assert run("remove", "cluster.yaml", *words, "--yes", "--force").code == 0
    assert ("remove_hosts", [HOSTS[2].name], True, 300.0) in cluster.calls


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["factory", "7"], 9, "has no host 'factory 7'; its factories: factory 0, factory 1"),
        (["orchestrator"], 3, "cannot be removed; nothing was changed"),
    ],
)
def test_other_hosts_are_refused(run: Run, cluster: FakeCluster, words: list[str], code: int, message: str) -> None:
    done = run("remove", "cluster.yaml", *words, "--yes")
    assert done.code == code
    assert message in " ".join(done.stderr.split())
    assert not any(call[0] == "remove_hosts" for call in cluster.calls)


def test_a_host_that_does_not_exist_leads_to_the_list_of_hosts(run: Run, cluster: FakeCluster) -> None:
    done = run("remove", "cluster.yaml", "factory", "7", "--yes")
    assert "next: flambe-ans status cluster.yaml" in done.stderr
    assert "next: flambe-ans remove" not in done.stderr


@pytest.mark.parametrize("argv", [("remove", "1"), ("resize", "1"), ("suspend",), ("resize", "4")])
def test_without_a_terminal_yes_is_required(run: Run, cluster: FakeCluster, argv: tuple[str, ...]) -> None:
    command, *rest = argv
    done = run(command, "cluster.yaml", *rest)
    assert done.code == 2
    assert not {call[0] for call in cluster.calls} & {"remove_hosts", "suspend", "run"}


@pytest.mark.parametrize("argv", [("remove", "1"), ("resize", "1"), ("suspend",), ("resume",)])
def test_hosts_that_are_not_managed(run: Run, cluster: FakeCluster, argv: tuple[str, ...]) -> None:
    cluster.failure = ClusterConfigurationError("demo: the hosts are not managed", hint="change the file")
    command, *rest = argv
    done = run(command, "cluster.yaml", *rest, "--yes")
    assert (done.code, "error: demo: the hosts are not managed" in done.stderr) == (3, True)


def test_tasks_that_do_not_end_keep_the_factory(run: Run, cluster: FakeCluster) -> None:
    cluster.failure = ClusterBusyError("cluster demo: Ray was not drained", hint="--force")
    assert run("remove", "cluster.yaml", "1", "--yes").code == 11


def test_suspend(run: Run, cluster: FakeCluster) -> None:
    cluster.hosts = [replace(HOSTS[0], state=HostState.STOPPED), *HOSTS[1:]]
    done = run("suspend", "cluster.yaml", "--yes", "--force", "--json")
    assert ("suspend", True) in cluster.calls
    assert json.loads(done.stdout) == {
        "name": cluster.name,
        "state": "suspended",
        "stopped": [host.name for host in HOSTS[1:]],
    }


def test_resume_creates_no_hosts(run: Run, cluster: FakeCluster) -> None:
    cluster.hosts = [replace(host, state=HostState.STOPPED) for host in HOSTS]
    cluster.factories_num = 5
    cluster.planned = make_plan(Action.START)
    assert run("resume", "cluster.yaml", "--yes").code == 0
    assert ("keep_factories", 2) in cluster.calls


@pytest.mark.parametrize(
    ("hosts", "message"), [(HOSTS[1:], "has no orchestrator"), (HOSTS[:1], "has no factory"), ((), "no hosts")]
)
def test_an_incomplete_cluster_is_not_resumed(run: Run, cluster: FakeCluster, hosts: tuple, message: str) -> None:  # type: ignore[type-arg]
    cluster.hosts = list(hosts)
    done = run("resume", "cluster.yaml", "--yes")
    assert (done.code, message in done.stderr) == (9, True)
