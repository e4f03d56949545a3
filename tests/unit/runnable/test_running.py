"""Runnables run in this process, and their errors."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from flambe_ansible.errors import ClusterError, RunError
from flambe_ansible.runnable import Runnable, running


class Fine(Runnable):
    def run(self, **kwargs: Any) -> None:
        self.given = kwargs


class Broken(Runnable):
    def run(self, **kwargs: Any) -> None:
        raise KeyError("a word")


class Refusing(Runnable):
    def run(self, **kwargs: Any) -> None:
        raise ClusterError("not today")


def test_options_are_passed_to_run() -> None:
    made = Fine()
    running.run(made, force=True)
    assert made.given == {"force": True, "verbose": False}


def test_an_error_has_the_line_of_user_code(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(RunError) as caught:
        running.run(Broken())
    assert caught.value.exit_code == 11
    assert caught.value.message.startswith("!tests.Broken.run raised KeyError: 'a word' (")
    assert f"{__file__}:" in caught.value.message
    assert 'raise KeyError("a word")' in caplog.text
    assert "flambe_ansible/runnable/running.py" not in caplog.text.split("Traceback", 1)[1]
    assert caplog.text.endswith("\nKeyError: 'a word'\n")


def test_errors_of_the_package_are_not_wrapped() -> None:
    with pytest.raises(ClusterError, match=r"^not today$"):
        running.run(Refusing())
