"""Make the collection importable, as Ansible does."""

from __future__ import annotations

import sys

from flambe_ansible.paths import collections_root

sys.path.insert(0, str(collections_root()))
