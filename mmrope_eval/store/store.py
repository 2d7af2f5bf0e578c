"""Every response durable the moment it exists, and never twice: one SQLite file a row.

A response is keyed by the identity of what produced it (see `sample.keys`) and by its sample, so that a changed
checkpoint, prompt, media policy or code finds nothing to reuse, and an unchanged one everything. Beside it stand the
question and the context that the identity was made of, so that a later start can say what changed.

Groups are written in a thread of their own (`Writer`): whoever brings something goes on at once, and is told when it is
safe.
"""

from __future__ import annotations

import collections
import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

from mmrope_eval.messages import Failure, Response
from mmrope_eval.store.file import SCHEMA, Row, StoreError, checksum, decode, encode, free_name, open_uri, trouble
from mmrope_eval.store.log import scrap_log
from mmrope_eval.store.opening import open_copy, open_store, place_of

__all__ = ["MAX_ATTEMPTS", "Known", "Outcome", "ResponseStore", "StoreError"]

MAX_ATTEMPTS = 2
"""A failed sample is tried once more by the next start, then its failure stands."""

SYNC_ANSWERS: Final = 32
SYNC_SECONDS: Final = 0.5
"""So many answers, or so much time after the last ones, and they are in the main file, not in its log alone."""


@dataclass(frozen=True, slots=True)
class Known:
    """That an outcome is kept: what it takes to decide whether its sample is asked."""

    failed: bool
    attempts: int

    @property
    def final(self) -> bool:
        """Whether another start would leave it alone."""
        return not self.failed or self.attempts >= MAX_ATTEMPTS


class Outcome(NamedTuple):
    """One outcome to keep: under which identity, and by what it came about, where that is known."""

    identity: str
    result: Response | Failure
    question: str | None = None
    context: str | None = None


