"""Let the disk of a run fill up, or refuse to be written to, at random moments, and start the same command again.

    python benchmarks/fault_disks.py [--trials 20] [--seed 0] [--scratch DIR]

Time: about ten minutes on two shared cores.

The whole command with a stand-in for the engine (fault_kills.py has it), its output on a small memory disk that this
program mounts: as root, or in a namespace of its own where the kernel lets users have one. A run must end with exit
code 2, one sentence and no traceback, or go on where only the cache is full. Given room again, the same command must
come to the answers and files of an undisturbed run, and may not ask again what it had answered.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from crash import TASKS, checkpoint_and_world, differences
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
INSIDE = "MMROPE_INSIDE_NAMESPACE"
PATIENCE = 300.0
ROOM = 64_000
"""kB of a disk with room for everything."""


def main() -> int:
    """Run the campaign; exit code 1 when it found a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    if not can_mount():
        if os.environ.get(INSIDE):
            raise SystemExit("no file system can be mounted here, as root or in a namespace: nothing was tried")
        command = ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv]
        return subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode
    with tempfile.TemporaryDirectory() as temporary:
        trials = campaign(args.trials, args.seed, args.scratch or Path(temporary))
    return report(trials)


def can_mount() -> bool:
    """Whether this process may mount a memory disk."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
    return done.returncode == 0


class Disk:
    """A memory disk of a size that can be changed, mounted while it is used as a context."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self._size = path, size

    def __enter__(self) -> Disk:
        self.path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self._size}k", "tmpfs", self.path], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)

    def set(self, *, size: int = ROOM, writable: bool = True) -> None:
        """Another size in kB; or not to be written to."""
        options = f"remount,size={size}k,{'rw' if writable else 'ro'}"
        subprocess.run(["mount", "-o", options, self.path], check=True)


# ------------------------------------------------------------------------------------------------------------- the runs


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    text: str

    @property
    def fault(self) -> str:
        """What is wrong with an end by bad luck; "" where it is one sentence and exit code 2."""
        if "Traceback" in self.text:
            return "traceback"
        if self.code != 2 or self.text.count(": error: ") != 1:
            return f"exit code {self.code} without one sentence"
        return ""


@dataclass(frozen=True)
class Runs:
    """One command with different places for its output and its cache."""

    model: Path
    data: Path
    cache: Path

    def __call__(self, output: Path, cache: Path | None = None) -> Ended:
        """Start it and wait."""
        command = [sys.executable, str(ROOT / "benchmarks" / "fault_kills.py"), "--answer", "--model", self.model,
                   "--variant", "mrope-i,hope", "--tasks", TASKS, "--data-root", self.data, "--output", output,
                   "--max-pixels", "100352", "--video-tokens", "128", "--max-model-len", "2048"]  # fmt: skip
        return ended(list(map(str, command)), cache or self.cache)


def ended(command: Sequence[str], cache: Path) -> Ended:
    """How a command ends. One that hangs has exit code -1."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return Ended(-1, "hung")
    return Ended(done.returncode, done.stdout + done.stderr)


def kept(output: Path) -> set[tuple[str, str]]:
    """What is answered in the stores of an output."""
    answered = set()
    for path in output.rglob("responses.sqlite"):
        with tempfile.TemporaryDirectory() as room:  # SQLite needs some to read, and a full disk has none
            for part in path.parent.glob(f"{path.name}*"):
                shutil.copy(part, room)
            with closing(sqlite3.connect(Path(room) / path.name)) as connection:
                if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'responses'").fetchone():
                    answered |= set(connection.execute("SELECT identity, sample FROM responses").fetchall())
    return answered


# ----------------------------------------------------------------------------------------------------------- the trials


@dataclass(frozen=True)
class Trial:
    """What one trial came to."""

    number: int
    what: str
    outcome: str
    words: str = ""


Attempt = Callable[[Runs, Path, Path, random.Random], tuple[str, str]]


def fills(runs: Runs, whole: Path, scratch: Path, dice: random.Random) -> tuple[str, str]:
    """The output's disk has less room than the run needs."""
    needed = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 1024
    with Disk(scratch / "disk", dice.randrange(8, 2 * needed)) as disk:
        first = runs(disk.path / "run")
        if first.code == 0:
            return ("enough room", "") if not differences(whole, disk.path / "run") else ("lost", "other files, exit 0")
        return recovered(runs, whole, disk, first)


def cache_fills(runs: Runs, whole: Path, scratch: Path, dice: random.Random) -> tuple[str, str]:
    """The cache's disk has no room: caching is lost, the run is not."""
    with Disk(scratch / "disk", dice.choice([0, 4, 16, 64])) as disk:
        done = runs(scratch / "run", disk.path)
    if done.code == 2 and not done.fault:
        return continued(runs, whole, scratch / "run", set(), done)
    if done.code != 0:
        return done.fault or f"exit code {done.code}", done.text[-1500:]
    return ("went on", "") if not differences(whole, scratch / "run") else ("lost", "other files, exit 0")


def refuses(runs: Runs, whole: Path, scratch: Path, dice: random.Random) -> tuple[str, str]:
    """The output cannot be written to: before the first run, or with a part of the answers in it."""
    with Disk(scratch / "disk", ROOM) as disk:
        if dice.random() < 0.7:
            shutil.copytree(whole, disk.path / "run")
            halve(disk.path / "run", dice)
        disk.set(writable=False)
        first = runs(disk.path / "run")
        return recovered(runs, whole, disk, first)


