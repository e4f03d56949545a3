"""Prices: AWS's own, kept for a day, or those of the package's table; never 0 for an unknown one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flambe_ansible.ec2 import api, price_cache, prices
from flambe_ansible.ec2.errors import UnclearAnswerError
from flambe_ansible.ec2.prices import UNKNOWN, Price, PriceBook, Source
from flambe_ansible.errors import AWSError

# The form of AWS's answer, as of October 2026.
PRODUCT = {
    "product": {"productFamily": "Compute Instance", "attributes": {"instanceType": "t3.small"}, "sku": "S"},
    "serviceCode": "AmazonEC2",
    "terms": {
        "OnDemand": {
            "S.JRTCKXETXF": {
                "priceDimensions": {
                    "S.JRTCKXETXF.6YS6EN2CT7": {"unit": "Hrs", "pricePerUnit": {"USD": "0.0300000000"}, "appliesTo": []}
                },
                "sku": "S",
                "offerTermCode": "JRTCKXETXF",
            }
        },
        "Reserved": {"S.X": {"priceDimensions": {"S.X.Y": {"pricePerUnit": {"USD": "99.0"}}}}},
    },
}
DENIED = AWSError("Failed to read prices: denied", code="AccessDeniedException", reason="not authorized")


class Market:
    """The answers of the APIs; an error is raised."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.products: list[str] | AWSError = [json.dumps(PRODUCT)]
        self.spot: dict[str, float] | AWSError = {"us-east-1a": 0.01, "us-east-1b": 0.02}

    def answer(self, call: Any, value: Any) -> Any:
        self.calls.append(call)
        if isinstance(value, AWSError):
            raise value
        return value


@pytest.fixture
def market(monkeypatch: pytest.MonkeyPatch) -> Market:
    made = Market()
    monkeypatch.setattr(api, "get_products", lambda _client, filters: made.answer(filters, made.products))
    monkeypatch.setattr(api, "describe_spot_price_history", lambda _client, kind, **_more: made.answer(kind, made.spot))
    return made


@pytest.fixture
def open_book(tmp_path: Path) -> Callable[..., PriceBook]:
    """Return a function that opens the prices as a new process does."""

    def open_new(partition: str = "aws", endpoint: str | None = None) -> PriceBook:
        ec2 = SimpleNamespace(meta=SimpleNamespace(partition=partition))
        clients: Any = SimpleNamespace(ec2=ec2, pricing=None, endpoint_url=endpoint)
        return PriceBook(clients, tmp_path / "state" / "prices.json")

    return open_new


def find(book: PriceBook, kind: str = "t3.small", region: str = "us-east-1", **more: Any) -> Price:
    return book.find_instance(kind, region=region, **more)


def test_a_price_is_read_once_a_day(market: Market, open_book: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for _process in range(3):
        assert find(open_book()) == Price(0.03, Source.API)
    assert len(market.calls) == 1
    now = time.time()
    monkeypatch.setattr(price_cache.time, "time", lambda: now + price_cache.DAY + 1)
    find(open_book())
    assert len(market.calls) == 2
    assert market.calls[0]["tenancy"] == "Shared"


def test_prices_of_other_endpoints_regions_and_tenancies_are_others(market: Market, open_book: Any) -> None:
    find(open_book())
    find(open_book(endpoint="http://127.0.0.1:1"))
    find(open_book(), region="eu-west-1")
    find(open_book(), dedicated=True)
    assert [(one["regionCode"], one["tenancy"]) for one in market.calls] == [
        ("us-east-1", "Shared"),
        ("us-east-1", "Shared"),
        ("eu-west-1", "Shared"),
        ("us-east-1", "Dedicated"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2}',
        '{"version": 1, "prices": {"x": 1}}',
        '{"version": 1, "prices": {}, "failures": 3}',
        "\0",
    ],
)
def test_a_malformed_cache_is_read_again(market: Market, open_book: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "prices.json").write_text(text)
    assert find(open_book()) == Price(0.03, Source.API)
    assert find(open_book()) == Price(0.03, Source.API)
    assert len(market.calls) == 1


def test_the_table_is_used_if_the_api_is_not_allowed(market: Market, open_book: Any) -> None:
    market.products = DENIED
    book = open_book()
    assert find(book) == Price(0.0208, Source.TABLE)
    assert find(book, "m5.4xlarge", "us-west-2") == Price(0.768, Source.TABLE)
    assert find(book, "g4dn.xlarge", "eu-west-1") == Price(0.587, Source.TABLE)
    assert len(market.calls) == 1  # one refusal is enough
    assert book.problem == "not authorized"
    find(open_book())
    assert len(market.calls) == 2  # a refusal is not remembered: the permission may have been granted since


