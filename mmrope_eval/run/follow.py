"""`--verbose`: what others write into the logs of a run, shown as it comes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

EVERY: Final = 0.3
"""Seconds between two looks."""
OURS: Final = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
"""How a line of a log begins that the run has said itself."""


class Followed:
    """A growing file, of which whole lines are taken once; one that was shortened is taken up at its new end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = self._size()

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def lines(self) -> Iterator[str]:
        """What was added since, without what the run has said itself."""
        size = self._size()
        if size <= self._at:
            self._at = size
            return
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._at)
                added = stream.read(size - self._at)
        except OSError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            if not OURS.match(line):
                yield line.decode("utf-8", "replace")


@contextmanager
def following(paths: Sequence[Path], show: Callable[[str], None]) -> Iterator[None]:
    """Show every line that others add to the files meanwhile."""
    files = [Followed(path) for path in paths]
    ended = threading.Event()

    def look() -> None:
        for file in files:
            for line in file.lines():
                show(line)

    def watch() -> None:
        while not ended.wait(EVERY):
            look()

    thread = threading.Thread(target=watch, name="follow-logs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()