def rescored(runs: Runs, whole: Path, scratch: Path, dice: random.Random) -> tuple[str, str]:
    """A colleague's run that cannot be written to is scored again elsewhere."""
    with Disk(scratch / "disk", ROOM) as disk:
        shutil.copytree(whole, disk.path / "run")
        disk.set(writable=False)
        command = [sys.executable, "-m", "mmrope_eval", "rescore", str(disk.path / "run"), "--output",
                   str(scratch / "again")]  # fmt: skip
        done = ended(command, runs.cache)
        if done.code != 0:
            return done.fault or f"exit code {done.code}", done.text[-1500:]
        wrong = [name for name in (path.relative_to(whole) for path in whole.rglob("samples/*.jsonl"))
                 if (scratch / "again" / name).read_bytes() != (whole / name).read_bytes()]  # fmt: skip
        return ("lost", f"{wrong[0]} is another") if wrong else ("went on", "")


def in_the_way(runs: Runs, whole: Path, scratch: Path, dice: random.Random) -> tuple[str, str]:
    """Something else lies where a file of the run should be."""
    name, folder = dice.choice([("", False), ("mrope-i", False), ("mrope-i/samples", False), ("hope/scores.json", True),
                                ("mrope-i/responses.sqlite", True), ("hope/manifest.json", True)])  # fmt: skip
    path = scratch / "run" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        path.mkdir()
    else:
        path.write_text("notes of my own")
    first = runs(scratch / "run")
    row_failed = first.code == 1 and "Traceback" not in first.text  # one row's trouble costs that row
    if first.fault and not row_failed:
        return first.fault, f"{name or 'the output'}: {first.text[-1500:]}"
    if folder:
        path.rmdir()
    else:
        assert path.read_text() == "notes of my own"
        path.unlink()
    return continued(runs, whole, scratch / "run", set(), first)


def recovered(runs: Runs, whole: Path, disk: Disk, first: Ended) -> tuple[str, str]:
    """What came of a run that its disk stopped, and of the same command with room to write."""
    if first.fault:
        return first.fault, first.text[-1500:]
    before = kept(disk.path / "run")
    disk.set()
    return continued(runs, whole, disk.path / "run", before, first)


def continued(runs: Runs, whole: Path, output: Path, before: set[tuple[str, str]], first: Ended) -> tuple[str, str]:
    """The same command with the trouble gone."""
    again = runs(output)
    if again.code != 0:
        return again.fault or f"exit code {again.code} with the trouble gone", again.text[-1500:]
    lost = differences(whole, output)
    if lost:
        return "lost", lost[0]
    if before - kept(output):
        return "lost", f"{len(before - kept(output))} answers were there before"
    sentence = next((line for line in first.text.splitlines() if ": error: " in line), "")
    return "sentence, then whole", sentence


def halve(output: Path, dice: random.Random) -> None:
    """Take answers and all scores away, as if the run had been stopped."""
    for store in output.rglob("responses.sqlite"):
        with sqlite3.connect(store) as connection:
            rows = connection.execute("SELECT identity FROM responses").fetchall()
            connection.executemany("DELETE FROM responses WHERE identity = ?", dice.sample(rows, len(rows) // 2))
        connection.close()
        shutil.rmtree(store.parent / "samples", ignore_errors=True)
        (store.parent / "scores.json").unlink()


TRIALS: tuple[tuple[Attempt, int], ...] = ((fills, 10), (cache_fills, 3), (refuses, 3), (rescored, 1), (in_the_way, 3))
"""Kinds of trouble, and how many of twenty trials each has."""
GOOD = ("enough room", "went on", "sentence, then whole")


def campaign(count: int, seed: int, scratch: Path) -> list[Trial]:
    """So many trials."""
    runs = Runs(*checkpoint_and_world(scratch), scratch / "cache")
    whole = scratch / "whole"
    first = runs(whole)
    if first.code != 0:
        raise SystemExit(f"an undisturbed run failed: {first.text[-2000:]}")
    kinds = [attempt for attempt, share in TRIALS for _ in range(share)]
    random.Random(seed).shuffle(kinds)
    trials = []
    for number in range(count):
        attempt, place = kinds[number % len(kinds)], scratch / f"trial-{number}"
        place.mkdir()
        trials.append(Trial(number, attempt.__name__, *attempt(runs, whole, place, random.Random(f"{seed}/{number}"))))
        shutil.rmtree(place)
    return trials


def report(trials: Sequence[Trial]) -> int:
    """Print what came of every kind; 1 where there is a fault."""
    outcomes = list(dict.fromkeys([*GOOD, *(trial.outcome for trial in trials)]))
    rows = [[what, *(sum((trial.what, trial.outcome) == (what, outcome) for trial in trials) for outcome in outcomes)]
            for what in dict.fromkeys(trial.what for trial in trials)]  # fmt: skip
    print(tabulate(rows, ["trouble", *outcomes], tablefmt="simple"))
    wrong = [trial for trial in trials if trial.outcome not in GOOD]
    for trial in wrong:
        print(f"{trial.number} ({trial.what}): {trial.outcome}: {trial.words}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
