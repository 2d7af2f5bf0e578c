"""How far a run or a study is, in OUTPUT/progress.json, for `mmrope-eval status` in another shell.

A thread writes the file every few seconds from numbers in memory, so that answering never waits for a disk. A file that
cannot be written (a full disk, a folder in its place) never fails a run; one that somebody else wrote is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from mmrope_eval.run.progress import Pace
from mmrope_eval.util.files import whole

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
