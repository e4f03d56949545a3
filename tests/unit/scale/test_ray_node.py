"""What role ray_node sends to all hosts, with the role's own templates."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.scale.templates import HostVars, make_templar, read, trust

ROLE = "ray_node"
LIST = "List the addresses in the inventory once for all hosts"
START = "Start Ray on all hosts"
SURVEY = "Find once the hosts that depend on the head"
JOIN = "Start or restart Ray with the facts of the head"
HEAD = "node-0"
FACTS = {
    "state": "present",
    "token": "x",
    "needs_token": True,
    "rejoins": True,
    "started": True,
    "restarted": False,
    "settled": True,
    "versions": {"Ray": "2.60.0", "Python": "3.11.2"},
    "head_address": "10.0.0.0",
}


def find_task(name: str) -> dict[str, Any]:
    [block] = read(ROLE, "tasks/start.yml")
    [task] = [one for one in [*block["block"], *read(ROLE, "tasks/join.yml")] if one["name"] == name]
    return dict(task)


class Play:
    """Some hosts after the first module of the role; ``facts`` has what it returned on them if it is not the usual."""

    def __init__(
        self, hosts: int = 3, *, facts: dict[str, dict[str, Any]] | None = None, known: bool = True, **play: Any
    ) -> None:
        names = [f"node-{index}" for index in range(hosts)]
        addresses = {one: f"10.0.{index >> 8}.{index & 255}" for index, one in enumerate(names)}
        self.hostvars = HostVars(
            {
                one: {
                    "inventory_hostname": one,
                    **({"private_ip": addresses[one]} if known else {"ansible_host": addresses[one]}),
                    "ray_node_info": {**FACTS, "address": addresses[one], **(facts or {}).get(one, {})},
                }
                for one in names
            }
        )
        self.play = {"ansible_play_hosts": names, "ansible_play_hosts_all": names, "__ray_node_token": {}, **play}
        # The two tasks that run once, on the first host.
        self.listed = self.template(names[0], LIST)["__ray_node_listed"]
        self.surveyed = self.template(names[0], SURVEY)["__ray_node_surveyed"]

    def make_templar(self, name: str, **changes: Any) -> Any:
        facts = {f"__ray_node_{one}": getattr(self, one) for one in ("listed", "surveyed") if hasattr(self, one)}
        own = {"inventory_hostname": name, "ray_node_info": self.hostvars.hosts[name]["ray_node_info"]}
        return make_templar(ROLE, **{**own, **facts, "hostvars": self.hostvars, **self.play, **changes})

    def template(self, name: str, task: str) -> Any:
        found = find_task(task)
        assert found["run_once"] is True
        return self.make_templar(name).template(trust(found["ansible.builtin.set_fact"]))

    def send(self, name: str, task: str, **changes: Any) -> tuple[dict[str, Any], int]:
        """Return the arguments of a task on one host, and how often it read the variables of a host."""
        templar, before = self.make_templar(name, **changes), self.hostvars.reads
        [block] = read(ROLE, "tasks/start.yml")
        common = block["module_defaults"]["flambe.cluster.ray_node"]
        files = ("script", "address_script")  # are looked up in the role's folder
        words = {name: value for name, value in common.items() if name not in files}
        found = templar.template(trust({**words, **find_task(task)["flambe.cluster.ray_node"]}))
        return found, self.hostvars.reads - before


def test_all_hosts_are_allowed() -> None:
    play = Play(ray_node_allow=["10.9.0.0/16"])
    for task in (START, JOIN):
        arguments, _ = play.send("node-1", task)
        assert arguments["allow"] == "10.9.0.0/16,10.0.0.0,10.0.0.1,10.0.0.2"
        assert arguments["keep_allowed"] is False
    first, _ = play.send(HEAD, START)
    assert (first["allow"], first["add_allowed"]) == ("10.9.0.0/16,10.0.0.0,10.0.0.1,10.0.0.2", True)


def test_earlier_addresses_are_kept_if_hosts_are_outside_of_the_play() -> None:
    play = Play(
        ansible_play_hosts_all=["node-1"],
        ansible_play_hosts=["node-1"],
        ray_node_members=[HEAD, "node-1"],
        ray_node_head=HEAD,
    )
    for task in (START, JOIN):
        assert play.send("node-1", task)[0]["keep_allowed"] is True


def test_a_worker_joins_a_head_outside_of_the_play_with_its_token() -> None:
    members = ["node-1", "node-2"]
    play = Play(
        ansible_play_hosts_all=members,
        ansible_play_hosts=members,
        ray_node_members=[HEAD, *members],
        ray_node_head=HEAD,
    )
    first, _ = play.send("node-1", START, __ray_node_token={"token": "t" * 64})
    assert (first["start"], first["early"], first["token"], first["new_token"]) == (True, False, "t" * 64, "")
    assert play.surveyed["again"] == []
    assert play.make_templar("node-1").template(trust("{{ __ray_node_waits_for }}")) == ["node-1"]


def test_hosts_of_another_cluster_in_the_same_play_use_their_own_members() -> None:
    play = Play(4, ray_node_members=[HEAD, "node-1"])
    second = {"ray_node_head": "node-2", "ray_node_members": ["node-2", "node-3"]}
    arguments, _ = play.send("node-3", JOIN, **second)
    assert arguments["allow"] == "10.0.0.2,10.0.0.3"
    first, _ = play.send("node-3", START, **second)
    assert (first["start"], first["new_token"], first["allow"]) == (False, "", "10.0.0.2,10.0.0.3")
    assert "__ray_node_surveyed.head != ray_node_head" in find_task("Join the head")["when"][1]


@pytest.mark.parametrize("hosts", [4, 256])
def test_a_worker_reads_the_variables_of_a_few_hosts(hosts: int) -> None:
    play = Play(hosts)
    for task in (START, JOIN):
        assert play.send("node-1", task)[1] <= 12


def test_all_hosts_start_at_once_with_the_same_new_token() -> None:
    play = Play()
    sent = [play.send(name, START)[0] for name in (HEAD, "node-1", "node-2")]
    [token] = {one["new_token"] for one in sent}
    assert len(token) == 64
    assert [(one["start"], one["early"], one["head_address"]) for one in sent] == [
        (True, False, ""), (True, True, "10.0.0.0"), (True, True, "10.0.0.0"),
    ]  # fmt: skip
    assert (play.surveyed["again"], play.surveyed["lacking"]) == ([], False)
    assert Play().send(HEAD, START)[0]["new_token"] != token
    assert find_task(LIST)["no_log"] is True


@pytest.mark.parametrize(
    ("facts", "again", "lacking"),
    [
        ({"node-1": {"settled": False}}, ["node-1"], False),
        ({"node-1": {"token": "another"}}, ["node-1"], True),
        ({HEAD: {"token": "another"}}, ["node-1", "node-2"], True),
        ({"node-1": {"token": "another", "needs_token": False}}, [], False),
        ({"node-1": {"versions": {"Ray": "2.59.0", "Python": "3.11.2"}}}, ["node-1"], False),
        ({"node-1": {"head_address": "10.0.0.9"}}, ["node-1"], False),
        # Ray of the workers joins at once again if the head was restarted, or was started beside workers that run.
        ({HEAD: {"restarted": True}}, ["node-1", "node-2"], False),
        ({"node-1": {"started": False}}, ["node-1"], False),
        ({HEAD: {"started": False}, "node-1": {"started": False}}, [], False),
        # All firewalls must allow an address that the inventory lacks.
        ({"node-1": {"address": "10.7.0.1"}}, [HEAD, "node-1", "node-2"], False),
        ({"node-1": {"state": "stopped"}}, [], False),
        ({HEAD: {"state": "stopped"}}, ["node-1", "node-2"], False),
    ],
)
def test_a_second_run_is_for_hosts_that_depend_on_the_head(
    facts: dict[str, dict[str, Any]], again: list[str], lacking: bool
) -> None:
    play = Play(facts=facts)
    assert (play.surveyed["again"], play.surveyed["lacking"]) == (again, lacking)


def test_without_addresses_in_the_inventory_workers_start_after_the_head() -> None:
    play = Play(known=False)
    assert play.send("node-1", START)[0]["start"] is False
    assert play.send(HEAD, START)[0]["start"] is True
    assert play.surveyed["again"] == [HEAD, "node-1", "node-2"]


def test_the_head_does_not_wait_for_a_host_whose_ray_is_stopped() -> None:
    play = Play(facts={"node-2": {"state": "stopped"}})
    assert set(play.make_templar(HEAD).template(trust("{{ __ray_node_expected }}"))) == {HEAD, "node-1"}


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("node-1", {}, []),  # the head was started, too: it lists no former node
        ("node-1", {HEAD: {"started": False}}, ["node-1"]),
        ("node-1", {HEAD: {"started": False}, "node-1": {"started": False}}, []),
        (HEAD, {}, [HEAD, "node-1", "node-2"]),
    ],
)
def test_the_head_waits_for_all_and_a_restarted_worker_for_itself(
    name: str, facts: dict[str, dict[str, Any]], expected: list[str]
) -> None:
    waits_for = Play(facts=facts).make_templar(name).template(trust("{{ __ray_node_waits_for }}"))
    assert sorted(waits_for) == expected


def test_workers_learn_the_state_of_the_head() -> None:
    play = Play(2, facts={HEAD: {"state": "stopped"}})
    assert play.send("node-1", JOIN)[0]["head_state"] == "stopped"


@pytest.mark.parametrize(
    ("waited", "again", "here", "missing", "absent"),
    [
        ({"missing": ["node-1"], "answer": ""}, {"missing": []}, {"missing": []}, [], []),
        ({"missing": ["node-1"], "answer": "a"}, {"missing": ["node-1"]}, {"missing": []}, ["node-1"], ["node-1"]),
        ({"missing": ["node-1"], "blocked": True}, {"skipped": True}, {"skipped": True}, ["node-1"], ["node-1"]),
    ],
)
def test_hosts_that_are_not_alive_at_the_end(
    waited: dict[str, Any], again: dict[str, Any], here: dict[str, Any], missing: list[str], absent: list[str]
) -> None:
    play = Play()
    play.hostvars.hosts[HEAD].update(__ray_node_waited=waited, __ray_node_waited_again=again)
    late = play.make_templar("node-1", __ray_node_waited={"skipped": True}, __ray_node_waited_here=here)
    assert late.template(trust("{{ __ray_node_late }}")) == ["node-1"]
    assert late.template(trust("{{ __ray_node_missing }}")) == missing
    assert late.template(trust("{{ __ray_node_absent }}")) == absent
    other = play.make_templar("node-2", __ray_node_waited={"skipped": True}, __ray_node_waited_here={"skipped": True})
    assert other.template(trust("{{ __ray_node_absent }}")) == []
    # A host that has left the play is reported by the head.
    play.play["ansible_play_hosts"] = [HEAD, "node-2"]
    head = play.make_templar(HEAD, __ray_node_waited=waited, __ray_node_waited_here={"skipped": True})
    assert head.template(trust("{{ __ray_node_absent }}")) == ["node-1"]
