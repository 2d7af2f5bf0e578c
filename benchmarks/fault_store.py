"""Damage a finished run's answers in many ways and start its command again: nothing may change without a word.

    python benchmarks/fault_store.py [--seeds 300] [--first 0] [--kinds bits,log] [--scratch DIR]

Time: about a quarter of an hour on two shared cores.

Every seed takes a copy of one run (three tasks, a stand-in for the engine), does one thing to `responses.sqlite` or
what lies beside it, and runs the same command. What may come out: the same files and nothing asked; the same files and
a sentence on what was asked again; or one sentence and exit code 2. A traceback, another score, or questions asked
again without a word are faults, and make the exit code 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STORE = "responses.sqlite"
PAGE = 4096
TASKS = ("refcoco_val", "charades_sta", "docvqa")
FAULTS = ("traceback", "changed without a word", "asked again without a word", "another result, said")


def main() -> int:
    """Run the campaign; exit code 1 when it found a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kinds", default=",".join(KINDS), help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        os.environ["MMROPE_CACHE"] = str(scratch / "cache")
        start = prepared(scratch)
        shutil.rmtree(scratch / "run", ignore_errors=True)
        start(scratch / "run")
        kinds = {name: KINDS[name] for name in args.kinds.split(",")}
        seeds = range(args.first, args.first + args.seeds)
        trials = campaign(scratch / "run", seeds, scratch / "damaged", start, kinds)
    return report(trials)


def prepared(scratch: Path) -> Callable[[Path], int]:
    """A function that starts the command with another --output, and gives the number of questions it asked."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from suite_fakes import FakeStart

    from mmrope_demo.checkpoints import build_checkpoint
    from mmrope_eval.run.config import RunConfig
    from mmrope_eval.run.run import run
    from mmrope_synth import build_world

    if not (scratch / "world").is_dir():
        build_world(scratch / "world", n=16)
    checkpoint = build_checkpoint("qwen2.5-vl", scratch / "checkpoint")

    def start(output: Path) -> int:
        return run(RunConfig((str(checkpoint),), TASKS, output, ("mrope",), data_root=scratch / "world"),
                   FakeStart()).asked  # fmt: skip

    return start


# ------------------------------------------------------------------------------------------------------------- damages


def bits(folder: Path, dice: random.Random) -> None:
    """Flipped bits: 1, 1, 3 or 30."""
    flip(folder / STORE, dice, dice.choice([1, 1, 3, 30]))


def head(folder: Path, dice: random.Random) -> None:
    """Flipped bits in the first page, which says what there is."""
    flip(folder / STORE, dice, dice.choice([1, 3]), PAGE)


def flip(path: Path, dice: random.Random, count: int, within: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(count if content else 0):
        content[dice.randrange(min(within or len(content), len(content)))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def zeros(folder: Path, dice: random.Random) -> None:
    """A stretch of zeros, as a file system leaves it after a crash."""
    content = bytearray((folder / STORE).read_bytes())
    begin, size = dice.randrange(len(content)), dice.choice([16, 512, PAGE, 3 * PAGE])
    content[begin : begin + size] = bytes(len(content[begin : begin + size]))
    (folder / STORE).write_bytes(content)


def pages(folder: Path, dice: random.Random) -> None:
    """One page in the place of another."""
    content = bytearray((folder / STORE).read_bytes())
    target, source = (dice.randrange(len(content) // PAGE) * PAGE for _ in range(2))
    content[target : target + PAGE] = content[source : source + PAGE]
    (folder / STORE).write_bytes(content)


def short(folder: Path, dice: random.Random) -> None:
    """Cut off: the last byte, somewhere, at a page, all of it."""
    size = (folder / STORE).stat().st_size
    os.truncate(folder / STORE, dice.choice([size - 1, dice.randrange(size), dice.randrange(size // PAGE) * PAGE, 0]))


def longer(folder: Path, dice: random.Random) -> None:
    """Something behind the end."""
    with (folder / STORE).open("ab") as file:
        file.write(dice.randbytes(dice.choice([1, 100, PAGE, 5000])))


def gone(folder: Path, dice: random.Random) -> None:
    """No file, a folder, a text, another program's database, an older or newer shape."""
    path = folder / STORE
    dice.choice([as_nothing, as_folder, as_text, as_foreign, as_older, as_newer, as_odd])(path)


def as_nothing(path: Path) -> None:
    path.unlink()


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_text(path: Path) -> None:
    path.write_text("these are not the answers\n" * 500)


def as_foreign(path: Path) -> None:
    path.unlink()
    rewrite(path, "CREATE TABLE responses (id INTEGER, body TEXT); INSERT INTO responses VALUES (1, 'hello')")


def as_older(path: Path) -> None:
    """Without a column that every version had."""
    rewrite(path, "ALTER TABLE responses DROP COLUMN attempts")


def as_newer(path: Path) -> None:
    rewrite(path, "PRAGMA user_version = 3; UPDATE meta SET value = '3' WHERE key = 'schema'")


def as_odd(path: Path) -> None:
    rewrite(path, "DROP TABLE earlier")


def rewrite(path: Path, statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)


