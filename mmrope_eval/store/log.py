"""The write-ahead log beside a store's file: whether commits in it were lost before SQLite reads it, and whether it is
the store's at all: SQLite takes whatever bears the name, and writes it into the file."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from pathlib import Path
from typing import Final

from mmrope_eval.store.file import DAMAGE, SCHEMA, StoreError, fault, free_name, open_uri, schema_of

_HEADER = 32
_FRAME = 24
NAME: Final = "store"
"""The key under which a file's own name stands in `meta`: a log that holds another is of another file."""


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


def name_store(connection: sqlite3.Connection) -> None:
    """Give the file a name that no other has, where it has none."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (NAME, uuid.uuid4().hex))


def foreign_log(path: Path) -> bool:
    """Whether the log beside a store was written beside another file, or by another state of this one.

    Nothing is changed: a connection for reading moves nothing from a log to the file. The store's own log bears its
    name, holds every question of the file, and does no damage to a file that is sound without it. What cannot be told
    counts as the store's own.
    """
    if not path.is_file() or not commits(path):
        return False
    alone, both = (open_uri(path, f"mode=ro{more}") for more in ("&immutable=1", ""))
    with contextlib.closing(alone), contextlib.closing(both):
        try:
            if schema_of(alone, path) != SCHEMA:
                return False
            name, asked = _name(alone), _asked(alone)
        except (*DAMAGE, StoreError):
            return False
        try:
            if schema_of(both, path) != SCHEMA or (name is not None and _name(both) != name) or asked - _asked(both):
                return True
            wrong = fault(both, SCHEMA) is not None
        except StoreError:
            return True
        except DAMAGE:
            wrong = True
        return wrong and fault(alone, SCHEMA) is None


def set_aside(path: Path) -> str:
    """Move the log away from a store, and say so."""
    log = log_of(path)
    aside = free_name(log, "foreign")
    log.rename(aside)
    return (f"{log} does not belong to {path.name} (it was written beside another file, or by another state of this "
            f"one): nothing of it is used, and it is now {aside.name}.")  # fmt: skip


def _name(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (NAME,)).fetchone()
    return None if row is None else str(row[0])


def _asked(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """What has been asked: it may move from one table to the other, and never goes."""
    return set(connection.execute("SELECT identity, sample FROM responses UNION SELECT identity, sample FROM earlier"))
