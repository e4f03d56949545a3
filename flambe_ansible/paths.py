"""Where this package finds its playbooks and keeps its state."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent


def collections_root() -> Path:
    """Find the folder that holds ``ansible_collections``, in a checkout and in an installed package."""
    installed = PACKAGE / "collections"
    return installed if installed.is_dir() else PACKAGE.parent / "collections"


def collection() -> Path:
    """Find the collection ``flambe.cluster``: its playbooks, roles and plugins."""
    return collections_root() / "ansible_collections" / "flambe" / "cluster"


def state_root() -> Path:
    """Find the folder of this user's state: ``$FLAMBE_ANS_STATE``, else the platform's own (XDG on Linux)."""
    configured = os.environ.get("FLAMBE_ANS_STATE")
    return Path(configured) if configured else Path(platformdirs.user_state_dir("flambe-ansible", appauthor=False))


def cluster_state(name: str, *identity: str) -> Path:
    """Make (0700) and return the state folder of one cluster.

    Args:
        name: The cluster's name.
        identity: What else tells it from clusters of the same name: creator, region, endpoint.
    """
    digest = hashlib.sha256("\0".join((name, *identity)).encode()).hexdigest()[:12]
    folder = state_root() / "clusters" / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
