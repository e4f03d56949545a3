"""What instances and their disks cost: AWS's own prices, kept for a day, or those of a table in this package."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from flambe_ansible.ec2 import api
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.errors import AWSError
from flambe_ansible.files import write_json

TABLE = Path(__file__).with_name("prices.json")
CACHE_VERSION = 1
DAY = 86_400.0
SPOT_SECONDS = 3600.0  # spot prices change during the day
HOURS_PER_MONTH = 730  # AWS's own number for prices per month: https://aws.amazon.com/ebs/pricing/
DOLLARS = "aws"  # the partition whose prices the Pricing API has, in US dollars


class Source(StrEnum):
    """Where a price is from."""

    API = "api"
    SPOT = "spot"
    TABLE = "table"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Price:
    """A price in US dollars per hour; None if it is unknown."""

    usd: float | None = None
    source: Source = Source.UNKNOWN


UNKNOWN = Price()


class PriceBook:
    """The prices of one account's API, each read at most once a day.

    Args:
        clients: The API clients.
        cache: The file in which prices are kept; it is shared by all clusters.
    """

    def __init__(self, clients: Clients, cache: Path) -> None:
        self._clients = clients
        self._cache = cache
        self._failures: dict[Source, str] = {}  # why an API cannot be used

    @property
    def problem(self) -> str:
        """Why prices are not from AWS, or ""."""
        return "; ".join(dict.fromkeys(self._failures.values()))

    def find_instance(
        self, kind: str, *, region: str, zone: str | None = None, spot: bool = False, dedicated: bool = False
    ) -> Price:
        """Return the price of one instance with Linux for an hour.

        Args:
            kind: The instance type.
            region: The region.
            zone: The zone, for spot prices; None is the most expensive one of the region.
            spot: Whether it is a spot instance, whose table price would be wrong: there is none.
            dedicated: Whether it runs on dedicated hardware, whose fee per region is not included.
        """
        if spot:
            key = f"spot {kind} {zone or '*'}"
            return self._find(key, Source.SPOT, lambda: self._fetch_spot(kind, zone), region=region)
        filters = {
            "instanceType": kind,
            "regionCode": region,
            "operatingSystem": "Linux",
            "tenancy": "Dedicated" if dedicated else "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
            "operation": "RunInstances",
        }
        return self._find_product(
            f"{filters['tenancy'].lower()} {kind}", filters, region, None if dedicated else _find_in_table(kind, region)
        )

    def find_disk(self, volume_type: str, size: int, iops: int, *, region: str) -> Price:
        """Return the price of one volume for an hour.

        Args:
            volume_type: gp2, gp3 or io1.
            size: Its size in GB.
            iops: Its provisioned IOPS that cost extra.
            region: The region.
        """
        table = read_table(region)
        base = {"regionCode": region, "volumeApiName": volume_type}
        space = self._find_product(
            f"disk {volume_type}",
            {**base, "productFamily": "Storage"},
            region,
            table.get("disks", {}).get(volume_type),
        )
        parts = [(space, size)]
        if iops:
            filters = {**base, "productFamily": "System Operation", "group": "EBS IOPS"}
            parts.append(
                (self._find_product(f"iops {volume_type}", filters, region, table.get("iops", {}).get("io1")), iops)
            )
        return add([Price(multiply(one.usd, amount / HOURS_PER_MONTH), one.source) for one, amount in parts])

    def _find_product(self, name: str, filters: Mapping[str, str], region: str, in_table: float | None) -> Price:
        """Return the price of a product by the Pricing API, or by the table if the API cannot be used."""
        if self._clients.ec2.meta.partition != DOLLARS:
            return UNKNOWN
        found = self._find(
            name, Source.API, lambda: read_price(api.get_products(self._clients.pricing, filters)), region=region
        )
        if found.usd is None and in_table is not None and Source.API in self._failures:
            return Price(in_table, Source.TABLE)
        return found

    def _find(self, name: str, source: Source, fetch: Callable[[], float | None], *, region: str) -> Price:
        """Return a price by the cache or by an API, which is not called again after a failure."""
        key = f"{self._clients.endpoint_url or ''} {region} {name}"
        oldest = time.time() - (SPOT_SECONDS if source is Source.SPOT else DAY)
        known = _read_cache(self._cache).get(key)
        if known and known["time"] >= oldest:
            return Price(known["usd"], source)
        if source in self._failures:
            return UNKNOWN
        try:
            usd = fetch()
        except AWSError as error:
            self._failures[source] = error.reason or error.message
            return UNKNOWN
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._failures[source] = f"malformed answer: {error!r}"
            return UNKNOWN
        if usd is None:
            return UNKNOWN
        self._keep(key, usd)
        return Price(usd, source)

    def _fetch_spot(self, kind: str, zone: str | None) -> float | None:
        prices = api.describe_spot_price_history(self._clients.ec2, kind, now=datetime.now(UTC))
        return prices.get(zone) if zone else max(prices.values(), default=None)

    def _keep(self, key: str, usd: float) -> None:
        """Write a price to the cache; two processes at once can lose one, which is read again."""
        now = time.time()
        prices = {name: one for name, one in _read_cache(self._cache).items() if one["time"] > now - DAY}
        prices[key] = {"usd": usd, "time": now}
        with suppress(OSError):  # it is only a cache
            self._cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(self._cache, {"version": CACHE_VERSION, "prices": prices})


def read_price(products: list[str]) -> float | None:
    """Return the highest price in US dollars of products of the Pricing API; None without one that costs something.

    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
    """
    found = []
    for text in products:
        terms = json.loads(text).get("terms", {}).get("OnDemand", {})
        for term in terms.values():
            found += [float(one["pricePerUnit"].get("USD", 0)) for one in term["priceDimensions"].values()]
    return max((usd for usd in found if usd > 0), default=None)


def add(prices: list[Price]) -> Price:
    """Add prices; the sum is unknown if one of them is, and has the source that is least current."""
    if any(one.usd is None for one in prices):
        return UNKNOWN
    order = list(Source)
    source = max((one.source for one in prices), key=order.index, default=Source.UNKNOWN)
    return Price(sum(one.usd or 0.0 for one in prices), source)


def multiply(usd: float | None, factor: float) -> float | None:
    """Multiply a price; None stays None."""
    return None if usd is None else usd * factor


def read_table(region: str) -> dict[str, Any]:
    """Return the prices of a region in the package's table; {} if it has none."""
    table = _load_table()
    found: dict[str, Any] = table["regions"].get(table["same_as"].get(region, region), {})
    return found


def table_date() -> str:
    """Return the date of the package's table, such as ``2025-10-01``."""
    return str(_load_table()["date"])


def _find_in_table(kind: str, region: str) -> float | None:
    """Return the price of a type: of its own, or of its family's ``large`` in proportion to the size."""
    table = read_table(region)
    family, _, size = kind.partition(".")
    known, factor = table.get("types", {}).get(kind), _load_table()["sizes"].get(size)
    large = table.get("large", {}).get(family)
    return known if known is not None else round(large * factor, 6) if large and factor else None


@lru_cache(maxsize=1)
def _load_table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TABLE.read_text())
    return found


def _read_cache(path: Path) -> dict[str, dict[str, float]]:
    """Read the cache; {} if there is none, or if it is malformed."""
    try:
        document = json.loads(path.read_text())
        if document["version"] != CACHE_VERSION:
            return {}
        return {key: {"usd": float(one["usd"]), "time": float(one["time"])} for key, one in document["prices"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
