"""A progress display with rate and remaining time: a bar on a terminal, a line now and then elsewhere.

The rate is counted from the first answer: what was before it, an engine's start, is no part of it. Answers count when
they are stored, in groups. What is counted together with the first one took its time before it, so it is no part of
the rate either: a run whose answers are all in one group has none.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final, Self, TextIO

from mmrope_eval.util.console import say
from mmrope_eval.words import visible

Told = Callable[[bool, bool], None]
"""Hears of every sample: whether it failed, and whether it was asked."""

TOGETHER: Final = 0.1
"""Seconds after the first answer in which others are taken to be of its group."""


class Pace:
    """Answers a second, of one process or row. Times are seconds of any clock that runs forward."""

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


class Progress:
    """Counts samples of one cell on stderr. Use as a context manager."""

    def __init__(self, label: str, total: int, done: int = 0, *, stream: TextIO | None = None, every: float = 10.0,
                 told: Told | None = None) -> None:
        self.label, self.total, self.done, self.failed = label, total, done, 0
        self._stream = stream or sys.stderr
        self._every = every
        self._told = told
        self._spoke = time.monotonic()
        self._said = done
        self._pace = Pace()
        self._bar: Any = None
        self._task: Any = None
        if self._stream.isatty():
            self._open_bar()

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TextColumn("left"),
                        TimeRemainingColumn(), console=Console(file=self._stream), speed_estimate_period=60)
        self._task = self._bar.add_task(visible(self.label), start=False, total=self.total, completed=self.done,
                                        rate="")

    def advance(self, *, failed: bool = False, asked: bool = True) -> None:
        """One more sample has its outcome; one that was not asked says nothing of the rate."""
        self.done += 1
        self.failed += failed
        if self._told is not None:
            self._told(failed, asked)
        if asked:
            if self._bar is not None and not self._pace.begun:
                self._bar.start_task(self._task)
            self._pace.note(time.monotonic())
        if self._bar is not None:
            self._bar.update(self._task, advance=1, rate=self._rate_text())
        elif time.monotonic() - self._spoke >= self._every:
            self._speak()

    def _rate_text(self) -> str:
        rate = self._pace.rate(time.monotonic())
        parts = [f"{rate:.1f} samples/s"] if rate is not None else []
        return ", ".join([*parts, *([f"{self.failed} failed"] if self.failed else [])])

    def _speak(self) -> None:
        self._spoke, self._said = time.monotonic(), self.done
        left = self._pace.left(self.total - self.done, self._spoke)
        parts = [f"{self.label}: {self.done}/{self.total}", self._rate_text()]
        parts += [f"{clock(left)} left"] if self.done < self.total and left is not None else []
        say(", ".join(part for part in parts if part), file=self._stream, flush=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.done > self._said:
            self._speak()


def clock(seconds: float) -> str:
    """`h:mm:ss` or `m:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
