"""User data of the lab's hosts: only scripts."""

from __future__ import annotations

import base64
import binascii

LIMIT = 16384


class UserDataError(Exception):
    """The user-data cannot be used."""


def read_user_data(encoded: str) -> str:
    """Decode the script of an instance's user-data from Base64; "" for none."""
    if not encoded:
        return ""
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserDataError("Invalid BASE64 encoding of user data") from error
    if len(raw) > LIMIT:
        raise UserDataError(f"User data is limited to {LIMIT} bytes")
    if not raw.startswith(b"#!"):
        raise UserDataError("The lab supports only user data that is a script with #! in its first line")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserDataError("The user data is not UTF-8 text") from error
