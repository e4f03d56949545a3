"""The file in which prices are kept between commands, and that the Pricing API did not answer."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from flambe_ansible.files import write_json

VERSION = 1
DAY = 86_400.0
FAILURE_SECONDS = 300.0  # until an API that did not answer is called again


class PriceCache:
    """Prices and failures in one file; two processes at once can lose one, which is read again.

    Args:
        path: The file; it is shared by all clusters.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, key: str, *, seconds: float) -> float | None:
        """Return the price of a key if it is not older than so many seconds."""
        known = self._read()["prices"].get(key)
        return known["usd"] if known and known["time"] >= time.time() - seconds else None

    def keep(self, key: str, usd: float) -> None:
        """Keep a price."""
        self._write("prices", key, {"usd": usd}, seconds=DAY)

    def find_failure(self, key: str) -> str:
        """Return why an API did not answer in the last minutes; "" if it was not called, or answered."""
        known = self._read()["failures"].get(key)
        return known["reason"] if known and known["time"] >= time.time() - FAILURE_SECONDS else ""

    def keep_failure(self, key: str, reason: str) -> None:
        """Keep the reason why an API did not answer."""
        self._write("failures", key, {"reason": reason}, seconds=FAILURE_SECONDS)

    def _write(self, part: str, key: str, entry: dict[str, Any], *, seconds: float) -> None:
        now, document = time.time(), self._read()
        document[part] = {name: one for name, one in document[part].items() if one["time"] > now - seconds}
        document[part][key] = {**entry, "time": now}
        with suppress(OSError):  # it is only a cache
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(self._path, {"version": VERSION, **document})

    def _read(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Read both parts; they are empty if there is no file, or if it is malformed."""
        try:
            document = json.loads(self._path.read_text())
            if document["version"] == VERSION:
                prices, failures = document["prices"].items(), document.get("failures", {}).items()
                return {
                    "prices": {key: {"usd": float(one["usd"]), "time": float(one["time"])} for key, one in prices},
                    "failures": {
                        key: {"reason": str(one["reason"]), "time": float(one["time"])} for key, one in failures
                    },
                }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return {"prices": {}, "failures": {}}
