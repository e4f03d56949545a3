"""Make the fixtures of the fake AWS account available."""

from __future__ import annotations

from tests.unit.aws_account import account, aws_session, make_cluster, no_pauses

__all__ = ["account", "aws_session", "make_cluster", "no_pauses"]
