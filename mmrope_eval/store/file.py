"""The file of a response store: opened whatever its file system lacks, checked, saved where it is damaged.

Every row carries a checksum, so that what is left of a damaged file can be told from what is not: sound rows move to a
new file, the damaged one is set aside, and what is missing is asked again.

An outcome is a row of it: JSON with every field checked on the way back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pydantic import TypeAdapter

from mmrope_eval.errors import NO_INODES, UserError, takes_no_files
from mmrope_eval.messages import Failure, MediaFacts, PositionFacts, Response, no_answer
from mmrope_eval.words import flat

NOT_KEPT: Final = ("prompt_token_ids", "prompt_logprobs", "logprobs", "trace")
"""What nobody reads later."""


def encode(result: Response | Failure) -> str:
    """The text of a row, without what nobody reads later (prompt ids, log-probabilities, traces)."""
    payload = {name: value for name, value in vars(result).items() if name not in NOT_KEPT}
    payload["media"] = [dict(vars(facts)) for facts in result.media]
    if isinstance(result, Response):
        payload["positions"] = dict(vars(result.positions)) if result.positions else None
    if not payload.get("thought_open"):  # as versions without the field wrote it
        payload.pop("thought_open", None)
    text = json.dumps(payload, ensure_ascii=False, sort_keys=True)
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair, of an odd file name, has no UTF-8


def decode(status: str, text: str, *, strict: bool = False) -> Response | Failure:
    """The inverse of `encode`. ValueError for text that is not such an outcome; with `strict` also for fields that
    this version does not know, which are left out otherwise."""
    if strict and (unknown := unknown_fields(status, json.loads(text))):
        raise ValueError(f"unknown field '{unknown[0]}'")
    result = _adapter(Failure if status == "failed" else Response).validate_json(text, strict=True)
    problem = no_answer(result.token_ids, result.finish_reason) if isinstance(result, Response) else None
    # One with a problem was kept by version 0.2, which scored it.
    return result if problem is None else Failure(result.id, "engine", problem, result.media)


def unknown_fields(status: str, payload: Any) -> list[str]:
    """Names in a payload that the outcome's type does not have."""
    if not isinstance(payload, dict):
        return []
    names = [name for name in payload if name not in _names(Failure if status == "failed" else Response)]
    media, positions = payload.get("media"), payload.get("positions")
    for facts in media if isinstance(media, list) else []:
        names += [name for name in facts if name not in _names(MediaFacts)] if isinstance(facts, dict) else []
    names += [name for name in positions if name not in _names(PositionFacts)] if isinstance(positions, dict) else []
    return names


def checksum(*row: str | int | None) -> bytes:
    """What tells a damaged row from a sound one: 16 bytes over all its other fields."""
    fields = ["-" if field is None else str(field) for field in row]
    text = "".join(f"{len(field)}:{field}" for field in fields)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@functools.cache
def _adapter(kind: type[Response | Failure]) -> TypeAdapter[Response | Failure]:
    return TypeAdapter(kind)


@functools.cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))


SCHEMA: Final = 2
"""Of the file. 1 was written up to version 0.3: rows without checksum, context and question."""

APPLICATION: Final = 0x6D6D5250
"""In the header of our files ("mmRP"), so that a damaged one is told from somebody else's."""

