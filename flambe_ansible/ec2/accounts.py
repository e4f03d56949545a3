"""The accounts of credentials, kept between commands: an access key belongs to one account for its whole life.

https://docs.aws.amazon.com/STS/latest/APIReference/API_GetAccessKeyInfo.html. The keys are kept as digests.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

from flambe_ansible.files import write_json
from flambe_ansible.paths import state_root

_FILE = "accounts.json"
_VERSION = 1
_KEPT = 20  # accounts; the keys of assumed roles change every hour


def find(access_key: str, endpoint_url: str | None) -> str:
    """Return the account of an access key at an API's address; "" if it is not known."""
    return _read().get(_digest(access_key, endpoint_url), "")


def keep(access_key: str, endpoint_url: str | None, account: str) -> None:
    """Keep the account of an access key; the oldest ones are removed. A failure is ignored."""
    known = _read()
    known.pop(_digest(access_key, endpoint_url), None)
    recent = dict(list(known.items())[1 - _KEPT :])
    with suppress(OSError):
        path = state_root() / _FILE
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(path, {"version": _VERSION, "accounts": {**recent, _digest(access_key, endpoint_url): account}})


def _digest(access_key: str, endpoint_url: str | None) -> str:
    return hashlib.sha256(f"{endpoint_url or ''} {access_key}".encode()).hexdigest()[:32]


def _read() -> dict[str, str]:
    try:
        document = json.loads((state_root() / _FILE).read_text())
        if document["version"] == _VERSION:
            return {str(key): str(account) for key, account in document["accounts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}
