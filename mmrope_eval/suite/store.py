"""Every response durable the moment it exists, and never twice: one SQLite file a run.

A response is keyed by the identity of what produced it (see `plan.identity`) and by its sample, so that a changed
checkpoint, prompt or media policy finds nothing to reuse, and an unchanged one everything.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mmrope_eval.engine.types import Failure, MediaFacts, PositionFacts, Response, no_answer
from mmrope_eval.errors import UserError

SCHEMA = 1
MAX_ATTEMPTS = 2
"""A failed sample is tried once more by the next start, then its failure stands."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS responses (
    identity TEXT NOT NULL,
    sample   TEXT NOT NULL,
    status   TEXT NOT NULL CHECK (status IN ('ok', 'failed')),
    attempts INTEGER NOT NULL,
    payload  TEXT NOT NULL,
    PRIMARY KEY (identity, sample)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Stored:
    """One kept outcome and how many times the sample was tried."""

    result: Response | Failure
    attempts: int

    @property
    def final(self) -> bool:
        """Whether another start would leave it alone."""
        return isinstance(self.result, Response) or self.attempts >= MAX_ATTEMPTS


class ResponseStore:
    """Responses in `path`; use it as a context manager. UserError when the file is of another schema or no store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)  # every statement is its own transaction
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_TABLES)
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
            found = self._connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0]
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise UserError(f"{path} is not a usable response store ({error}); move it away or choose another "
                            "--output.") from error
        if found != str(SCHEMA):
            self._connection.close()
            raise UserError(f"{path} was written with store schema {found}, this version reads {SCHEMA}; "
                            "choose another --output or use the version that wrote it.")

    def put(self, identity: str, result: Response | Failure) -> None:
        """Keep one outcome; it is on disk when this returns. A response is never replaced, a failure may be."""
        status = "ok" if isinstance(result, Response) else "failed"
        self._connection.execute(
            "INSERT INTO responses VALUES (?, ?, ?, 1, ?) ON CONFLICT (identity, sample) DO UPDATE SET "
            "status = excluded.status, payload = excluded.payload, attempts = attempts + 1 WHERE status = 'failed'",
            (identity, result.id, status, json.dumps(to_payload(result), ensure_ascii=False, sort_keys=True)),
        )

    def get(self, keys: Iterable[tuple[str, str]]) -> dict[str, Stored]:
        """The kept outcomes of (identity, sample) pairs, by sample."""
        wanted = {sample: identity for identity, sample in keys}
        found = {}
        query = "SELECT identity, sample, status, attempts, payload FROM responses"
        for identity, sample, status, attempts, payload in self._connection.execute(query):
            if wanted.get(sample) == identity:
                result = from_payload(status, json.loads(payload))
                found[sample] = Stored(result, MAX_ATTEMPTS if status == "ok" else attempts)
        return found

    def close(self) -> None:
        """Close the file; everything is already durable."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def to_payload(result: Response | Failure) -> dict[str, Any]:
    """A JSON-able form of an outcome, without what nobody reads later (prompt ids, log-probabilities, traces)."""
    payload = dataclasses.asdict(result)
    for name in ("prompt_token_ids", "prompt_logprobs", "logprobs", "trace"):
        payload.pop(name, None)
    if not payload.get("thought_open"):  # as versions without the field wrote it, and can read it
        payload.pop("thought_open", None)
    return payload


def from_payload(status: str, payload: dict[str, Any]) -> Response | Failure:
    """The inverse of `to_payload`."""
    media = tuple(MediaFacts(**{k: _tuples(v) for k, v in facts.items()}) for facts in payload.pop("media"))
    if status == "failed":
        return Failure(**payload, media=media)
    positions = payload.pop("positions")
    problem = no_answer(payload["token_ids"], payload["finish_reason"])
    if problem is not None:  # kept by version 0.2, which scored it
        return Failure(payload["id"], "engine", problem, media)
    return Response(
        **{**payload, "token_ids": tuple(payload["token_ids"])},
        media=media,
        positions=PositionFacts(**positions) if positions else None,
    )


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; UserError when another process has it. A killed holder leaves no lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise UserError(f"Another process (pid {holder}) is writing to {folder}; wait for it, stop it, or choose "
                            "another --output.") from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
