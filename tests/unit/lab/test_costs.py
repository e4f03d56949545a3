"""Prices, limits and budgets of clusters in a served lab, whose API answers as AWS's does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.doctor.audit import make_rate
from flambe_ansible.ec2 import budgets
from flambe_ansible.ec2.prices import PriceBook
from flambe_ansible.ec2.tagged import Kind, Tagged
from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.hosts import HostState, Role
from flambe_ansible.lab import policies, throttling
from flambe_ansible.lab.authorization import Guard
from flambe_ansible.launch.plan import Effect, Plan
from flambe_ansible.paths import state_root
from flambe_ansible.providers import ec2_costs
from flambe_ansible.runtimes import RuntimeVersion
from tests.unit.lab.served import ServedLab, serve

DISK = 100 * 0.1 / 730
SMALL, LARGE = 0.0208 + DISK, 0.0832 + DISK
TOTAL = SMALL + 2 * LARGE
WITHOUT_PRICES = {
    "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": ["pricing:*", "ec2:DescribeSpotPriceHistory"], "Resource": "*"},
    ]
}
CREATING = {
    "RunInstances",
    "CreateTags",
    "PutMetricAlarm",
    "CreateSecurityGroup",
    "ImportKeyPair",
    "TerminateInstances",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with serve(tmp_path_factory.mktemp("lab")) as served:
        yield served


@pytest.fixture
def lab(shared: ServedLab, no_pauses: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedLab]:
    monkeypatch.setattr(AWSCluster, "resolve_runtime", lambda _self: RuntimeVersion(version="0.4.18"))
    monkeypatch.setitem(throttling.RATES, "GetProducts", 1000)
    for operation in ("PutMetricAlarm", "DeleteAlarms", "DescribeAlarms"):
        monkeypatch.setitem(throttling.RATES, operation, 1000)
    shared.gate._guard = Guard(shared.cloud, None)
    yield shared
    shared.gate._guard = Guard(shared.cloud, None)
    shared.cluster().terminate_instances()
    for instance in list(shared.cloud.instances()):
        shared.cloud.forget(instance)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock of the costs, in hours from now."""
    began = time.time()

    def set_clock(hours: float) -> None:
        fake = type("Clock", (), {"time": staticmethod(lambda: began + hours * 3600)})
        monkeypatch.setattr(ec2_costs, "time", fake)

    return set_clock


def count_changes(lab: ServedLab) -> list[str]:
    lines = map(json.loads, lab.log.read_text().splitlines())
    return [line["operation"] for line in lines if line["operation"] in CREATING and not line["dry_run"]]


def read_ends(lab: ServedLab) -> set[float]:
    tags = [lab.cloud.ec2.tags[one.id] for one in lab.cloud.instances() if one.state == "running"]
    accounts = [budgets.read(one.get(budgets.TAG, "")) for one in tags]
    return {one.ends if one else 0.0 for one in accounts}


def show(plan: Plan) -> dict[str, Any]:
    return dict(plan.to_dict()["costs"])


def test_a_plan_has_the_price_of_each_host_and_of_all(lab: ServedLab) -> None:
    plan = lab.cluster().plan()
    assert [round(one.price.per_hour or 0, 4) for one in plan.hosts if one.price] == [0.0345, 0.0969, 0.0969]
    costs = show(plan)
    assert costs["per_hour"] == pytest.approx(TOTAL, abs=1e-6)
    assert costs["per_day"] == pytest.approx(24 * TOTAL, abs=1e-5)
    assert (costs["prices"], costs["unknown"], costs["currency"]) == ("AWS Pricing API", [], "USD")


def test_prices_are_read_once_for_all_commands(lab: ServedLab) -> None:
    lab.cluster().plan()
    before = lab.calls().count(("pricing", "GetProducts"))
    lab.cluster(name="another").plan()
    assert lab.calls().count(("pricing", "GetProducts")) == before


def test_without_permission_the_table_is_used_and_named(lab: ServedLab) -> None:
    lab.gate._guard = Guard(lab.cloud, policies.parse(json.dumps(WITHOUT_PRICES)))
    costs = show(lab.cluster().plan())
    assert costs["prices"].startswith("table of this release, of 20")
    assert "pricing:GetProducts" in costs["problem"]
    assert costs["per_hour"] == pytest.approx(TOTAL, abs=1e-6)


