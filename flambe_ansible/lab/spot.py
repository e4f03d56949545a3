"""Spot Instances of the lab: what EC2 requires of a request, its id, and what cannot be done with the instances.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotMarketOptions.html
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from flambe_ansible.lab.answers import RefusedError
from flambe_ansible.lab.prices import find_spot_price

_LEAST = 0.001  # USD; the smallest price that EC2 accepts
_OPTIONS = "InstanceMarketOptions"


def is_spot(parameters: Mapping[str, str]) -> bool:
    """Return whether a RunInstances request is for Spot Instances."""
    return parameters.get(f"{_OPTIONS}.MarketType") == "spot"


def check(parameters: Mapping[str, str]) -> None:
    """Check the options of a request; only one-time requests are supported, as in the lab nothing repeats them."""
    if not is_spot(parameters):
        return
    options = f"{_OPTIONS}.SpotOptions"
    kind = parameters.get(f"{options}.SpotInstanceType", "one-time")
    behaviour = parameters.get(f"{options}.InstanceInterruptionBehavior", "terminate")
    if kind != "one-time":
        raise RefusedError("UnsupportedOperation", "The lab supports only one-time Spot Instance requests")
    if behaviour != "terminate":
        reason = f"The interruption behavior '{behaviour}' is not supported for one-time Spot Instance requests"
        raise RefusedError("InvalidParameterCombination", reason)
    _check_price(parameters.get(f"{options}.MaxPrice", ""), find_spot_price(parameters.get("InstanceType", "")))


def _check_price(text: str, current: float) -> None:
    if not text:
        return
    price = float(text) if re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", text) else 0.0
    if price < _LEAST:
        raise RefusedError("InvalidParameterValue", f"{text} is not a valid price: it must be at least {_LEAST}")
    if price < current:
        reason = f"Your Spot request price of {text} is lower than the minimum required Spot request fulfillment price"
        raise RefusedError("SpotMaxPriceTooLow", f"{reason} of {current:g}.")


def finish(instance: Any, parameters: Mapping[str, str]) -> None:
    """Give a new instance the id of its request."""
    if is_spot(parameters):
        instance.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"


def check_stop(instances: Iterable[Any]) -> None:
    """Refuse to stop Spot Instances.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/stop-spot-instance.html
    """
    for instance in instances:
        if instance.lifecycle == "spot":
            raise RefusedError(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot "
                "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )
