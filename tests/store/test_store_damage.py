"""A store whatever happens to its file: what is sound is kept, what is not is missing and said, nothing changes.

`benchmarks/fault_store.py` does the same to whole runs, hundreds of times.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killed_store import KILLED
from loaded_scripts import load_script

from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure, MediaFacts, Response
from mmrope_eval.store import file
from mmrope_eval.store.file import decode, encode
from mmrope_eval.store.store import Outcome, ResponseStore, StoreError

ROOT = Path(__file__).resolve().parents[2]
N = 60
FACTS = MediaFacts("video", "f" * 64, (640, 360), (56, 28), (2, 2, 4), 4, 32, 8.0, 4.0, tuple(range(0, 32, 4)),
                   tuple(i / 8 for i in range(0, 32, 4)), 1.0, ("cut",))  # fmt: skip


def identity(i: int) -> str:
    return random.Random(i).randbytes(32).hex()


def outcome(i: int) -> Response | Failure:
    if i % 10 == 9:
        return Failure(f"t/{i}", "media", "the file ends early", (FACTS,))
    return Response(f"t/{i}", f"answer {i} " * (1 + i % 7), tuple(range(i)), "stop", 9, (FACTS,) * (i % 3))


KEYS = {f"t/{i}": identity(i) for i in range(N)}
WHOLE = {f"t/{i}": outcome(i) for i in range(N)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was closed."""
    path = tmp_path_factory.mktemp("whole") / "responses.sqlite"
    with ResponseStore(path) as store:
        context = store.describe({"context": {"weights": "w"}})
        for i in range(N):
            store.put_all([Outcome(identity(i), outcome(i), f"q{i}", context)])
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    return Path(shutil.copy(whole, tmp_path / "responses.sqlite"))


def contents(store: ResponseStore) -> dict[str, Response | Failure]:
    return store.get((key, sample) for sample, key in KEYS.items())


def lines(run: Callable[[str], object], *statements: str) -> None:
    for statement in statements:
        run(statement)


