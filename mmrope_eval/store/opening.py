"""Opening a store's file: for writing, where damage is mended, or for reading, where nothing beside it is written.

Of a damaged store every row is saved that is as it was written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mmrope_eval.errors import cannot
from mmrope_eval.store.file import (
    DAMAGE,
    OLD_TABLES,
    PAGE,
    SCHEMA,
    TABLES,
    Row,
    StoreError,
    beyond_reading,
    checksum,
    connect,
    create,
    fault,
    free_name,
    insert,
    is_empty,
    keep_log,
    open_uri,
    read_rows,
    schema_of,
    tables_of,
    trouble,
)
from mmrope_eval.store.log import commits, foreign_log, log_of, lost_commits, name_store, scrap_log, set_aside
from mmrope_eval.version import __version__


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


def _gather(connection: sqlite3.Connection, schema: int, contents: Contents) -> None:
    # Text of a damaged row, which its checksum then refuses, must not keep the others from being read.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
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


@dataclass
class Opened:
    """An open file."""

    path: Path
    resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What is to be closed."""
    notes: list[str] = field(default_factory=list)
    """What must be said about the file, a sentence each."""
    schema: int = SCHEMA
    connection: sqlite3.Connection = field(init=False)

    def use(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """From now on this is the connection; an earlier one stays open until the end."""
        self.connection = connection
        self.resources.callback(connection.close)
        return connection


def open_store(path: Path) -> Opened:
    """The file, checked, of today's schema, and marked as being written to. StoreError when it cannot be."""
    opened = Opened(path)
    with _troubles(opened, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if foreign_log(path):
            opened.notes.append(set_aside(path))
        logged, had_log = commits(path), log_of(path).exists()
        connection = None
        try:
            connection = opened.use(connect(path))
            lost = lost_commits(connection, logged)
            schema = schema_of(connection, path)
            wrong = fault(connection, schema) if schema else None
            if schema == 0:
                create(connection, __version__)
            if wrong is None and schema in (0, SCHEMA):
                opened.notes += _told_by_log(connection, path, lost, had_log)
        except DAMAGE as error:
            if not _about_content(error):
                raise
            schema, wrong = SCHEMA, str(error)
        if wrong is not None:
            _mend(opened, connection, wrong)
        elif schema == 1:
            _replace(opened, connection, salvage(connection, path, _scratch(path)))
        _mark(opened.connection)
    return opened


def open_copy(path: Path) -> Opened:
    """The file for reading, as it is; what its log holds is read from a copy of both. StoreError when it cannot be."""
    opened = Opened(path)
    with _troubles(opened, "read"):
        if not path.is_file():
            raise StoreError(f"{path} is not there; start the run's command again.")
        logged = log_of(path).is_file() and log_of(path).stat().st_size and not _disowned(opened)
        place = _copied(opened) if logged else path
        try:
            opened.use(connect(place) if logged else open_uri(path, "mode=ro&immutable=1"))
            opened.schema = schema_of(opened.connection, path)
            wrong = fault(opened.connection, opened.schema) if opened.schema else "it is empty"
        except DAMAGE as error:
            if not _about_content(error):
                raise
            wrong = str(error)
        if wrong is not None:
            _read_sound(opened, place if logged else _copied(opened), wrong)
    return opened


@contextlib.contextmanager
def _troubles(opened: Opened, do: str) -> Iterator[None]:
    """Close what was opened when something is wrong, and say what."""
    path = opened.path
    try:
        if path.is_dir():
            raise StoreError(f"{path} is a folder, where the responses of a run should be: move it away or choose "
                             "another --output.")
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        opened.resources.close()
        raise trouble(path, error) from error
    except OSError as error:
        opened.resources.close()
        raise cannot(do, path, error, "free some space, make it writable or choose another --output") from error
    except BaseException:
        opened.resources.close()
        raise


def _about_content(error: Exception) -> bool:
    """Whether SQLite complains about what is in the file, rather than about its place or its disk."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return not name or name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_FORMAT"))


def _told_by_log(connection: sqlite3.Connection, path: Path, lost: int, had_log: bool) -> Iterator[str]:
    """Where answers went that the file's log held."""
    if lost:
        yield (f"{log_of(path)} is damaged: the last answers in it, about {lost}, are lost; what is missing is asked "
               "again.")  # fmt: skip
    writing = connection.execute("SELECT value FROM meta WHERE key = 'writing'").fetchone()
    if writing and not had_log:
        yield (f"{path} is of a command that was stopped, and its {log_of(path).name} is not here: the last answers "
               "may be missing, and are asked again then.")  # fmt: skip


def _mark(connection: sqlite3.Connection) -> None:
    keep_log(connection)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('writing', ?)", (str(os.getpid()),))
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (__version__,))
    name_store(connection)
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _mend(opened: Opened, connection: sqlite3.Connection | None, why: str) -> None:
    """Set a damaged file aside and go on with what is sound in it. StoreError when nothing is."""
    path = opened.path
    contents = salvage(connection, path, _scratch(path))
    if not contents and not (connection is not None and is_empty(connection)):
        raise beyond_reading(path, why)
    aside = free_name(path, "damaged")
    shutil.copy2(path, aside)
    if log_of(path).exists():
        shutil.copy2(log_of(path), log_of(aside))
    opened.notes.append(f"{path} is damaged ({why}): {sound(contents)} kept, what is missing is asked again; the "
                        f"damaged file is {aside.name}.")  # fmt: skip
    _replace(opened, connection, contents)


def _replace(opened: Opened, connection: sqlite3.Connection | None, contents: Contents) -> None:
    """Put a new file with these contents in the place of the old one, and open it."""
    path, scratch = opened.path, _scratch(opened.path)
    try:
        write_store(scratch, contents, __version__)
        if connection is not None:
            connection.close()
        scrap_log(path)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    opened.use(connect(path))


def _read_sound(opened: Opened, copy: Path, why: str) -> None:
    """Go on with what is sound in a copy of a damaged file."""
    contents = salvage(getattr(opened, "connection", None), copy, copy.with_suffix(".page"))
    if not contents:
        raise beyond_reading(opened.path, why)
    opened.notes.append(f"{opened.path} is damaged ({why}): {sound(contents)} read.")
    opened.schema = SCHEMA
    write_store(copy.with_suffix(".sound"), contents, __version__)
    opened.use(open_uri(copy.with_suffix(".sound"), "mode=ro&immutable=1"))


def sound(contents: Contents) -> str:
    """How many answers of a damaged file are good."""
    count = len(contents.responses)
    return "its one sound answer is" if count == 1 else f"its {count} sound answers are"


def _disowned(opened: Opened) -> bool:
    """Whether the log is another file's, which is said; looked at in a copy, as the folder may be read-only."""
    if not foreign_log(_copied(opened)):
        return False
    opened.notes.append(f"{log_of(opened.path)} does not belong to {opened.path.name}: nothing of it is used.")
    return True


def _copied(opened: Opened) -> Path:
    """A copy of the file and its log in a folder that goes when the store is closed."""
    folder = Path(opened.resources.enter_context(tempfile.TemporaryDirectory(prefix="mmrope-")))
    for path in (opened.path, log_of(opened.path)):
        if path.is_file():
            shutil.copy(path, folder / path.name)
    return folder / opened.path.name


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def place_of(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file: another file in its place has others."""
    with contextlib.suppress(OSError):
        stat = path.stat()
        return stat.st_dev, stat.st_ino
    return None
