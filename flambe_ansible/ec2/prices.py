"""What instances, disks and snapshots cost: AWS's own prices, kept for a day, or those of a table in this package."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from flambe_ansible.ec2 import api
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.errors import UnclearAnswerError
from flambe_ansible.ec2.price_cache import DAY, PriceCache
from flambe_ansible.errors import AWSError

TABLE = Path(__file__).with_name("prices.json")
SPOT_SECONDS = 3600.0  # spot prices change during the day
HOURS_PER_MONTH = 730  # AWS's own number for prices per month: https://aws.amazon.com/ebs/pricing/
SNAPSHOT_USAGE = "EBS:SnapshotUsage"  # the end of the usage type, which begins with the region in most regions
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

    If an API does not answer, it is not called again for some minutes.

    Args:
        clients: The API clients.
        cache: The file in which prices are kept; it is shared by all clusters.
    """

    def __init__(self, clients: Clients, cache: Path) -> None:
        self._clients = clients
        self._cache = PriceCache(cache)
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

    def find_snapshot(self, size: int, *, region: str) -> Price:
        """Return the highest price of a snapshot in the standard tier for an hour.

        AWS charges for the stored blocks that differ from earlier snapshots of the volume, which no API shows.
        https://aws.amazon.com/ebs/pricing/,
        https://docs.aws.amazon.com/ebs/latest/userguide/ebs-billing-usage-reports.html (usage types)

        Args:
            size: The size of its volume in GB.
            region: The region.
        """
        filters = {"regionCode": region, "productFamily": "Storage Snapshot"}
        one = self._find_product("snapshot", filters, region, read_table(region).get("snapshots"), usage=SNAPSHOT_USAGE)
        return Price(multiply(one.usd, size / HOURS_PER_MONTH), one.source)

    def _find_product(
        self, name: str, filters: Mapping[str, str], region: str, in_table: float | None, *, usage: str = ""
    ) -> Price:
        """Return the price of a product by the Pricing API, or by the table if the API cannot be used."""
        if self._clients.ec2.meta.partition != DOLLARS:
            return UNKNOWN

        def fetch() -> float | None:
            return read_price(api.get_products(self._clients.pricing, filters), usage=usage)

        found = self._find(name, Source.API, fetch, region=region)
        if found.usd is None and in_table is not None and Source.API in self._failures:
            return Price(in_table, Source.TABLE)
        return found

    def _find(self, name: str, source: Source, fetch: Callable[[], float | None], *, region: str) -> Price:
        """Return a price by the cache or by an API, which is not called again after a failure."""
        place = self._clients.endpoint_url or ""
        key = f"{place} {region} {name}"
        known = self._cache.find(key, seconds=SPOT_SECONDS if source is Source.SPOT else DAY)
        if known is not None:
            return Price(known, source)
        if source is Source.API and (failure := self._cache.find_failure(f"{place} {source}")):
            self._failures.setdefault(source, failure)
        if source in self._failures:
            return UNKNOWN
        try:
            usd = fetch()
        except AWSError as error:
            self._failures[source] = reason = error.reason or error.message
            if source is Source.API and isinstance(error, UnclearAnswerError):
                self._cache.keep_failure(f"{place} {source}", reason)
            return UNKNOWN
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._failures[source] = f"malformed answer: {error!r}"
            return UNKNOWN
        if usd is None:
            return UNKNOWN
        self._cache.keep(key, usd)
        return Price(usd, source)

    def _fetch_spot(self, kind: str, zone: str | None) -> float | None:
        prices = api.describe_spot_price_history(self._clients.ec2, kind, now=datetime.now(UTC))
        return prices.get(zone) if zone else max(prices.values(), default=None)


def read_price(products: list[str], *, usage: str = "") -> float | None:
    """Return the highest price in US dollars of products of the Pricing API; None without one that costs something.

    Products whose usage type does not end with ``usage`` do not count.
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
    """
    found = []
    for text in products:
        document = json.loads(text)
        if usage and not document["product"]["attributes"].get("usagetype", "").endswith(usage):
            continue
        terms = document.get("terms", {}).get("OnDemand", {})
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