def test_a_throttled_api_is_replaced_by_the_table(lab: ServedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(throttling.RATES, "GetProducts", 0)
    lab.gate._throttle._left.clear()
    costs = show(lab.cluster().plan())
    assert costs["prices"].startswith("table of this release")
    assert "ThrottlingException" in costs["problem"]


def test_unknown_prices_are_named(lab: ServedLab) -> None:
    costs = show(lab.cluster(factories_type="m6i.large").plan())
    assert (costs["per_hour"], costs["per_day"]) == (None, None)
    assert costs["unknown"] == ["trial_factory_0", "trial_factory_1"]


def test_a_price_above_the_limit_is_refused_before_anything_is_created(lab: ServedLab) -> None:
    before = count_changes(lab)
    limited = lab.cluster(max_price_per_hour=0.2)
    (problem,) = limited.plan().problems
    with pytest.raises(ClusterConfigurationError) as caught:
        limited.load_all_instances()
    assert caught.value.exit_code == 3
    assert str(problem) in str(caught.value)
    assert [(one.field, one.effect) for one in limited.plan().changes] == [("max_price_per_hour", Effect.REFUSED)]
    for part in (
        "max_price_per_hour is 0.2 USD",
        "0.2283 USD per hour",
        "1 t3.small for 0.0345",
        "2 t3.large for 0.0969",
    ):
        assert part in str(caught.value)
    assert count_changes(lab) == before
    lab.cluster(max_price_per_hour=0.3).load_all_instances()


def test_the_limit_counts_the_most_expensive_of_several_types(lab: ServedLab) -> None:
    types = {"factories_type": None, "factories_types": ["t3.small", "t3.large"]}
    assert show(lab.cluster(**types).plan())["per_hour"] == pytest.approx(0.1035, abs=1e-4)
    (problem,) = lab.cluster(**types, max_price_per_hour=0.2).plan().problems
    assert "2 t3.large for 0.0969 each" in str(problem)
    assert not lab.cluster(**types, max_price_per_hour=0.3).plan().problems


def test_new_spot_factories_have_spot_prices(lab: ServedLab) -> None:
    costs = show(lab.cluster(factories_spot=True).plan())
    assert "current spot prices" in costs["prices"]
    assert costs["per_hour"] == pytest.approx(0.1118, abs=1e-4)


def test_existing_hosts_of_a_listed_type_do_not_differ(lab: ServedLab) -> None:
    lab.cluster(factories_type="t3.small").load_all_instances()
    plan = lab.cluster(factories_type=None, factories_types=["t3.large", "t3.small"]).plan()
    assert [one.field for host in plan.hosts for one in host.changes] == []
    plan = lab.cluster(factories_type=None, factories_types=["t3.large", "m5.large"], factories_spot=True).plan()
    changes = {(one.field, one.current, one.wanted) for host in plan.hosts for one in host.changes}
    assert changes == {
        ("factories_types", "t3.small", "t3.large or m5.large"),
        ("factories_spot", "false", "true"),
    }


def test_the_limit_counts_existing_hosts(lab: ServedLab) -> None:
    lab.cluster(factories_num=1).load_all_instances()
    with pytest.raises(ClusterConfigurationError, match="max_price_per_hour"):
        lab.cluster(max_price_per_hour=0.2).load_all_instances()


@pytest.mark.parametrize("field", ["max_price_per_hour", "budget"])
def test_a_limit_that_cannot_be_checked_is_refused(lab: ServedLab, field: str) -> None:
    before = count_changes(lab)
    with pytest.raises(
        ClusterConfigurationError, match=r"price of m6i.large in us-east-1 is unknown.*or no such limit"
    ):
        lab.cluster(factories_type="m6i.large", **{field: 1000}).load_all_instances()
    assert count_changes(lab) == before


def test_without_limits_a_launch_asks_for_no_prices(lab: ServedLab) -> None:
    (state_root() / "prices.json").unlink(missing_ok=True)
    before = lab.calls().count(("pricing", "GetProducts"))
    lab.cluster().load_all_instances()
    assert lab.calls().count(("pricing", "GetProducts")) == before


def test_the_end_of_a_budget_is_on_all_hosts_and_does_not_drift(lab: ServedLab, at: Callable[[float], None]) -> None:
    at(0)
    lab.cluster(budget=TOTAL * 10).load_all_instances()
    (end,) = read_ends(lab)
    assert end == pytest.approx(time.time() + 36_000, abs=60)
    for instance in lab.cloud.instances():
        assert f"-ge {int(end)} ]" in instance.user_data.decode()
    before = [one for one in count_changes(lab) if one != "PutMetricAlarm"]
    at(5)
    again = lab.cluster(budget=TOTAL * 10)
    plan = again.plan()
    assert (plan.changes, plan.changes_anything) == ((), False)
    assert show(plan)["budget"]["spent"] == pytest.approx(TOTAL * 5, rel=0.01)
    again.load_all_instances()
    assert read_ends(lab) == {end}
    assert [one for one in count_changes(lab) if one != "PutMetricAlarm"] == before
    assert again._role_variables()["idle_shutdown_ends_at"] == budgets.write_time(end)


def test_added_hosts_and_a_changed_budget_move_the_end(lab: ServedLab, at: Callable[[float], None]) -> None:
    at(0)
    lab.cluster(budget=TOTAL * 10, factories_num=1).load_all_instances()
    (first,) = read_ends(lab)
    at(1)
    plan = lab.cluster(budget=TOTAL * 10).plan()
    (change,) = plan.changes
    assert (change.field, change.effect) == ("budget", Effect.IN_PLACE)
    assert plan.changes_anything
    lab.cluster(budget=TOTAL * 10).load_all_instances()
    (second,) = read_ends(lab)
    assert second < first
    lab.cluster(budget=TOTAL * 20).load_all_instances()
    (third,) = read_ends(lab)
    assert third == pytest.approx(second + 36_000, abs=2)


def test_a_spent_budget_is_refused_also_if_all_hosts_have_ended(lab: ServedLab, at: Callable[[float], None]) -> None:
    at(0)
    lab.cluster(budget=TOTAL).load_all_instances()
    at(2)
    for instance in lab.cloud.instances():
        lab.fleet.terminate(instance)
    before = count_changes(lab)
    with pytest.raises(
        ClusterConfigurationError, match=r"budget is 0\.228\d+ USD, and the cluster has spent 0\.23 USD"
    ):
        lab.cluster(budget=TOTAL).load_all_instances()
    assert count_changes(lab) == before
    lab.cluster(budget=TOTAL * 2).load_all_instances()
    lab.cluster().terminate_instances()
    lab.cluster(budget=TOTAL).load_all_instances()  # after flambe-ans down the count starts anew


def test_a_budget_for_existing_hosts_counts_from_their_start(lab: ServedLab, at: Callable[[float], None]) -> None:
    lab.cluster().load_all_instances()
    at(3)
    plan = lab.cluster(budget=TOTAL * 10).plan()
    assert show(plan)["budget"]["spent"] == pytest.approx(TOTAL * 3, rel=0.01)


def test_an_interrupted_launch_finds_its_end_again(lab: ServedLab, at: Callable[[float], None]) -> None:
    """The same request has the same end, so that it creates no host twice."""
    at(0)
    cluster = lab.cluster(budget=TOTAL * 10)
    existing = cluster.aws.find_existing()
    new = {"trial_orchestrator": Role.ORCHESTRATOR}
    first = cluster.aws.costs.settle(existing, new)
    cluster.aws.costs.record(first)
    at(1)
    assert lab.cluster(budget=TOTAL * 10).aws.costs.settle(existing, new) == first


def test_the_costs_of_running_hosts(lab: ServedLab, at: Callable[[float], None]) -> None:
    lab.cluster(budget=TOTAL * 10).load_all_instances()
    at(4)
    costs = lab.cluster(budget=TOTAL * 10)._measure_costs()
    assert costs
    document = costs.to_dict()
    assert document["so_far"] == pytest.approx(TOTAL * 4, rel=0.01)
    assert document["budget"]["spent"] == pytest.approx(TOTAL * 4, rel=0.01)
    for instance in lab.cloud.instances():
        lab.fleet.stop(instance)
    assert {host.state for host in lab.cluster().find_hosts()} == {HostState.STOPPED}
    stopped = lab.cluster()._measure_costs()
    assert stopped
    assert stopped.per_hour == pytest.approx(3 * DISK)
    assert stopped.so_far == 0


def test_costs_that_cannot_be_read_do_not_fail_the_status(lab: ServedLab) -> None:
    lab.cluster().load_all_instances()
    deny = {"Effect": "Deny", "Action": "ec2:DescribeVolumes", "Resource": "*"}
    policy = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, deny]}
    lab.gate._guard = Guard(lab.cloud, policies.parse(json.dumps(policy)))
    assert lab.cluster()._measure_costs() is None


