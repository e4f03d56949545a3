"""The token of a Ray cluster: one file per host at Ray's default path, which only its owner can read."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files

PATH = ".ray/auth_token"  # below the home folder
_TOKEN = re.compile(r"[\x21-\x7e]{16,4096}\Z")


class TokenError(Exception):
    """The token cannot be used or written."""


class Token:
    """The token file of one account; ``fingerprint`` identifies the token without revealing it, "" if there is none."""

    def __init__(self, account, dry=False):
        self.account = account
        self.dry = dry
        self.path = os.path.join(account.pw_dir, PATH)
        self.text = self._read()

    @property
    def fingerprint(self):
        """The start of the token's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16] if self.text else ""

    def is_replaced(self, wanted="", rotate=False):
        """Return whether ``ensure`` would replace or create the token."""
        return rotate or not self.text or bool(wanted and wanted != self.text)

    def ensure(self, wanted="", rotate=False):
        """Make the file hold a token: the wanted one, else the present or a new one; return what changed, or ""."""
        if wanted and not _TOKEN.match(wanted):
            raise TokenError("the token is not one line of 16 or more printable characters")
        text = wanted or ("" if rotate else self.text) or secrets.token_hex(32)
        changed = "replace the token" if self.text and text != self.text else "write the token"
        if text == self.text and files.mode_of(self.path) == 0o600:
            return ""
        if text == self.text:
            changed = "make the token private"
        if not self.dry:
            with accounts.acting_as(self.account):
                files.ensure_folder(os.path.dirname(self.path), 0o700)
                files.write(self.path, text, 0o600)
            self.text = text
        return changed

    def _read(self):
        """Read the token; "" if there is none. A link, or a file of another user, is refused."""
        with accounts.acting_as(self.account):
            try:
                found = os.lstat(self.path)
            except (FileNotFoundError, NotADirectoryError):
                return ""
            if not stat.S_ISREG(found.st_mode) or found.st_uid != self.account.pw_uid:
                raise TokenError(f"{self.path} is not a file of user {self.account.pw_name}: remove it")
            text = (files.read(self.path) or "").strip()
        return text if _TOKEN.match(text) else ""
