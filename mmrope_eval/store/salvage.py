"""What is left of a damaged store: every row that is as it was written, moved to a new file."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mmrope_eval.store.file import (
    DAMAGE,
    OLD_TABLES,
    PAGE,
    SCHEMA,
    TABLES,
    Row,
    StoreError,
    create,
    insert,
    open_uri,
    read_rows,
    schema_of,
    tables_of,
)
from mmrope_eval.store.payload import checksum


@dataclass
class Contents:
    """What is sound in a store's file."""

    responses: dict[tuple[str, str], Row] = field(default_factory=dict)
    earlier: dict[tuple[str, str], Row] = field(default_factory=dict)
    contexts: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.responses or self.earlier)


def salvage(connection: sqlite3.Connection | None, path: Path, scratch: Path) -> Contents:
    """Everything in a file that is sound. `connection` reads it where it can be opened; `scratch` is a free file name.
    Where a table cannot be read to its end, ranges of keys around the damage are; where the first page is damaged,
    which says what tables there are, it is put back as our stores have it in a copy of the file."""
    contents = Contents()
    if connection is not None:
        with contextlib.suppress(*DAMAGE, StoreError):
            _gather(connection, schema_of(connection, path) or SCHEMA, contents)
    for schema in (SCHEMA, 1):
        if contents:
            break
        try:
            _with_first_page(path, scratch, schema)
            with contextlib.closing(open_uri(scratch, "mode=ro&immutable=1")) as copy:
                _gather(copy, schema, contents)
        except DAMAGE:
            continue
        finally:
            scratch.unlink(missing_ok=True)
    return contents


def _text(raw: bytes) -> str:
    """Text of a damaged row, which its checksum then refuses; it must not keep the others from being read."""
    return raw.decode("utf-8", "replace")


def _gather(connection: sqlite3.Connection, schema: int, contents: Contents) -> None:
    connection.text_factory = _text
    for table in tables_of(schema):
        kept: dict[tuple[str, str], Row] = getattr(contents, table)
        rows, whole = _range(connection, table, schema, "")
        # Where the table cannot be read to its end, by ranges of keys: some rows come twice.
        for row in (*rows, *(() if whole else _around(connection, table, schema, ""))):
            if row.sound(schema):
                kept.setdefault((row.identity, row.sample), row)
    if schema > 1:
        with contextlib.suppress(*DAMAGE):
            contents.contexts.update((key, content) for key, content in connection.execute("SELECT * FROM contexts")
                                  if checksum(content).hex() == key)  # fmt: skip


_DIGITS: Final = "0123456789abcdef"
_DEPTH: Final = 4
"""Digits of an identity by which ranges are cut: 65,536 of them, so that damage costs the rows of its own page."""


def _around(connection: sqlite3.Connection, table: str, schema: int, prefix: str) -> Iterator[Row]:
    """Rows of a range that holds damage, from smaller and smaller parts of it."""
    parts = {prefix + digit: _range(connection, table, schema, prefix + digit) for digit in _DIGITS}
    yield from (row for rows, _ in parts.values() for row in rows)
    readable = any(rows or whole for rows, whole in parts.values())  # else all of it lies in what is damaged
    if readable and len(prefix) + 1 < _DEPTH:
        for part, (_, whole) in parts.items():
            if not whole:
                yield from _around(connection, table, schema, part)


def _range(connection: sqlite3.Connection, table: str, schema: int, prefix: str) -> tuple[list[Row], bool]:
    """The rows whose identity begins with a prefix, and whether these are all that there are."""
    rows: list[Row] = []
    try:
        rows.extend(read_rows(connection, table, schema, "WHERE identity >= ? AND identity < ?",
                              (prefix, f"{prefix}\U0010ffff")))  # fmt: skip
    except DAMAGE:
        return rows, False
    return rows, True


def _with_first_page(path: Path, target: Path, schema: int) -> None:
    """A copy of a file with the first page of an empty store. Our tables' places in a file never differ."""
    target.unlink(missing_ok=True)
    with contextlib.closing(open_uri(target, "mode=rwc")) as empty:
        empty.executescript(TABLES if schema == SCHEMA else OLD_TABLES)
    head = bytearray(target.read_bytes()[:PAGE])
    pages = path.stat().st_size // PAGE
    head[28:32] = pages.to_bytes(4, "big")
    with path.open("rb") as source, target.open("wb") as copy:
        copy.write(head)
        source.seek(PAGE)
        shutil.copyfileobj(source, copy)


def write_store(path: Path, contents: Contents, version: str) -> None:
    """A new store with these rows, whole when this returns. Raises sqlite3.Error."""
    path.unlink(missing_ok=True)
    with contextlib.closing(open_uri(path, "mode=rwc")) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        create(connection, version)
        connection.execute("BEGIN")
        for table in tables_of(SCHEMA):
            insert(connection, table, getattr(contents, table).values())
        connection.executemany("INSERT INTO contexts VALUES (?, ?)", contents.contexts.items())
        connection.execute("COMMIT")
