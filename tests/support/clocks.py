"""The system's clock as a test needs it: one that runs faster or slower than the true one, or a time that is added."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


def clock_runs(monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    """From now on `time.monotonic` runs so many times as fast as it does."""
    true, since = time.monotonic, time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: since + times * (true() - since))


def clock_is_put_on(monkeypatch: pytest.MonkeyPatch, by: Callable[[], float]) -> None:
    """From now on `time.monotonic` is ahead by so many seconds."""
    true = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: true() + by())