@contextlib.contextmanager
def behind(path: Path) -> Iterator[Callable[..., sqlite3.Cursor]]:
    """Statements past the store."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection.execute


# -------------------------------------------------------------------------------------------------------- random damage


@pytest.mark.parametrize("read_only", [False, True])
def test_random_damage_is_never_another_answer_and_a_loss_is_said(whole: Path, tmp_path: Path, read_only: bool) -> None:
    content, outcomes = whole.read_bytes(), set()
    for seed in range(60):
        dice = random.Random(seed)
        damaged = bytearray(content)
        for _ in range(dice.choice([1, 1, 3, 30])):
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "responses.sqlite").write_bytes(damaged)
        try:
            with ResponseStore(folder / "responses.sqlite", read_only=read_only) as store:
                kept, notes = contents(store), store.notes
        except StoreError as error:
            assert "damaged" in str(error), seed
            continue
        assert all(WHOLE[sample] == result for sample, result in kept.items()), seed
        assert len(kept) == N or notes, seed
        outcomes.add((len(kept) == N, bool(notes)))
        if read_only:
            assert [file.name for file in folder.iterdir()] == ["responses.sqlite"]
            assert (folder / "responses.sqlite").read_bytes() == damaged
    assert (True, False) in outcomes and (False, True) in outcomes


def test_damage_costs_the_rows_of_its_place_alone(path: Path) -> None:
    with behind(path) as run:
        run("UPDATE responses SET payload = replace(payload, 'answer', 'anzwer') WHERE sample = 't/1'")
    with ResponseStore(path) as store:
        assert contents(store) == {k: v for k, v in WHOLE.items() if k != "t/1"}
        assert store.notes == [f"{path} is damaged (1 row is not as it was written): its 59 sound answers are kept, "
                               "what is missing is asked again; the damaged file is responses.damaged-1.sqlite."]
        store.put_all([Outcome(KEYS["t/1"], WHOLE["t/1"])])
        assert contents(store) == WHOLE and len(store.contexts()) == 1
    with ResponseStore(path) as store:
        assert contents(store) == WHOLE and store.notes == []


def test_a_page_that_cannot_be_read_hides_no_other(path: Path) -> None:
    """One in the middle of the table: what lies before and behind it is found by its keys."""
    content = bytearray(path.read_bytes())
    for page in range(file.PAGE * 7, len(content), file.PAGE):
        if content[page] == 10:  # a leaf of rows
            content[page] = 0x77
            break
    path.write_bytes(content)
    with ResponseStore(path) as store:
        assert N - 15 < len(contents(store)) < N and len(store.notes) == 1


def test_a_first_page_of_noise_is_put_back(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(random.Random(1).randbytes(file.PAGE) + content[file.PAGE :])
    with ResponseStore(path) as store:
        assert contents(store) == WHOLE and "file is not a database" in store.notes[0]


# ----------------------------------------------------------------------------------------- files that are no such store


def foreign(path: Path) -> None:
    path.unlink()
    with behind(path) as run:
        lines(run, "CREATE TABLE responses (id INTEGER, body TEXT)", "INSERT INTO responses VALUES (1, 'x')")


def newer(path: Path) -> None:
    with behind(path) as run:
        lines(run, "PRAGMA user_version = 7", "UPDATE meta SET value = '7' WHERE key = 'schema'")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(("change", "expected"), [
    (foreign, "is a database of something else (its tables: responses): choose another --output."),
    (newer, "was written by a newer version of mmrope-eval (store schema 7, this version reads up to 2): use that"),
    (folder, "is a folder, where the responses of a run should be: move it away or choose another --output."),
    (lambda path: path.write_text("no database, and long enough to be looked at" * 20),
     "is no response store, or is damaged beyond reading (file is not a database): put a copy of it back, or move it"),
    (lambda path: path.write_bytes(b"SQLite format 3\0"), "is no response store, or is damaged beyond reading"),
])  # fmt: skip
def test_another_kind_of_file_is_one_sentence_and_stays_as_it_is(
    path: Path, change: Callable[[Path], object], expected: str
) -> None:
    change(path)
    before = path.read_bytes() if path.is_file() else None
    for read_only in (False, True):
        with pytest.raises(StoreError) as caught:
            ResponseStore(path, read_only=read_only)
        assert str(caught.value).startswith(f"{path} ") and (expected in str(caught.value) or read_only)
        assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert {file.name for file in path.parent.iterdir()} == {"responses.sqlite"}


@pytest.mark.parametrize("pages", range(1, 9))
def test_a_disk_that_fills_up_while_a_store_is_made_leaves_one_that_can_be_made(tmp_path: Path, pages: int) -> None:
    path = tmp_path / "responses.sqlite"
    with contextlib.closing(file.connect(path)) as connection:
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with contextlib.suppress(sqlite3.OperationalError):
            file.create(connection, "0")
    with ResponseStore(path) as store:
        store.put_all([Outcome("a" * 64, Response("s/0", "yes", (1,), "stop", 1))])
        assert store.notes == []


def test_a_store_of_which_only_the_first_page_was_made_is_a_new_one(tmp_path: Path) -> None:
    """As version 0.3 left it on a disk that filled up between two statements."""
    path = tmp_path / "responses.sqlite"
    with contextlib.closing(file.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {file.APPLICATION}")
    with ResponseStore(path) as store:
        store.put_all([Outcome("a" * 64, Response("s/0", "yes", (1,), "stop", 1))])


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    (tmp_path / "responses.sqlite").touch()
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        assert contents(store) == {}


# ------------------------------------------------------------------------------------------------------- older versions

OLD = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE responses (
    identity TEXT NOT NULL,
    sample   TEXT NOT NULL,
    status   TEXT NOT NULL CHECK (status IN ('ok', 'failed')),
    attempts INTEGER NOT NULL,
    payload  TEXT NOT NULL,
    PRIMARY KEY (identity, sample)
) WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', '1');
"""


