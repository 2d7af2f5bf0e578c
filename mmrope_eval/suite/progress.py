"""A progress display with rate and remaining time: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Self, TextIO

from mmrope_eval.console import say
from mmrope_eval.words import visible


class Progress:
    """Counts samples of one cell on stderr. Use as a context manager."""

    def __init__(
        self, label: str, total: int, done: int = 0, *, stream: TextIO | None = None, every: float = 10.0
    ) -> None:
        self.label, self.total, self.done, self.failed = label, total, done, 0
        self._stream = stream or sys.stderr
        self._every = every
        self._began = self._spoke = time.monotonic()
        self._at_start = done
        self._bar: Any = None
        self._task: Any = None
        if self._stream.isatty():
            self._open_bar()

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=Console(file=self._stream), speed_estimate_period=60,
        )
        self._task = self._bar.add_task(visible(self.label), total=self.total, completed=self.done, rate="")

    def advance(self, *, failed: bool = False) -> None:
        """One more sample has its outcome."""
        self.done += 1
        self.failed += failed
        if self._bar is not None:
            self._bar.update(self._task, advance=1, rate=self._rate_text())
        elif time.monotonic() - self._spoke >= self._every:
            self._speak()

    def _rate(self) -> float:
        return (self.done - self._at_start) / max(time.monotonic() - self._began, 1e-9)

    def _rate_text(self) -> str:
        failures = f", {self.failed} failed" if self.failed else ""
        return f"{self._rate():.1f} samples/s{failures}"

    def _speak(self) -> None:
        self._spoke = time.monotonic()
        left = (self.total - self.done) / self._rate() if self.done > self._at_start else float("nan")
        eta = f", {clock(left)} left" if self.done < self.total else ""
        say(f"{self.label}: {self.done}/{self.total}, {self._rate_text()}{eta}", file=self._stream, flush=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.done > self._at_start:
            self._speak()


def clock(seconds: float) -> str:
    """`h:mm:ss` or `m:ss`; an em dash for what is not known."""
    if seconds != seconds:
        return "—"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
