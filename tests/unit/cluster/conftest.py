"""The tests of clusters on AWS have an account each, if they ask for it."""

from __future__ import annotations

from tests.unit.aws_account import account, aws_session, make_cluster, no_pauses

__all__ = ["account", "aws_session", "make_cluster", "no_pauses"]
