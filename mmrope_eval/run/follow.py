"""`--verbose`: what others write into the logs of a run, shown as it comes."""

from __future__ import annotations

import os
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


def added(path: Path, place: int) -> tuple[list[str], int]:
    """The whole lines that were added to a file since a place in bytes, without what the run has said itself, and the
    place behind them. One that was shortened is taken up at its new end."""
    try:
        with path.open("rb") as stream:
            place = min(place, stream.seek(0, os.SEEK_END))
            stream.seek(place)
            content = stream.read()
    except OSError:
        return [], 0
    whole = content[: content.rfind(b"\n") + 1]
    lines = [line.decode("utf-8", "replace") for line in whole.splitlines() if not OURS.match(line)]
    return lines, place + len(whole)


@contextmanager
def following(paths: Sequence[Path], show: Callable[[str], None]) -> Iterator[None]:
    """Show every line that others add to the files meanwhile."""
    places = {path: path.stat().st_size if path.is_file() else 0 for path in paths}
    ended = threading.Event()

    def look() -> None:
        for path in paths:
            lines, places[path] = added(path, places[path])
            for line in lines:
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
