"""AWS's Common Runtime (CRT), which botocore imports if it is installed: that takes a third of botocore's own import.

botocore uses it for profiles of ``aws login`` (their setting ``login_session``) and for SigV4a, which no call of this
package needs: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sign-in.html
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_USED_BY = b"login_session"
_FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}  # of profiles
_skips = False


def skip() -> None:
    """Import botocore without it from now on in this process, unless a profile needs it.

    The command line calls this. It changes botocore for the whole process, so a library must not.
    """
    global _skips
    _skips = True


@contextlib.contextmanager
def skipped() -> Iterator[None]:
    """Hide it from the imports of the block, if ``skip`` was called and no profile needs it."""
    if not _skips or "awscrt" in sys.modules or _is_needed():
        yield
        return
    sys.modules["awscrt"] = None  # type: ignore[assignment]  # its import raises ImportError
    try:
        yield
    finally:
        del sys.modules["awscrt"]


def _is_needed() -> bool:
    return any(_USED_BY in _read(os.environ.get(name) or default) for name, default in _FILES.items())


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError, RuntimeError):
        return Path(path).expanduser().read_bytes()
    return b""
