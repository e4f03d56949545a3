"""The lab's prices, in the form of AWS's Pricing API and of EC2's spot prices.

The lab has on-demand prices of a few types, in its own region; those of other types are unknown. Its spot prices are a
part of them. The form of a product: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.cloud import REGION, ZONE

LARGEST_PAGE = 100
SPOT_PART = 0.3  # of the on-demand price
OTHER_SPOT_PRICE = 0.005  # USD per hour, of types without an on-demand price
TYPES = {
    "t2.small": 0.023, "t2.medium": 0.0464, "t2.large": 0.0928,
    "t3.micro": 0.0104, "t3.small": 0.0208, "t3.medium": 0.0416, "t3.large": 0.0832, "t3.xlarge": 0.1664,
    "m5.large": 0.096, "m5.xlarge": 0.192, "c5.large": 0.085, "c5.xlarge": 0.17, "c6g.large": 0.068,
    "g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g5.xlarge": 1.006,
}  # fmt: skip
DISKS = {"gp2": 0.1, "gp3": 0.08, "io1": 0.125}  # per GB-month
IOPS = {"io1": 0.065}  # per month
# Per GB-month, by usage type. https://docs.aws.amazon.com/ebs/latest/userguide/ebs-billing-usage-reports.html
SNAPSHOTS = {"EBS:SnapshotUsage": 0.05, "EBS:SnapshotUsageUnderBilling": 0.0, "EBS:SnapshotArchiveStorage": 0.0125}
# https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_Filter.html (types of filters)
_FILTER_TYPES = ("TERM_MATCH", "EQUALS")


def get_products(operation: str, parameters: Mapping[str, Any]) -> Answer:
    """Answer a request to the Pricing API.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
    """
    if operation != "GetProducts":
        raise RefusedError("UnsupportedOperation", f"The lab does not offer {operation}")
    if parameters.get("ServiceCode") != "AmazonEC2":
        raise RefusedError("NotFoundException", "The lab has prices of the service AmazonEC2 only")
    products = [one for one in _list_products() if _matches(one, parameters.get("Filters") or ())]
    start = _read_start(parameters.get("NextToken"))
    end = start + min(int(parameters.get("MaxResults") or LARGEST_PAGE), LARGEST_PAGE)
    document: dict[str, Any] = {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(one) for one in products[start:end]],
    }
    if end < len(products):
        document["NextToken"] = f"lab-{end}"
    return Answer(200, "application/x-amz-json-1.1", json.dumps(document).encode())


def find_spot_price(kind: str) -> float:
    """Return what a Spot Instance of a type costs, in US dollars per hour."""
    return TYPES[kind] * SPOT_PART if kind in TYPES else OTHER_SPOT_PRICE


def describe_spot_prices(parameters: Mapping[str, Any], _forward: Any) -> Answer:
    """Answer DescribeSpotPriceHistory: the current price in the lab's zone.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
    """
    kinds = [value for key, value in parameters.items() if key.startswith("InstanceType.")] or list(TYPES)
    products = [value for key, value in parameters.items() if key.startswith("ProductDescription.")]
    zone = parameters.get("AvailabilityZone", ZONE)
    linux = not products or any(one.startswith("Linux/UNIX") for one in products)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    items = "".join(
        f"<item><instanceType>{escape(kind)}</instanceType><productDescription>Linux/UNIX</productDescription>"
        f"<spotPrice>{find_spot_price(kind):.6f}</spotPrice><timestamp>{now}</timestamp>"
        f"<availabilityZone>{ZONE}</availabilityZone></item>"
        for kind in kinds
        if kind in TYPES and linux and zone == ZONE
    )
    body = (
        '<DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>{hashlib.sha256(items.encode()).hexdigest()[:32]}</requestId>"
        f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken/></DescribeSpotPriceHistoryResponse>"
    )
    return Answer(200, "text/xml;charset=UTF-8", body.encode())


def _list_products() -> list[dict[str, Any]]:
    """List all products: for each type one per tenancy, and a reserved one without a price, as on AWS."""
    products = []
    for kind, usd in TYPES.items():
        system = {"instanceType": kind, "operatingSystem": "Linux", "preInstalledSw": "NA", "operation": "RunInstances"}
        used = {**system, "capacitystatus": "Used"}
        products.append(_make("Compute Instance", {**used, "tenancy": "Shared"}, usd, "Hrs"))
        products.append(_make("Compute Instance", {**used, "tenancy": "Dedicated"}, usd * 1.1, "Hrs"))
        reserved = {**system, "capacitystatus": "AllocatedCapacityReservation", "tenancy": "Shared"}
        products.append(_make("Compute Instance", reserved, 0.0, "Hrs"))
        windows = {**used, "operatingSystem": "Windows", "operation": "RunInstances:0002", "tenancy": "Shared"}
        products.append(_make("Compute Instance", windows, usd * 2, "Hrs"))
    for kind, usd in DISKS.items():
        products.append(_make("Storage", {"volumeApiName": kind}, usd, "GB-Mo"))
    for kind, usd in IOPS.items():
        products.append(_make("System Operation", {"volumeApiName": kind, "group": "EBS IOPS"}, usd, "IOPS-Mo"))
    for usage, usd in SNAPSHOTS.items():
        products.append(_make("Storage Snapshot", {"usagetype": usage, "storageMedia": "Amazon S3"}, usd, "GB-Mo"))
    return products


def _make(family: str, attributes: Mapping[str, str], usd: float, unit: str) -> dict[str, Any]:
    """Make a product with its on-demand price."""
    every = {"servicecode": "AmazonEC2", "regionCode": REGION, "location": "US East (N. Virginia)"}
    every["locationType"] = "AWS Region"
    sku = hashlib.sha256(json.dumps([family, dict(attributes)]).encode()).hexdigest()[:16].upper()
    term = f"{sku}.JRTCKXETXF"
    rate = f"{term}.6YS6EN2CT7"
    dimension = {
        "unit": unit,
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${usd:.10f} per {unit} of the lab",
        "appliesTo": [],
        "rateCode": rate,
        "pricePerUnit": {"USD": f"{usd:.10f}"},
    }
    offer = {
        "priceDimensions": {rate: dimension},
        "sku": sku,
        "effectiveDate": "2026-11-01T00:00:00Z",
        "offerTermCode": "JRTCKXETXF",
        "termAttributes": {},
    }
    return {
        "product": {"productFamily": family, "attributes": {**every, **attributes}, "sku": sku},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {term: offer}},
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }


def _matches(product: Mapping[str, Any], filters: Any) -> bool:
    """Return whether a product has all the attributes of the filters; ``productFamily`` is one, too."""
    known = {**product["product"]["attributes"], "productFamily": product["product"]["productFamily"]}
    folded = {key.lower(): value for key, value in known.items()}
    for one in filters:
        if one.get("Type") not in _FILTER_TYPES:
            raise RefusedError(
                "InvalidParameterException", f"The lab does not offer filters of the type {one.get('Type')}"
            )
        if folded.get(str(one.get("Field", "")).lower()) != one.get("Value"):
            return False
    return True


def _read_start(token: Any) -> int:
    """Read where a page starts from its token."""
    number = str(token or "lab-0").removeprefix("lab-")
    if not number.isdecimal():
        raise RefusedError(
            "InvalidNextTokenException", "The pagination token is invalid. Try again without a pagination token."
        )
    return int(number)
