"""Write the result of every task to a file for the tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: aggregate
short_description: Write every task's result into a file
description: For tests.
"""


class CallbackModule(CallbackBase):
    """Collects results and writes one JSON file at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.results: list[tuple[str, str, Any]] = []

    def _add(self, result: Any) -> None:
        # The attributes got public names in ansible-core 2.19.
        task, host, found = (
            getattr(result, name, None) or getattr(result, f"_{name}") for name in ("task", "host", "result")
        )
        name = task.get_name().split(" : ")[-1]
        self.results.append((name, host.get_name(), json.loads(self._dump_results(found))))

    v2_runner_on_ok = v2_runner_on_unreachable = v2_runner_on_skipped = _add

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._add(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        document = {"results": self.results, "changed": dict(stats.changed), "failed": dict(stats.failures)}
        document["failed"].update(stats.dark)
        Path(os.environ["RECORD_FILE"]).write_text(json.dumps(document))