def rows(folder: Path, dice: random.Random) -> None:
    """A row written over behind the store's back: another text, another kind of value, a payload that is none."""
    with contextlib.closing(sqlite3.connect(folder / STORE, isolation_level=None)) as connection:
        identity, sample = dice.choice(connection.execute("SELECT identity, sample FROM responses").fetchall())
        column, value = dice.choice([
            ("payload", '{"id": "x"}'), ("payload", "{"), ("payload", b"\xff\xfe"), ("payload", "[" * 5000),
            ("payload", "null"), ("attempts", -1), ("attempts", "many"), ("status", "odd"), ("sample", "docvqa/999"),
            ("identity", "0" * 64), ("checksum", b""), ("checksum", "text"), ("question", b"\0"), ("context", 5),
        ])  # fmt: skip
        connection.execute(f"UPDATE responses SET {column} = ? WHERE identity = ? AND sample = ?",
                           (value, identity, sample))  # fmt: skip


def log(folder: Path, dice: random.Random) -> None:
    """Killed while it wrote, and the log damaged, cut, lost or of another file."""
    path = folder / STORE
    killed(path, dice)
    journal = path.with_name(f"{STORE}-wal")
    what = dice.choice(["flip", "cut", "drop", "keep", "main"])
    if what == "flip":
        flip(journal, dice, dice.choice([1, 3, 30]))
    elif what == "cut":
        os.truncate(journal, dice.randrange(journal.stat().st_size))
    elif what == "drop":
        journal.unlink()
    elif what == "main":
        flip(path, dice, 3)


def killed(path: Path, dice: random.Random) -> None:
    """Make the file what a killed command leaves: the last of its answers in the log alone."""
    from mmrope_eval.store import store as module

    copy = path.with_name("copy")
    with module.ResponseStore(path) as whole:
        some = whole._connection.execute("SELECT * FROM responses").fetchall()
    chosen = dice.sample(some, dice.randrange(1, 20))
    with module.ResponseStore(path) as store:
        store._connection.executemany("DELETE FROM responses WHERE identity = ? AND sample = ?",
                                      [row[:2] for row in chosen])  # fmt: skip
        store.sync()
        for row in chosen:
            store._connection.execute("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        for name in (STORE, f"{STORE}-wal"):
            shutil.copy(path.with_name(name), path.with_name(f"{name}.copy"))
    copy.unlink(missing_ok=True)
    for name in (STORE, f"{STORE}-wal"):
        path.with_name(f"{name}.copy").replace(path.with_name(name))


Damage = Callable[[Path, random.Random], None]
KINDS: Mapping[str, Damage] = {
    damage.__name__: damage for damage in (bits, head, zeros, pages, short, longer, gone, rows, log)
}


# ------------------------------------------------------------------------------------------------------------ outcomes


@dataclass(frozen=True)
class Trial:
    """What one damage led to."""

    seed: int
    kind: str
    outcome: str
    words: str


def campaign(
    run: Path, seeds: Iterator[int] | range, scratch: Path, start: Callable[[Path], int], kinds: Mapping[str, Damage]
) -> list[Trial]:
    """One trial a seed. `start` starts the run's command with another --output; it gives how many it asked."""
    whole = files(run)
    return [trial(run, whole, seed, scratch, start, *sorted(kinds.items())[seed % len(kinds)]) for seed in seeds]


def trial(
    run: Path, whole: Mapping[str, bytes], seed: int, scratch: Path, start: Callable[[Path], int], kind: str,
    damage: Damage,
) -> Trial:  # fmt: skip
    """Damage a copy, start, compare."""
    from mmrope_eval.errors import UserError

    shutil.rmtree(scratch, ignore_errors=True)
    copy = Path(shutil.copytree(run, scratch))
    damage(copy, random.Random(seed))
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            asked = start(copy)
    except UserError as error:
        same = files(copy) == whole
        return Trial(seed, kind, "one sentence" if same else "changed without a word", str(error))
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        return Trial(seed, kind, "traceback", f"{type(error).__name__}: {error}")
    words = "\n".join(line for line in stderr.getvalue().splitlines() if remarkable(line))
    if files(copy) != whole:
        return Trial(seed, kind, "another result, said" if words else "changed without a word", words)
    if asked:
        return Trial(seed, kind, "asked again, said" if words else "asked again without a word", words)
    return Trial(seed, kind, "same, said" if words else "same", words)


def remarkable(line: str) -> bool:
    """Whether a line of the command's output is about its store."""
    return any(word in line for word in ("damaged", "not here", "not in responses.sqlite", "asked again"))


def files(folder: Path) -> dict[str, bytes]:
    """Everything that may not differ between identical runs."""
    paths = [*folder.rglob("scores.json"), *folder.rglob("*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def report(trials: list[Trial]) -> int:
    """Print what came out of every kind; 1 where there is a fault."""
    counts: dict[str, collections.Counter[str]] = {}
    for trial in trials:
        counts.setdefault(trial.kind, collections.Counter())[trial.outcome] += 1
    for kind, outcomes in sorted(counts.items()):
        print(f"{kind:8}", ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common()))
    total: collections.Counter[str] = collections.Counter(trial.outcome for trial in trials)
    print("all     ", ", ".join(f"{number} {outcome}" for outcome, number in total.most_common()))
    wrong: list[Any] = [trial for trial in trials if trial.outcome in FAULTS]
    for trial in wrong:
        print(f"seed {trial.seed} ({trial.kind}): {trial.outcome}: {trial.words}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
