"""How far a run is: a bar on a terminal, elsewhere a line now and then, with rate and remaining time; progress.json.

The rate is counted from the first answer: what was before it, an engine's start, is no part of it. Answers count when
they are stored, in groups. What is counted together with the first one took its time before it, so it is no part of
the rate either: a run whose answers are all in one group has none.

`ProgressFile` keeps how far a run or a study is in OUTPUT/progress.json, for `mmrope-eval status` in another shell. A
thread writes it every few seconds from numbers in memory, so that answering never waits for a disk. A file that cannot
be written (a full disk, a folder in its place) never fails a run; one that somebody else wrote is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self, TextIO

from mmrope_eval.util.console import say
from mmrope_eval.util.files import whole
from mmrope_eval.words import visible

PROGRESS: Final = "progress.json"
WRITER: Final = "mmrope-eval"
"""The value of the file's key `writer`, by which it is known as ours."""
EVERY: Final = 3.0
"""Seconds between two writes."""


@dataclass
class RowProgress:
    """One row: a checkpoint under a variant, and the tasks of one run."""

    label: str
    folder: Path
    tasks: tuple[str, ...]
    state: str = "waiting"
    """waiting, running, done or failed."""
    total: int = 0
    done: int = 0
    """Samples with an outcome, failed ones included. Of a row whose turn has not come: those that have a score."""
    failed: int = 0
    cause: str = ""
    """Why a row failed."""


class Tally:
    """What a process has done of its rows. Written by one thread, read by another."""

    def __init__(self, rows: Sequence[RowProgress], now: Callable[[], float] = time.monotonic) -> None:
        self.rows = list(rows)
        self.now, self.lock = now, threading.Lock()
        self.pace = Pace()
        self.begun = False
        """Whether any row has had its turn; until then a command may be refused, and changes nothing."""

    def record(self, output: Path) -> dict[str, Any]:
        """The numbers for the file; folders are relative to `output`."""
        with self.lock:
            now = self.now()
            left = sum(row.total - row.done for row in self.rows if row.state in ("waiting", "running"))
            return {
                "pace": self.pace.rate(now),
                "left": left,
                "left_s": self.pace.left(left, now),
                "rows": [{**asdict(row), "folder": os.path.relpath(row.folder, output)} for row in self.rows],
            }


@dataclass(frozen=True)
class RowWatch:
    """One row's part of a tally."""

    tally: Tally
    row: RowProgress

    def begin(self, total: int, done: int, failed: int) -> None:
        """The row's turn has come, and its kept answers are counted."""
        with self.tally.lock:
            self.tally.begun = True
            row = self.row
            row.state, row.total, row.done, row.failed, row.cause = "running", total, done, failed, ""

    def advance(self, failed: bool, asked: bool) -> None:
        """One more sample has its outcome; one that was not asked says nothing of the pace."""
        with self.tally.lock:
            self.row.done += 1
            self.row.failed += failed
            if asked:
                self.tally.pace.note(self.tally.now())

    def finish(self, failed: int) -> None:
        """The row is scored."""
        with self.tally.lock:
            self.row.state, self.row.done, self.row.failed = "done", self.row.total, failed

    def fail(self, cause: str) -> None:
        """The row cannot be finished."""
        with self.tally.lock:
            self.tally.begun = True
            self.row.state, self.row.cause = "failed", cause


class ProgressFile:
    """Writes a tally's numbers while it is open, from its first row's turn on, and how it ended. A context manager."""

    def __init__(self, output: Path, tally: Tally, command: Sequence[str] = (), every: float = EVERY) -> None:
        self._path, self._output, self._tally, self._every = output / PROGRESS, output, tally, every
        self._head = {"format": 1, "writer": WRITER, "pid": os.getpid(), "host": platform.node(),
                      "command": list(command), "started": time.time()}  # fmt: skip
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="progress-file", daemon=True)

    def __enter__(self) -> Self:
        if is_ours(self._path):
            self._write("running")
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._thread.is_alive():
            return
        self._stop.set()
        self._thread.join()
        self._write("stopped" if kind else "ended")

    def _beat(self) -> None:
        while not self._stop.wait(self._every):
            self._write("running")

    def _write(self, state: str) -> None:
        if not self._tally.begun:
            return
        record = {**self._head, "updated": time.time(), "state": state, **self._tally.record(self._output)}
        with contextlib.suppress(OSError, ValueError), whole(self._path) as draft:  # never a reason for a run to fail
            draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def is_ours(path: Path) -> bool:
    """Whether progress.json may be written: there is none, a damaged one, or one of an earlier run."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return True
    return content is None or (isinstance(content, Mapping) and content.get("writer") == WRITER)


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
                 told: Callable[[bool, bool], None] | None = None) -> None:
        """`told` hears of every sample: whether it failed, and whether it was asked."""
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
