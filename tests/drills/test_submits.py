"""Two submits to one cluster at the same time: one of them wins.

A submit reserves the cluster before it changes anything. The reservation is that of the product, held by processes on
this machine; so this module does not share the account of the other drills, whose reservations are replaced.
"""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flambe_ansible.errors import ClusterBusyError
from flambe_ansible.fleet.reservation import Reservation, find_holder
from tests.unit.fleet.test_reservation import HEAD, connections

PAIRS = 50


@pytest.mark.parametrize(
    "pair", [pytest.param(one, marks=() if one % 10 == 0 else pytest.mark.long) for one in range(PAIRS)]
)
def test_two_submits_at_once_reserve_the_cluster_once(connections: Any, pair: int) -> None:
    """The loser changes nothing, and the winner keeps its reservation."""
    start = threading.Barrier(2)

    def take(reservation: Reservation) -> bool:
        start.wait()
        time.sleep(random.Random(pair).uniform(0, 0.02))
        try:
            reservation.take(connections, HEAD)
        except ClusterBusyError:
            return False
        return True

    both = [Reservation("submit", cluster="demo") for _ in range(2)]
    try:
        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(take, both)) == [False, True]
        winner = next(one for one in both if one.held)
        winner.check()
        assert find_holder(connections, HEAD) is not None
    finally:
        for one in both:
            one.release()
    assert find_holder(connections, HEAD) is None


__all__ = ["connections"]