@pytest.mark.parametrize(
    ("kind", "region"), [("x9.large", "us-east-1"), ("t3.huge", "us-east-1"), ("t3.small", "mars-1"), ("", "us-east-1")]
)
def test_an_unknown_price_is_unknown(market: Market, open_book: Any, kind: str, region: str) -> None:
    market.products = DENIED
    assert find(open_book(), kind, region) == UNKNOWN
    assert find(open_book(), "t3.small", dedicated=True) == UNKNOWN
    market.products = []
    assert find(open_book(), kind, region) == UNKNOWN


def test_a_type_that_aws_does_not_know_is_not_taken_from_the_table(market: Market, open_book: Any) -> None:
    market.products = []
    assert find(open_book()) == UNKNOWN


def test_other_partitions_have_other_currencies(market: Market, open_book: Any) -> None:
    assert find(open_book(partition="aws-cn"), region="cn-north-1") == UNKNOWN
    assert market.calls == []


def test_spot_prices_are_those_of_the_zone_or_the_highest(market: Market, open_book: Any) -> None:
    book = open_book()
    assert find(book, spot=True, zone="us-east-1a") == Price(0.01, Source.SPOT)
    assert find(book, spot=True) == Price(0.02, Source.SPOT)
    assert find(book, spot=True, zone="us-east-1c") == UNKNOWN
    market.spot = DENIED
    assert find(open_book(), spot=True, zone="us-east-1a") == Price(0.01, Source.SPOT)
    assert find(open_book(), "t3.large", spot=True) == UNKNOWN  # the price on demand would be wrong


def test_disks_cost_by_size_and_iops(market: Market, open_book: Any) -> None:
    market.products = DENIED
    book = open_book()
    assert book.find_disk("gp2", 73, 0, region="us-east-1").usd == pytest.approx(0.01)
    io1 = book.find_disk("io1", 100, 5000, region="us-east-1")
    assert io1.usd == pytest.approx((100 * 0.125 + 5000 * 0.065) / 730)
    assert book.find_disk("gp2", 100, 0, region="mars-1") == UNKNOWN


SNAPSHOTS = {
    "EU-EBS:SnapshotUsage": "0.05",
    "EU-EBS:SnapshotUsageUnderBilling": "0.5",
    "EU-EBS:FastSnapshotRestore": "0.75",
}


def test_snapshots_cost_at_most_the_size_of_their_volumes(market: Market, open_book: Any) -> None:
    products = []
    for usage, usd in SNAPSHOTS.items():
        text = json.dumps(PRODUCT).replace("0.0300000000", usd)
        products.append(json.dumps({**json.loads(text), "product": {"attributes": {"usagetype": usage}}}))
    market.products = products
    assert open_book().find_snapshot(73, region="eu-west-1") == Price(pytest.approx(0.005), Source.API)
    assert market.calls == [{"regionCode": "eu-west-1", "productFamily": "Storage Snapshot"}]
    market.products = DENIED
    assert open_book().find_snapshot(100, region="us-west-2") == Price(pytest.approx(5 / 730), Source.TABLE)
    assert open_book().find_snapshot(100, region="mars-1") == UNKNOWN


def test_an_api_that_does_not_answer_is_called_again_after_minutes(
    market: Market, open_book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.products = UnclearAnswerError("Failed to read prices: Connect timeout on endpoint URL")
    for kind in ("t3.small", "m5.large", "t3.small"):
        book = open_book()
        assert find(book, kind).source is Source.TABLE
        assert book.problem == "Failed to read prices: Connect timeout on endpoint URL"
    assert len(market.calls) == 1
    find(open_book(endpoint="http://127.0.0.1:1"))  # another API
    assert len(market.calls) == 2
    now = time.time()
    monkeypatch.setattr(price_cache.time, "time", lambda: now + 301)
    market.products = [json.dumps(PRODUCT)]
    book = open_book()
    assert (find(book), book.problem) == (Price(0.03, Source.API), "")


def test_a_malformed_answer_is_no_price(market: Market, open_book: Any) -> None:
    for products in (["{"], ["[]"], ['{"terms": {"OnDemand": {"a": {}}}}']):
        market.products = products
        book = open_book()
        assert find(book) == Price(0.0208, Source.TABLE)
        assert book.problem.startswith("malformed answer")


def test_products_without_a_price_are_ignored() -> None:
    free = json.dumps(PRODUCT).replace("0.0300000000", "0.0000000000")
    assert prices.read_price([free]) is None
    assert prices.read_price([free, json.dumps(PRODUCT)]) == 0.03
    assert prices.read_price([json.dumps({"product": {}})]) is None


def test_a_sum_with_an_unknown_price_is_unknown() -> None:
    assert prices.add([Price(1.0, Source.API), Price(2.0, Source.TABLE)]) == Price(3.0, Source.TABLE)
    assert prices.add([Price(1.0, Source.API), UNKNOWN]) == UNKNOWN
