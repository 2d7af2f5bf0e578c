"""The write-ahead log beside a store's file: whether commits in it were lost before SQLite reads it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_HEADER = 32
_FRAME = 24


def log_of(path: Path) -> Path:
    """The log of a store's file."""
    return path.with_name(f"{path.name}-wal")


def scrap_log(path: Path) -> None:
    """Remove the log and the memory beside a file's place: a file put there later would take them for its own."""
    for ending in ("-wal", "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)


def commits(path: Path) -> list[int]:
    """The places in the log, counted in frames from 1, at which a transaction ends; as its own header says, unread. A
    frame belongs to the log as it is now when it has the header's salt: older ones are left over."""
    places: list[int] = []
    with contextlib.suppress(OSError), log_of(path).open("rb") as file:
        header = file.read(_HEADER)
        size = int.from_bytes(header[8:12], "big")
        if len(header) < _HEADER or not 512 <= size <= 65536:
            return []
        number = 0
        while len(frame := file.read(_FRAME)) == _FRAME and frame[8:16] == header[16:24]:
            number += 1
            if any(frame[4:8]):
                places.append(number)
            file.seek(size, 1)
    return places


def lost_commits(connection: sqlite3.Connection, before: list[int]) -> int:
    """How many of the transactions that `commits` found SQLite could not read. Moves all others to the main file."""
    _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return sum(number > frames for number in before) if frames >= 0 else 0