def test_each_field_that_differs_is_shown_with_its_effect(lab: ServedLab) -> None:
    lab.cluster().load_all_instances()
    changed = lab.cluster(
        factories_num=1,
        orchestrator_type="t3.medium",
        volume_size=200,
        tags={"team": "ml"},
        factories_timeout=-1,
        orchestrator_timeout=2,
    )
    plan = changed.plan()
    found = {one.name: {change.field: change for change in one.changes} for one in plan.hosts}
    head = found["trial_orchestrator"]
    assert set(head) == {"orchestrator_type", "volume_size", "tags.team", "orchestrator_timeout"}
    assert (head["volume_size"].current, head["volume_size"].wanted) == ("100 GB", "200 GB")
    assert head["tags.team"].effect is Effect.IN_PLACE
    assert (head["orchestrator_timeout"].current, head["orchestrator_timeout"].wanted) == (
        "",
        "alarm after 180 min below 0.1 % CPU",
    )
    assert found["trial_factory_0"]["factories_timeout"].wanted == ""
    assert [(one.field, one.current, one.wanted, one.effect) for one in plan.changes] == [
        ("factories_num", "2", "1", Effect.NONE)
    ]
    assert plan.counts == {"add": 0, "change": 3, "replace": 0, "start": 0, "unchanged": 0}
    changed.load_all_instances()
    after = changed.plan()
    assert {change.field for one in after.hosts for change in one.changes} == {"orchestrator_type", "volume_size"}
    assert not after.changes_anything


