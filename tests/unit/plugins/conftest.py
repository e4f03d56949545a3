"""Make the collection importable like in Ansible."""

from __future__ import annotations

import sys

from flambe_ansible.paths import collections_root

sys.path.insert(0, str(collections_root()))
