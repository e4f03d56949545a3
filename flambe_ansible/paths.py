"""The paths of the package's playbooks and of its state."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent


def collections_root() -> Path:
    """Return the folder that contains ``ansible_collections``, in a checkout or in an installed package."""
    installed = PACKAGE / "collections"
    return installed if installed.is_dir() else PACKAGE.parent / "collections"


def collection() -> Path:
    """Return the folder of the collection ``flambe.cluster``."""
    return collections_root() / "ansible_collections" / "flambe" / "cluster"


def state_root() -> Path:
    """Return the folder of this user's state: ``$FLAMBE_ANS_STATE``, else the platform's default (XDG on Linux)."""
    configured = os.environ.get("FLAMBE_ANS_STATE")
    return Path(configured or platformdirs.user_state_dir("flambe-ansible", appauthor=False)).absolute()


def cluster_state(name: str, *identity: str) -> Path:
    """Return the state folder of one cluster; it is created (0700) if it does not exist.

    Args:
        name: The cluster's name.
        identity: What else identifies it: creator, region, endpoint.
    """
    digest = hashlib.sha256("\0".join((name, *identity)).encode()).hexdigest()[:12]
    root = state_root()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)  # the mode of parents is that of the umask
    folder = root / "clusters" / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