def test_the_rules_of_the_own_group_are_compared(lab: ServedLab) -> None:
    absent = dict.fromkeys(("key", "key_name", "security_group", "subnet_id"))

    def make(source: str) -> AWSCluster:
        return lab.cluster(name="own", factories_num=1, ssh_sources=[source], **absent)

    assert make("203.0.113.0/24").plan().changes == ()  # it is created
    make("203.0.113.0/24").load_all_instances()
    assert make("203.0.113.0/24").plan().changes == ()
    changed = make("198.51.100.0/24").plan()
    assert [(one.field, one.current, one.wanted, str(one.effect)) for one in changed.changes] == [
        ("ssh_sources", "", "198.51.100.0/24", "in place"),
        ("ssh_sources", "203.0.113.0/24", "", "in place"),
    ]
    assert changed.changes_anything
    make("203.0.113.0/24").terminate_instances()


def test_the_lab_answers_in_pages_and_refuses_other_services(lab: ServedLab) -> None:
    pricing = lab.client("pricing")
    terms = [{"Type": "TERM_MATCH", "Field": "operatingSystem", "Value": "Linux"}]
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode="AmazonEC2", Filters=terms, PaginationConfig={"PageSize": 7}
    )
    lists = [page["PriceList"] for page in pages]
    assert {len(one) for one in lists[:-1]} == {7}
    kinds = [json.loads(text)["product"]["attributes"]["instanceType"] for one in lists for text in one]
    assert len(kinds) == 3 * len(set(kinds))
    with pytest.raises(pricing.exceptions.NotFoundException):
        pricing.get_products(ServiceCode="AmazonS3")
    with pytest.raises(pricing.exceptions.InvalidNextTokenException):
        pricing.get_products(ServiceCode="AmazonEC2", NextToken="x")


def test_spot_prices_of_the_lab(lab: ServedLab) -> None:
    price = lab.cluster().aws.costs.book.find_instance("t3.large", region="us-east-1", zone="us-east-1a", spot=True)
    assert (price.usd, str(price.source)) == (pytest.approx(0.0832 * 0.3), "spot")


def test_an_audit_has_the_prices_of_running_instances_volumes_and_snapshots(lab: ServedLab, tmp_path: Path) -> None:
    clients = lab.cluster().clients
    rate = make_rate(PriceBook(clients, tmp_path / "prices.json"), clients.region)

    def price(kind: Kind, **facts: Any) -> float | None:
        return rate(Tagged(kind=kind, id="x", cluster="trial", creator="ada", **facts))

    assert price(Kind.INSTANCE, type="t3.large", state="running") == pytest.approx(0.0832)
    assert price(Kind.INSTANCE, type="t3.large", state="stopped") == 0.0
    assert price(Kind.INSTANCE, type="m6i.large", state="running") is None
    assert price(Kind.VOLUME, type="gp2", size=100) == pytest.approx(0.0137, abs=1e-4)
    assert price(Kind.SNAPSHOT, size=100) == pytest.approx(5 / 730)  # at most
    assert (price(Kind.ALARM), price(Kind.IMAGE)) == (0.0, 0.0)
