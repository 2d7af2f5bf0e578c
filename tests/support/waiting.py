"""Waiting for what happens in another thread or process, in place of a time in which it should have happened."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 300.0
"""Seconds: far longer than anything here takes on a machine that is busy, or stands still for a while."""


def eventually(condition: Callable[[], object], what: str) -> None:
    """Return when the condition holds; AssertionError with `what` when it never does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.01)
