"""Answers a second, counted from the first one: what was before it, an engine's start, is no part of the rate.

Answers count when they are stored, in groups. What is counted together with the first one took its time before it, so
it is no part of the rate either: a run whose answers are all in one group has none.
"""

from __future__ import annotations

from typing import Final

TOGETHER: Final = 0.1
"""Seconds after the first answer in which others are taken to be of its group."""


class Pace:
    """Of one process or row. Times are seconds of any clock that runs forward."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._with_first = self._answered = 0

    @property
    def begun(self) -> bool:
        """Whether there was an answer."""
        return self._first is not None

    def note(self, now: float) -> None:
        """One more answer."""
        if self._first is None:
            self._first = now
        self._answered += 1
        self._with_first += now - self._first < TOGETHER

    def rate(self, now: float) -> float | None:
        """Answers a second; None where nothing came after the first group."""
        if self._first is None or self._answered == self._with_first:
            return None
        return (self._answered - self._with_first) / (now - self._first)

    def left(self, samples: int, now: float) -> float | None:
        """Seconds for so many samples; None where nothing is known."""
        rate = self.rate(now)
        return 0.0 if samples == 0 else None if rate is None else samples / rate