PAGE: Final = 4096
_ROW = """(
    identity TEXT NOT NULL,
    sample   TEXT NOT NULL,
    status   TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    payload  TEXT NOT NULL,
    context  TEXT,
    question TEXT,
    checksum BLOB NOT NULL,
    PRIMARY KEY (identity, sample)
) WITHOUT ROWID;"""
TABLES: Final = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE contexts (context TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE responses {_ROW}
CREATE TABLE earlier {_ROW}
"""
OLD_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE responses (identity TEXT NOT NULL, sample TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
    payload TEXT NOT NULL, PRIMARY KEY (identity, sample)) WITHOUT ROWID;
"""
_OLD_COLUMNS: Final = ("identity", "sample", "status", "attempts", "payload")
_COLUMNS: Final = (*_OLD_COLUMNS, "context", "question", "checksum")

DAMAGE: Final = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged file raises; the second, where SQLite's own message quotes the damage."""


class StoreError(UserError):
    """A store that cannot be used; what is in it is kept. One sentence."""


class Row(NamedTuple):
    """One row of a table of outcomes, as read: a damaged file may give anything."""

    identity: str
    sample: str
    status: str
    attempts: int
    payload: str
    context: str | None = None
    question: str | None = None
    checksum: bytes | None = None

    def sound(self, schema: int) -> bool:
        """Whether the row is as it was written; a row of schema 1, whether it says what a row can say."""
        if schema > 1:
            return checksum(*self[:-1]) == self.checksum
        try:
            return (re.fullmatch("[0-9a-f]{64}", self.identity) is not None and self.status in ("ok", "failed")
                    and self.attempts in range(1000)
                    and decode(self.status, self.payload, strict=True).id == self.sample)  # fmt: skip
        except (ValueError, TypeError, RecursionError):
            return False

    def summed(self) -> Row:
        """The row with its checksum."""
        return self._replace(checksum=checksum(*self[:-1]))


# -------------------------------------------------------------------------------------------------------------- opening


def connect(path: Path) -> sqlite3.Connection:
    """The file, opened for writing; it is made where it is not there. Nothing in it is changed. Raises sqlite3.Error.
    SQLite needs locks and shared memory, which network file systems may lack: then it goes without."""
    try:
        return _connect(path)
    except sqlite3.OperationalError as error:
        if without_locks(path):
            return _connect(path, "&vfs=unix-none", alone=True)
        if lacks_memory(error):
            return _connect(path, alone=True)
        raise


def _connect(path: Path, more: str = "", *, alone: bool = False) -> sqlite3.Connection:
    connection = open_uri(path, f"mode=rwc{more}")
    try:
        if alone:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except DAMAGE:
        connection.close()
        raise
    return connection


def keep_log(connection: sqlite3.Connection) -> None:
    """From now on one write to the disk makes a commit durable: into a log, from which it moves to the file later."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if not lacks_memory(error):
            raise
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")


def lacks_memory(error: sqlite3.OperationalError) -> bool:
    """Whether the file system has no memory that processes share, without which a log has one reader."""
    return "SHM" in error.sqlite_errorname or "PROTOCOL" in error.sqlite_errorname


def open_uri(path: Path, options: str) -> sqlite3.Connection:
    """A connection on which every statement is its own transaction. Threads may take turns on it."""
    return sqlite3.connect(f"file:{quote(os.fsencode(path))}?{options}", uri=True, isolation_level=None,
                           check_same_thread=False)  # fmt: skip


def without_locks(path: Path) -> bool:
    """Whether the file system refuses locks, rather than another process holding one."""
    try:
        with path.open("rb+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
    return False


def trouble(path: Path, error: Exception) -> StoreError:
    """What to tell the user when SQLite cannot work with the file, with advice that fits the cause."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if name == "SQLITE_FULL" or (name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and disk_is_full(path.parent)):
        return StoreError(f"the disk of {path} is full: free some space and start the same command again; every answer "
                          "stored so far is kept.")
    if name.startswith("SQLITE_CANTOPEN") and (hindrance := _hindrance(path)):
        return StoreError(f"{path} cannot be opened: {hindrance}.")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StoreError(f"{path} cannot be written ({error}): make it and its folder writable, or choose another "
                          "--output.")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return StoreError(f"{path} is held by another program ({error}): close it and start the same command again.")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR", "SQLITE_FORMAT")):
        return beyond_reading(path, str(error))
    return StoreError(f"{path} cannot be read or written ({error}): check its disk and any quota; the file itself may "
                      "be sound, so keep it, and start the same command again.")


LONGEST_PATH: Final = 480
"""Bytes of a store's path that every build of SQLite opens, which adds an ending of its own."""


def _hindrance(path: Path) -> str | None:
    """What of a file's place keeps SQLite from opening it, with what helps; None where nothing odd is seen."""
    if path.is_symlink() and not path.exists():
        return f"it is a link to {path.readlink()}, which is not there; remove the link or choose another --output"
    length = len(os.fsencode(path.absolute()))
    if length > LONGEST_PATH:
        return f"its path has {length} bytes, more than SQLite takes; choose a shorter --output"
    if takes_no_files(path):
        return f"{NO_INODES}; remove some files and start the same command again, or choose another --output"
    return None


def beyond_reading(path: Path, why: str) -> StoreError:
    """What to tell the user of a file that holds nothing readable."""
    return StoreError(f"{path} is no response store, or is damaged beyond reading ({why}): put a copy of it back, or "
                      "move it away to ask everything again, or choose another --output.")


def disk_is_full(folder: Path) -> bool:
    """Whether a folder's disk has less room than a store needs to be opened."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < 1 << 20
    return False


# ------------------------------------------------------------------------------------------------------------- checking


def schema_of(connection: sqlite3.Connection, path: Path) -> int:
    """The schema of the file, 0 for an empty one. StoreError for somebody else's database, or a newer version's store;
    one of DAMAGE where that cannot be told."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    is_store = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION
    # A first page alone is what a store leaves whose making was cut short; it holds nothing that could be lost.
    if not tables and (not is_store or path.stat().st_size <= PAGE):
        return 0
    columns = tuple(row[1] for row in connection.execute("PRAGMA table_info(responses)"))
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if is_store and version > SCHEMA and version == _recorded_schema(connection, tables):
        raise StoreError(f"{path} was written by a newer version of mmrope-eval (store schema {version}, this version "
                         f"reads up to {SCHEMA}): use that version, or choose another --output.")
    if columns == _COLUMNS and {"meta", "contexts", "earlier"} <= tables:
        return SCHEMA
    if columns == _OLD_COLUMNS and "meta" in tables and not is_store:
        return 1
    if is_store or {"meta", "responses"} <= tables:
        raise sqlite3.DatabaseError("its tables are not those of a store")
    raise StoreError(f"{path} is a database of something else (its tables: {', '.join(sorted(tables)[:5]) or 'none'}): "
                     "choose another --output.")


def _recorded_schema(connection: sqlite3.Connection, tables: set[str]) -> int | None:
    """What the file says of itself in a second place: one flipped bit must not make it a newer version's."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() if "meta" in tables else None
    return int(row[0]) if row and str(row[0]).isdecimal() else None


def fault(connection: sqlite3.Connection, schema: int) -> str | None:
    """What is wrong with the file, in words; None where every page and every row is sound. Without a schema its own
    record of that is not looked at."""
    try:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            return flat(verdict)
        bad = sum(_unsound(read_rows(connection, table, schema), schema or SCHEMA) for table in tables_of(schema))
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    except DAMAGE as error:
        return str(error)
    if bad:
        return "1 row is not as it was written" if bad == 1 else f"{bad} rows are not as they were written"
    if schema and meta.get("schema") != str(schema):
        return "its record of itself is not as it was written"
    return None


def _unsound(rows: Iterable[Row], schema: int) -> int:
    """How many rows are not as they were written, or not where they belong: what is out of order is never found."""
    bad, last = 0, ("", "")
    for row in rows:
        key = (str(row.identity), str(row.sample))
        bad += not row.sound(schema) or key <= last
        last = key
    return bad


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether the file can be read to its end and holds no outcome."""
    try:
        return fault(connection, 0) is None and not any(next(read_rows(connection, table, SCHEMA), None)
                                                        for table in tables_of(SCHEMA))  # fmt: skip
    except DAMAGE:
        return False


def tables_of(schema: int) -> tuple[str, ...]:
    """The tables of outcomes."""
    return ("responses",) if schema == 1 else ("responses", "earlier")


def read_rows(connection: sqlite3.Connection, table: str, schema: int, where: str = "",
              values: Any = ()) -> Iterator[Row]:
    """Rows as they are, sound or not. Raises one of DAMAGE."""
    names = ", ".join(_OLD_COLUMNS if schema == 1 else _COLUMNS)
    return map(Row._make, (row if schema != 1 else (*row, None, None, None)
                           for row in connection.execute(f"SELECT {names} FROM {table} {where}", values)))  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- writing


def create(connection: sqlite3.Connection, version: str) -> None:
    """Make the tables of an empty store, in one transaction: a disk that fills up meanwhile leaves it empty."""
    connection.executescript(f"BEGIN;PRAGMA application_id = {APPLICATION};PRAGMA user_version = {SCHEMA};"
                             f"{TABLES}INSERT INTO meta VALUES ('schema', '{SCHEMA}');"
                             f"INSERT INTO meta VALUES ('version', '{version}');COMMIT;")  # fmt: skip


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """Add rows with their checksums."""
    connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (row.summed() for row in rows))


def free_name(path: Path, what: str) -> Path:
    """A name beside a file that is not taken: responses.damaged-1.sqlite."""
    number = 1
    while (name := path.with_name(f"{path.stem}.{what}-{number}{path.suffix}")).exists():
        number += 1
    return name