class ResponseStore:
    """Responses in `path`; use it as a context manager. Raises `StoreError` when the file belongs to something else or
    cannot be used. A damaged file is set aside and what is sound in it is kept; `notes` says so. With `read_only`
    nothing is written, not even beside the file."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        opened = open_copy(path) if read_only else open_store(path)
        self.path = path
        self.notes: Sequence[str] = opened.notes
        """What must be said about the file, a sentence each."""
        self._writable = not read_only
        self._resources, self._connection, self._schema = opened.resources, opened.connection, opened.schema
        self._unsynced, self._synced_at = 0, 0.0
        self._place = place_of(path)

    # ------------------------------------------------------------------------------------------------------- writing

    def put_all(self, outcomes: Sequence[Outcome]) -> None:
        """Keep outcomes, all of them or none; they are on disk when this returns. A response is never replaced, a
        failure may be. Raises `StoreError` when they cannot be written, and when the file is gone or was replaced."""
        try:
            with self._transaction() as execute:
                for outcome in outcomes:
                    self._insert(execute, outcome)
        except StoreError:
            self.require_place()
            raise
        self._unsynced += len(outcomes)
        if self._unsynced >= SYNC_ANSWERS or time.monotonic() - self._synced_at >= SYNC_SECONDS:
            try:
                self.sync()
            except sqlite3.Error as error:
                self.require_place()
                raise trouble(self.path, error) from error

    def _insert(self, execute: Callable[..., sqlite3.Cursor], outcome: Outcome) -> None:
        identity, result = outcome.identity, outcome.result
        status, payload = "ok" if isinstance(result, Response) else "failed", encode(result)
        kept = execute("SELECT status, attempts FROM responses WHERE identity = ? AND sample = ?",
                       (identity, result.id)).fetchone()  # fmt: skip
        if kept is not None and kept[0] == "ok":
            return
        attempts = 1 + (kept[1] if kept else 0)
        row = (identity, result.id, status, attempts, payload, outcome.context, outcome.question)
        execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, checksum(*row)))

    def sync(self) -> None:
        """Move what the log holds into the main file, so that a copy of that file alone has it."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._unsynced, self._synced_at = 0, time.monotonic()
        self.require_place()

    def require_place(self) -> None:
        """StoreError when the file was removed, moved or replaced since it was opened; its answers are saved first."""
        place = place_of(self.path)
        if place == self._place:
            return
        try:
            where = f"its answers are in {self._rescue()}"
        except (OSError, sqlite3.Error) as error:
            where = f"its answers could not be saved again ({error})"
        again = "choose another --output" if place_of(self.path) in (None, place) else "start the same command again"
        raise StoreError(f"{self.path} was removed, moved or replaced while answers were written to it; no scores were "
                         f"written, {where}: {again}.")  # fmt: skip

    def _rescue(self) -> Path:
        """Write what the open file holds to its place again, or beside what lies there now; closes it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = free_name(self.path, "rescued")
        with contextlib.closing(open_uri(scratch, "mode=rwc")) as copy:
            self._connection.backup(copy)
            copy.execute("DELETE FROM meta WHERE key = 'writing'")
        self._resources.close()
        scrap_log(self.path)  # which is of the file that was here
        return scratch if self.path.exists() else scratch.replace(self.path)

    def describe(self, context: Mapping[str, Any]) -> str:
        """Keep a readable form of a context; its key, for `put_all`."""
        content = json.dumps(context, sort_keys=True, ensure_ascii=False, default=str)
        key = checksum(content).hex()
        with self._troubles():
            self._connection.execute("INSERT OR REPLACE INTO contexts VALUES (?, ?)", (key, content))
        return key

    # ----------------------------------------------------------------------------------------------- asking everything

    def set_aside(self, keys: Iterable[tuple[str, str]]) -> int:
        """Put the kept outcomes of (identity, sample) pairs aside, so that they are asked anew; how many there were.
        What is asked from now on counts; a second call before `drop_aside` leaves it: a stopped command goes on."""
        moved = 0
        with self._transaction() as run:
            for key in keys:
                if run("SELECT 1 FROM earlier WHERE identity = ? AND sample = ?", key).fetchone():
                    continue
                condition = "WHERE identity = ? AND sample = ?"
                run(f"INSERT INTO earlier SELECT * FROM responses {condition}", key)
                deleted = run(f"DELETE FROM responses {condition}", key).rowcount
                if not deleted:  # marks it as begun
                    run("INSERT INTO earlier VALUES (?, ?, ?, ?, ?, ?, ?, ?)", Row(*key, "none", 0, "").summed())
                moved += deleted
        return moved

    def has_aside(self) -> bool:
        """Whether a command that asks everything anew was begun and not finished."""
        with self._troubles():
            return self._connection.execute("SELECT 1 FROM earlier LIMIT 1").fetchone() is not None

    def drop_aside(self, keys: Iterable[tuple[str, str]]) -> None:
        """Forget what `set_aside` put aside, now that all of it is answered anew."""
        with self._transaction() as run:
            if run("SELECT 1 FROM earlier LIMIT 1").fetchone():
                for key in keys:
                    run("DELETE FROM earlier WHERE identity = ? AND sample = ?", key)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._troubles():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    # ------------------------------------------------------------------------------------------------------- reading

    def known(self, identities: Mapping[str, str]) -> dict[str, Known]:
        """Which samples have an outcome under their identity (`identities`: identity by sample)."""
        query, state = "SELECT identity, sample, status, attempts FROM responses", cache(Known)  # few differ
        with self._troubles():
            return {sample: state(status == "failed", attempts)
                    for identity, sample, status, attempts in self._connection.execute(query)
                    if identities.get(sample) == identity}  # fmt: skip

    def read(self, identity: str, sample: str) -> Response | Failure | None:
        """One kept outcome. StoreError where a newer version wrote what this one cannot read."""
        query = "SELECT status, payload FROM responses WHERE identity = ? AND sample = ?"
        with self._troubles():
            row = self._connection.execute(query, (identity, sample)).fetchone()
        try:
            return None if row is None else decode(*row)
        except ValueError as error:
            raise StoreError(f"{self.path} holds an answer to {sample} that this version cannot read: another version "
                             "of mmrope-eval wrote it; use that one or choose another --output.") from error

    def get(self, keys: Iterable[tuple[str, str]]) -> dict[str, Response | Failure]:
        """The kept outcomes of (identity, sample) pairs, by sample."""
        outcomes = ((sample, self.read(identity, sample)) for identity, sample in keys)
        return {sample: result for sample, result in outcomes if result is not None}

    def others(self, samples: Mapping[str, str]) -> Iterator[tuple[str, str, str | None, str | None]]:
        """(sample, identity, question, context) of outcomes kept under another identity than `samples` says."""
        names = "sample, identity, question, context" if self._schema == SCHEMA else "sample, identity, NULL, NULL"
        with self._troubles():
            for sample, identity, question, context in self._connection.execute(f"SELECT {names} FROM responses"):
                if sample in samples and samples[sample] != identity:
                    yield sample, identity, question, context

    def contexts_of(self, ids: Mapping[str, str]) -> Mapping[str, int]:
        """How many outcomes were kept under each context, of those under their identity (`ids`: by sample)."""
        if self._schema < SCHEMA or not ids:
            return {}
        with self._troubles():
            rows = self._connection.execute("SELECT sample, identity, context FROM responses WHERE context IS NOT NULL")
            return collections.Counter(context for sample, identity, context in rows if ids.get(sample) == identity)

    def contexts(self) -> dict[str, Mapping[str, Any]]:
        """The descriptions that `describe` kept, by key."""
        if self._schema < SCHEMA:
            return {}
        with self._troubles():
            rows = self._connection.execute("SELECT context, content FROM contexts").fetchall()
        return {key: json.loads(content) for key, content in rows if checksum(content).hex() == key}

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        """StoreError for what SQLite cannot do."""
        try:
            yield
        except sqlite3.Error as error:
            raise trouble(self.path, error) from error

    def close(self) -> None:
        """Close the file, which is whole then without its log; everything is durable already."""
        with contextlib.suppress(sqlite3.Error):
            if self._writable and place_of(self.path) == self._place:
                self._connection.execute("DELETE FROM meta WHERE key = 'writing'")
                self._connection.execute("PRAGMA journal_mode=DELETE")
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


WITHIN: Final = 0.05
"""Seconds that the first of a group waits for others: a disk takes as long for many as for one."""

Item = TypeVar("Item")


class Writer(Generic[Item]):
    """Hands items, in their order, to `write`, many at a time; a context manager, used from one thread. What `write`
    raises is raised by the next call of any method, and nothing is written after it."""

    def __init__(self, write: Callable[[Sequence[Item]], None], *, within: float = WITHIN) -> None:
        self._write, self._within = write, within
        self._changed = threading.Condition()
        self._waiting: list[Item] = []
        self._written: list[Item] = []
        self._unwritten = 0
        """Brought and not yet written, those in hand among them."""
        self._hurry = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="store-answers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Write what is left, also when something else went wrong, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self._check()

    def put(self, item: Item) -> None:
        """Bring one item; it is written soon."""
        with self._changed:
            self._check()
            self._waiting.append(item)
            self._unwritten += 1
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def flush(self) -> None:
        """Return when everything that was brought is written."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while self._unwritten and self._error is None:
                self._changed.wait()
            self._hurry = False
            self._check()

    def written(self) -> Sequence[Item]:
        """What was written since the last call."""
        if not self._written:  # asked after every answer: no lock where there is nothing
            return ()
        with self._changed:
            written, self._written = self._written, []
        return written

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while group := self._next():
            try:
                self._write(group)
            except BaseException as error:  # noqa: BLE001 - raised again where the next item is brought
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._written += group
                self._unwritten -= len(group)
                self._changed.notify_all()

    def _next(self) -> list[Item]:
        """The next group; empty when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(lambda: self._hurry or self._closed, timeout=self._within)
            group, self._waiting = self._waiting, []
            return group
