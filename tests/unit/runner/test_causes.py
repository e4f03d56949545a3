"""The user's error in the output of a failed job."""

from __future__ import annotations

import pytest
from causes import Causes

STOPPED = (
    "flambe.runnable.error.UnsuccessfulRunnableError: Stopping experiment at block 'train' because there was an error"
    " and stop_on_failure == True."
)
# As Ray 0.7.6 prints it.
TRIAL = """
2026-11-29 22:06:42,329	ERROR trial_runner.py:569 -- Error processing event.
Traceback (most recent call last):
  File "/opt/flambe/venv/lib/python3.7/site-packages/ray/worker.py", line 2121, in get
    raise value.as_instanceof_cause()
ray.exceptions.RayTaskError(KeyError): ray_TuneAdapter:train() (pid=775, host=ip-10-213-0-6)
  File "/opt/flambe/venv/lib/python3.7/site-packages/flambe/experiment/tune_adapter.py", line 143, in _train
    done = not self.block.run()
  File "/opt/flambe/venv/lib/python3.7/site-packages/topics/trainer.py", line 29, in run
    raise KeyError("no such label: " + str(self._step))
KeyError: 'no such label: 3'
(pid=775, ip=10.213.0.6) 2026-11-29 22:06:42,322	INFO trainable.py:358 -- Restored from checkpoint
""".strip().splitlines()
DRIVER = [
    "Traceback (most recent call last):",
    '  File "/opt/flambe/venv/lib/python3.7/site-packages/flambe/runner/run.py", line 105, in main',
    STOPPED,
]


def explain(lines: list[str]) -> str:
    causes = Causes()
    for line in lines:
        causes.feed([line])
    cause: str = causes.explain(lines[-3:])
    return cause


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([*TRIAL, *DRIVER], "stage train failed: KeyError: 'no such label: 3' (topics/trainer.py:29 in run)"),
        (
            ["ray.exceptions.RayTaskError: x", "ValueError: no frames", STOPPED],
            "stage train failed: ValueError: no frames",
        ),
        (DRIVER, STOPPED),
        ([*TRIAL, "Traceback (most recent call last):", "OSError: full"], "OSError: full"),
        (["a.TagError: no tag", "bye"], "a.TagError: no tag"),
        (["only this"], "only this"),
        ([], ""),
    ],
)
def test_the_cause_of_a_failure(lines: list[str], cause: str) -> None:
    assert explain(lines) == cause
