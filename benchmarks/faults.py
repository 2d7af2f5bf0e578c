"""All attacks on one machine: kills, disks, stores, records, media and answers, and a table of what they found.

    python benchmarks/faults.py [--scale 1.0] [--seed 0] [--only kills disks ...] [--json FILE]

Time: the better part of an hour on two cores.

At scale 1: 100 kills (60 of runs with a stand-in for the engine, 40 of real ones with vLLM in processes of its own, at
the run, the engine core and its worker), 40 troubles with disks, 300 damaged stores, 800 damaged records, 300 damaged
media, 10,000 odd answers for every scorer. The scripts that do each are beside this one, with what they count as a
fault; this one counts the faults as answers lost or doubled, tracebacks, hangs, and changes without a word.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
SIGNS: Mapping[str, tuple[str, ...]] = {
    "hangs": ("hung", ": hang", "did not end"),
    "tracebacks": ("traceback", "exception", "Error"),
    "silent": ("silent", "without a word", "unsteady", "another score"),
}
"""Words of a fault that tell its kind; what has none of them is something lost, doubled, left over or too large."""


@dataclass(frozen=True)
class Result:
    """What one attack came to."""

    what: str
    tried: int
    faults: tuple[str, ...]
    seconds: float

    def row(self) -> list[object]:
        """The line of the table."""
        counts = dict.fromkeys(("lost", *SIGNS), 0)
        for fault in self.faults:
            counts[kind_of(fault)] += 1
        kinds = [counts[name] for name in ("lost", "tracebacks", "hangs", "silent")]
        return [self.what, self.tried, self.tried - len(self.faults), *kinds, f"{self.seconds:.0f}"]


def kind_of(fault: str) -> str:
    """The column of the table that a fault belongs to."""
    return next((kind for kind, words in SIGNS.items() if any(word in fault for word in words)), "lost")


Attack = Callable[[float, int, Path], tuple[int, Sequence[str]]]
"""From scale, seed and a place to work: how many were tried, and a line for each fault."""


def kills(scale: float, seed: int, scratch: Path) -> tuple[int, Sequence[str]]:
    """SIGKILL, SIGTERM and SIGINT."""
    from fault_kills import attack

    tried = 0
    wrong: list[str] = []
    for engine, count in (("stand-in", 60), ("workers", 40)):
        tally = attack(engine, max(1, round(count * scale)), seed, scratch / engine)
        tried, wrong = tried + len(tally.kills), [*wrong, *tally.wrong]
    return tried, wrong


def disks(scale: float, seed: int, scratch: Path) -> tuple[int, Sequence[str]]:
    """Full and read-only ones."""
    from fault_disks import GOOD, campaign, can_mount

    if not can_mount():
        raise SystemExit("faults: disks need a machine where memory disks can be mounted (fault_disks.py); leave them "
                         "out with --only")  # fmt: skip
    trials = campaign(max(1, round(40 * scale)), seed, scratch)
    wrong = [trial for trial in trials if trial.outcome not in GOOD]
    return len(trials), [f"{trial.what}: {trial.outcome}: {trial.words}" for trial in wrong]


def stores(scale: float, seed: int, scratch: Path) -> tuple[int, Sequence[str]]:
    """Damaged stores of answers."""
    from fault_store import FAULTS, KINDS, campaign, prepared

    os.environ["MMROPE_CACHE"] = str(scratch / "cache")
    start = prepared(scratch)
    start(scratch / "run")
    seeds = range(seed * 1_000_000, seed * 1_000_000 + max(1, round(300 * scale)))
    trials = campaign(scratch / "run", seeds, scratch / "damaged", start, KINDS)
    wrong = [trial for trial in trials if trial.outcome in FAULTS]
    return len(trials), [f"{trial.kind} {trial.seed}: {trial.outcome}: {trial.words}" for trial in wrong]


def records(scale: float, seed: int, scratch: Path) -> tuple[int, Sequence[str]]:
    """Damaged records of runs and sweeps."""
    from fault_records import campaign, make_run

    tried = 0
    wrong: list[str] = []
    for name, commands, count in zip(("run", "sweep"), make_run(scratch), (600, 200), strict=True):
        tally = campaign(commands, max(1, round(count * scale)), seed, scratch / f"damaged-{name}")
        tried, wrong = tried + tally.counts.total(), [*wrong, *tally.wrong]
    return tried, wrong


def media(scale: float, seed: int, scratch: Path) -> tuple[int, Sequence[str]]:
    """Damaged pictures and videos."""
    from fault_media import FAULTS, campaign

    trials = campaign(max(1, round(300 * scale)), seed, scratch)
    wrong = [trial for trial in trials if trial.outcome in FAULTS]
    return len(trials), [f"{trial.file} {trial.number}: {trial.outcome}: {trial.words}" for trial in wrong]


def responses(scale: float, seed: int, scratch: Path) -> tuple[int, Sequence[str]]:
    """Odd answers for every scorer."""
    from fault_responses import campaign

    scorers = campaign(max(1, round(10_000 * scale)), seed, scratch)
    wrong = [f"{scorer.name}: {fault}: {answer}" for scorer in scorers for fault, answer in scorer.wrong]
    return sum(scorer.tried for scorer in scorers), wrong


ATTACKS: Mapping[str, Attack] = {
    attack.__name__: attack for attack in (kills, disks, stores, records, media, responses)
}


def main() -> int:
    """Run the attacks; exit code 1 when one found a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of all counts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), default=list(ATTACKS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    results = []
    for name in args.only:
        with tempfile.TemporaryDirectory() as scratch:
            began = time.monotonic()
            tried, faults = ATTACKS[name](args.scale, args.seed, Path(scratch))
            results.append(Result(name, tried, tuple(faults), time.monotonic() - began))
        print(f"{name}: {tried} tried, {len(faults)} faults", *faults, sep="\n  ", file=sys.stderr, flush=True)
    return report(results, args.json)


def report(results: Sequence[Result], path: Path | None = None) -> int:
    """Print the table; 1 where there is a fault."""
    head = ["attack", "tried", "survived", "lost", "tracebacks", "hangs", "silent", "s"]
    print(tabulate([result.row() for result in results], head, tablefmt="simple"))
    for result in results:
        for fault in result.faults:
            print(f"{result.what}: {fault}".encode("ascii", "backslashreplace").decode())
    if path is not None:
        path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    return 1 if any(result.faults for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
