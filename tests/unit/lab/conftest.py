"""Make the fixture that skips pauses available."""

from __future__ import annotations

from tests.unit.aws_account import no_pauses

__all__ = ["no_pauses"]