def old_store(path: Path) -> Path:
    """As version 0.3.0 wrote it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(OLD)
        connection.executemany("INSERT INTO responses VALUES (?, ?, ?, 1, ?)", [
            (identity(i), f"t/{i}", "failed" if isinstance(outcome(i), Failure) else "ok", encode(outcome(i)))
            for i in range(N)])  # fmt: skip
    return path


def test_answers_of_version_0_3_are_kept_with_their_keys(tmp_path: Path) -> None:
    path = old_store(tmp_path / "responses.sqlite")
    with ResponseStore(path, read_only=True) as store:
        assert contents(store) == WHOLE and len(list(store.others(dict.fromkeys(KEYS, "")))) == N
    for _ in range(2):
        with ResponseStore(path) as store:
            assert contents(store) == WHOLE and store.notes == []
            assert {sample: state.attempts for sample, state in store.known(KEYS).items()} == dict.fromkeys(KEYS, 1)
    assert {file.name for file in tmp_path.iterdir()} == {"responses.sqlite"}


def test_a_damaged_row_of_version_0_3_is_missing_and_said(tmp_path: Path) -> None:
    path = old_store(tmp_path / "responses.sqlite")
    with behind(path) as run:
        lines(run, "UPDATE responses SET payload = replace(payload, '\"text\"', '\"tezt\"') WHERE sample = 't/1'",
              "UPDATE responses SET payload = '{' WHERE sample = 't/2'",
              "UPDATE responses SET sample = 't/999' WHERE sample = 't/3'",
              "UPDATE responses SET payload = replace(payload, '\"token_ids\": [', '\"token_ids\": [\"x\",') "
              "WHERE sample = 't/4'",
              "UPDATE responses SET payload = replace(payload, '{\"finish', '{\"more\": 1, \"finish') "
              "WHERE sample = 't/5'")  # fmt: skip
    with ResponseStore(path) as store:
        assert contents(store) == {k: v for k, v in WHOLE.items() if k not in {f"t/{i}" for i in range(1, 6)}}
        assert "5 rows are not as they were written" in store.notes[0]


def test_a_payload_may_lack_what_has_a_default_and_have_what_is_unknown() -> None:
    """Within one schema a newer version only adds; a checksum says that the row is as it was written."""
    kept = json.loads(encode(outcome(1)))
    assert decode("ok", json.dumps({**kept, "brand_new": [1]})) == outcome(1)
    kept.pop("positions")
    assert decode("ok", json.dumps(kept)) == outcome(1)
    with pytest.raises(ValueError, match="brand_new"):
        decode("ok", json.dumps({**kept, "brand_new": [1]}), strict=True)


def test_an_answer_that_another_version_wrote_and_this_one_cannot_read_is_one_sentence(path: Path) -> None:
    with ResponseStore(path) as store:
        run = store._connection.execute
        row = file.Row(*run("SELECT * FROM responses WHERE sample = 't/1'").fetchone())
        changed = row._replace(payload=json.dumps({**json.loads(row.payload), "token_ids": {"packed": "xyz"}}))
        run("DELETE FROM responses WHERE sample = 't/1'")
        file.insert(store._connection, "responses", [changed])
    with ResponseStore(path) as store, pytest.raises(StoreError, match="another version of mmrope-eval wrote it; use"):
        store.read(KEYS["t/1"], "t/1")


def test_half_a_character_of_an_odd_file_name_is_stored(tmp_path: Path) -> None:
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        store.put_all([Outcome("a", Failure("t/0", "media", "/data/\udcff.mp4 is not there."))])
        outcome = store.get([("a", "t/0")])["t/0"]
    assert outcome == Failure("t/0", "media", "/data/?.mp4 is not there.")


# ------------------------------------------------------------------------------------- killed, copied, cut off, removed


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """What a killed writer of 100 answers leaves, of which the last two are in the log alone."""
    path = tmp_path / "killed" / "responses.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), "100"], check=False)
    assert done.returncode == -signal.SIGKILL and path.with_name("responses.sqlite-wal").stat().st_size > 0
    return path


def found(path: Path, read_only: bool = False) -> tuple[int, list[str]]:
    with ResponseStore(path, read_only=read_only) as store:
        return len(store.get(("a", f"t/{i}") for i in range(100))), list(store.notes)


def test_nothing_is_lost_by_a_kill(killed: Path) -> None:
    before = {path: path.read_bytes() for path in killed.parent.iterdir()}
    assert found(killed, read_only=True) == (100, [])
    assert {path: path.read_bytes() for path in killed.parent.iterdir()} == before
    assert found(killed) == (100, [])
    assert [path.name for path in killed.parent.iterdir()] == ["responses.sqlite"]


def test_a_copy_of_the_main_file_alone_has_nearly_all_and_says_what_it_lacks(killed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(killed, tmp_path))
    count, notes = found(copy)
    assert count == 98
    assert len(notes) == 1 and "its responses.sqlite-wal is not here: the last answers may be missing" in notes[0]
    assert found(copy) == (count, []), "said once"


def test_a_damaged_log_says_how_many_answers_it_cost(killed: Path) -> None:
    log = killed.with_name("responses.sqlite-wal")
    content = bytearray(log.read_bytes())
    content[200] ^= 1
    log.write_bytes(content)
    count, notes = found(killed)
    assert 95 <= count < 100 and "are lost" in notes[0] and f"about {100 - count}" in notes[0]


def test_a_finished_store_is_one_file_that_a_folder_without_write_permission_can_hold(whole: Path) -> None:
    assert [file.name for file in whole.parent.iterdir()] == ["responses.sqlite"]
    assert whole.read_bytes()[18:20] == b"\1\1", "no log is needed to read it"


def remove(path: Path) -> None:
    path.unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("change", [remove, remove_folder, move_folder])
def test_a_file_that_vanishes_while_it_is_written_to_is_noticed_and_written_again(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "run" / "responses.sqlite"
    with ResponseStore(path) as store:
        store.put_all([Outcome("a", dataclasses.replace(WHOLE["t/0"], id="t/0"))])
        store.put_all([Outcome("a", dataclasses.replace(WHOLE["t/1"], id="t/1"))])
        change(path)
        with pytest.raises(StoreError) as caught:
            store.require_place()
    assert str(caught.value) == (
        f"{path} was removed, moved or replaced while answers were written to it; no scores were written, its answers "
        f"are in {path}: start the same command again.")
    with ResponseStore(path) as store:
        assert len(store.known({"t/0": "a", "t/1": "a"})) == 2 and store.notes == []


def test_a_file_in_its_place_is_left_alone_and_the_answers_saved_beside_it(path: Path, tmp_path: Path) -> None:
    place = tmp_path / "run" / "responses.sqlite"
    with ResponseStore(place) as store:
        store.put_all([Outcome("a", WHOLE["t/0"])])
        path.replace(place)
        with pytest.raises(StoreError, match=r"responses\.rescued-1\.sqlite: choose another --output\.$"):
            store.sync()
    with ResponseStore(place) as store:
        assert contents(store) == WHOLE and store.notes == [], "the log of the old file did not get into the new one"
    with ResponseStore(place.with_name("responses.rescued-1.sqlite")) as store:
        assert set(store.known({"t/0": "a"})) == {"t/0"}


def test_that_the_file_is_gone_is_noticed_while_answers_are_put(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    with ResponseStore(path) as store, pytest.raises(StoreError, match="was removed"):
        for i in range(200):
            store.put_all([Outcome("a", Response(f"t/{i}", "x", (), "stop", 1))])
            if i == 100:
                path.unlink()


# ----------------------------------------------------------------------------------------------- disks and file systems


def test_a_full_disk_is_one_sentence_and_loses_nothing(path: Path) -> None:
    with ResponseStore(path) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match=r"the disk of .* is full: free some space and start the same command"):
            for i in range(200):
                store.put_all([Outcome("b", Response(f"t/{i}", "x" * 5000, (), "stop", 1))])
    with ResponseStore(path) as store:
        assert contents(store) == WHOLE and store.notes == []


@pytest.mark.parametrize(("name", "free", "expected"), [
    ("SQLITE_FULL", 2**40, "is full: free some space"),
    ("SQLITE_IOERR_SHMSIZE", 0, "is full: free some space"),
    ("SQLITE_CANTOPEN", 0, "is full: free some space"),
    ("SQLITE_IOERR_WRITE", 2**40, "the file itself may be sound, so keep it"),
    ("SQLITE_READONLY_DBMOVED", 2**40, "make it and its folder writable"),
    ("SQLITE_CANTOPEN", 2**40, "make it and its folder writable"),
    ("SQLITE_BUSY", 2**40, "is held by another program"),
    ("SQLITE_NOTADB", 2**40, "put a copy of it back, or move it away"),
])  # fmt: skip
def test_the_advice_fits_the_trouble(
    tmp_path: Path, name: str, free: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store on a full disk is sound: moving it away, as was advised once, throws answers away."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 0, free))
    error = sqlite3.OperationalError("trouble")
    error.sqlite_errorname = name
    advice = str(file.trouble(tmp_path / "responses.sqlite", error))
    assert expected in advice and ("move it away" in advice) == (name == "SQLITE_NOTADB")


class Lacking(sqlite3.Connection):
    """On a file system that lacks something: no table can be read until it is done without."""

    trouble, without = "", ""

    def __init__(self, place: str, **named: Any) -> None:
        super().__init__(place, **named)
        self.done_without = self.without in place

    def execute(self, statement: str, *given: Any) -> sqlite3.Cursor:
        self.done_without |= self.without in statement
        if not self.done_without and "sqlite_master" in statement:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self.trouble
            raise error
        return super().execute(statement, *given)


class NoLocks(Lacking):
    trouble, without = "SQLITE_IOERR_LOCK", "vfs=unix-none"


class NoMemory(Lacking):
    trouble, without = "SQLITE_IOERR_SHMMAP", "locking_mode=EXCLUSIVE"


@pytest.mark.parametrize("lacking", [NoLocks, NoMemory])
def test_sqlite_does_without_the_locks_or_the_memory_that_a_file_system_lacks(
    tmp_path: Path, lacking: type[Lacking], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lustre without -o flock refuses every lock; NFS and some FUSE share no memory between processes."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=lacking))
    if lacking is NoLocks:
        monkeypatch.setattr(fcntl, "lockf", refuse)
    path = tmp_path / "responses.sqlite"
    for i in range(3):
        with ResponseStore(path) as store:
            assert len(contents(store)) == i
            store.put_all([Outcome(identity(i), outcome(i))])
    assert [file.name for file in tmp_path.iterdir()] == ["responses.sqlite"]


def test_a_lock_that_another_program_holds_is_no_missing_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, timeout=0.1))
    with behind(path) as run:
        run("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="is held by another program"):
            ResponseStore(path)


def test_a_disk_that_fills_up_while_a_damaged_file_is_mended_leaves_it_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = path.read_bytes().replace(b"answer 1 ", b"anzwer 1 ", 1)
    path.write_bytes(content)

    connect = sqlite3.connect

    def nearly_full(place: str, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(place, **named)
        if f".{path.name}" in place:  # the new file, before it is in the place of the old one
            connection.execute("PRAGMA max_page_count = 4")
        return connection

    monkeypatch.setattr(sqlite3, "connect", nearly_full)
    with pytest.raises(UserError, match=f"the disk of {path} is full: free some space"), ResponseStore(path):
        pass
    assert path.read_bytes() == content and not list(path.parent.glob(f".{path.name}*"))


# ---------------------------------------------------------------------------------------------------- asking everything


def test_set_aside_answers_are_asked_anew_and_a_stopped_command_goes_on(path: Path) -> None:
    keys = [(key, sample) for sample, key in KEYS.items()]
    new = Response("t/0", "new", (1,), "stop", 1)
    with ResponseStore(path) as store:
        assert store.set_aside(keys[:30]) == 30
        assert set(store.known(KEYS)) == set(list(KEYS)[30:])
        store.put_all([Outcome(KEYS["t/0"], new)])
    with ResponseStore(path) as store:
        assert store.set_aside(keys[:30]) == 0, "the same command again"
        assert store.read(KEYS["t/0"], "t/0") == new
        for i in range(1, 30):
            store.put_all([Outcome(identity(i), outcome(i))])
        store.drop_aside(keys[:30])
    with ResponseStore(path) as store:
        assert contents(store) == {**WHOLE, "t/0": new} and store.notes == []
        assert store.set_aside(keys[:30]) == 30, "and everything once more"


# ----------------------------------------------------------------------------------------------------------- whole runs


def test_a_few_damages_of_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of every kind; the benchmark does hundreds."""
    bench = load_script("benchmarks/fault_store.py")
    monkeypatch.setenv("MMROPE_CACHE", str(tmp_path / "cache"))
    start = bench.prepared(tmp_path)
    start(tmp_path / "run")
    trials = bench.campaign(tmp_path / "run", range(len(bench.KINDS)), tmp_path / "damaged", start, bench.KINDS)
    assert [trial for trial in trials if trial.outcome in (*bench.FAULTS, "another result, said")] == []
    assert "asked again, said" in {trial.outcome for trial in trials}


def test_a_store_grows_with_its_answers_and_no_faster(tmp_path: Path) -> None:
    """`benchmarks/many_samples.py` measures whole runs of up to 100,000 samples."""
    sizes = []
    for count in (400, 800, 1600):
        path = tmp_path / str(count) / "responses.sqlite"
        with ResponseStore(path) as store:
            store.put_all([Outcome(identity(i), dataclasses.replace(outcome(1), id=f"t/{i}")) for i in range(count)])
        sizes.append(path.stat().st_size)
    assert 1.8 < sizes[1] / sizes[0] < 2.2 and 1.8 < sizes[2] / sizes[1] < 2.2
