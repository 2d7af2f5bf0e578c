"""A log that lies beside a store and is not the store's: nothing of it is used, and no answer is lost to it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from killed_store import KILLED

from mmrope_eval.messages import Response
from mmrope_eval.store.log import NAME
from mmrope_eval.store.store import Outcome, ResponseStore


def finished(path: Path, answers: int = 40) -> Path:
    """A store that was closed."""
    with ResponseStore(path) as store:
        for i in range(answers):
            store.put_all([Outcome("a", Response(f"t/{i}", f"ours {i}", (i,), "stop", 1))])
    return path


def stopped(path: Path, answers: int = 30) -> Path:
    """What a killed writer leaves: a store and its log."""
    subprocess.run([sys.executable, "-c", KILLED, str(path), str(answers)], check=False)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    return path


def another_store(path: Path) -> None:
    log = stopped(path.parent / "other" / "responses.sqlite")
    shutil.copy(f"{log}-wal", f"{path}-wal")


def another_database(path: Path) -> None:
    other = path.with_name("other.sqlite")
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE other (x)")
        database.commit()
        shutil.copy(f"{other}-wal", f"{path}-wal")


LOGS: tuple[Callable[[Path], None], ...] = (another_store, another_database)


@pytest.mark.parametrize("leave", LOGS)
def test_a_finished_store_keeps_every_answer_whatever_log_lies_beside_it(
    tmp_path: Path, leave: Callable[[Path], None]
) -> None:
    path = finished(tmp_path / "responses.sqlite")
    leave(path)
    wanted = [("a", f"t/{i}") for i in range(40)]
    with ResponseStore(path, read_only=True) as store:
        assert len(store.get(wanted)) == 40 and "does not belong to responses.sqlite" in " ".join(store.notes)
    with ResponseStore(path) as store:
        assert all(kept.text == f"ours {name[2:]}" for name, kept in store.get(wanted).items())  # type: ignore[union-attr]
        assert len(store.get(wanted)) == 40
        assert [note for note in store.notes if "does not belong to responses.sqlite" in note]
    assert [file.name for file in tmp_path.glob("*foreign*")] == ["responses.foreign-1.sqlite-wal"], "kept, not used"


@pytest.mark.parametrize("leave", LOGS)
def test_the_same_of_a_store_whose_writer_was_killed(tmp_path: Path, leave: Callable[[Path], None]) -> None:
    path = stopped(tmp_path / "responses.sqlite", 100)
    Path(f"{path}-shm").unlink()
    leave(path)
    with ResponseStore(path) as store:
        assert len(store.get([("a", f"t/{i}") for i in range(100)])) >= 95
        assert "does not belong" in store.notes[0] and "last answers may be missing" in store.notes[1]


def test_a_store_of_before_has_no_name_and_gets_one(tmp_path: Path) -> None:
    path = finished(tmp_path / "responses.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM meta WHERE key = ?", (NAME,))
    another_store(path)
    with ResponseStore(path) as store:
        assert len(store.get([("a", f"t/{i}") for i in range(40)])) == 40 and "does not belong" in store.notes[0]
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM meta WHERE key = ?", (NAME,)).fetchone() == (1,)
