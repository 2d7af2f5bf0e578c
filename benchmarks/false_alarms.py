"""How often `mmrope-eval check` calls an equally good run worse, and how often it notices a loss that is there.

    python benchmarks/false_alarms.py [--rounds 1000] [--power-rounds 200] [--tolerance 0 0.2] [--together 0 0.5]
        [--mutant] [--json FILE]

Time: about ten minutes on two shared cores.

Each round draws a baseline and a run over the same questions: every question has a difficulty, shared in part by the
questions about its picture, and each run answers it right with that chance. The columns are those of a small table:
plain accuracy, several questions a picture, IoU, means of unequal groups. "Equally good" means that nothing but luck
differs; a loss of d points takes away that share of the run's right answers in every column.

"Together" is the chance that a run's luck with a question is its luck with the whole picture: a picture is read well by
one run and badly by the other, so that their differences on its questions go the same way. Without it the differences
of one picture do not correlate, and a test that forgot about pictures would look as good as one that does not. The
mutant is that test (`--mutant`): it must fail here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.pairing import Matched, TaskPair
from mmrope_eval.report.compare.precision import Layout
from mmrope_eval.report.compare.reported import ReportedCell, answers
from mmrope_eval.report.compare.verdict import against_reported, against_run
from mmrope_eval.report.options import TOLERANCE, Rules


@dataclass(frozen=True)
class Column:
    """A benchmark: questions, questions a picture, how they are averaged, how they are scored, how hard they are."""

    name: str
    questions: int
    per_picture: int
    average: str = "micro"
    scores: str = "accuracy"
    level: float = 0.6

    def layout(self, *, clustered: bool = True) -> Layout:
        """Its layout; the groups of "macro" hold 1, 2, 3 and 4 tenths of the questions. Unclustered it is the mutant's,
        in which every question stands alone."""
        picture = np.arange(self.questions) // self.per_picture
        share = picture / picture[-1]
        groups = [(f"g{int(np.searchsorted([0.1, 0.3, 0.6], part))}",) for part in share]
        return Layout.of((picture if clustered else np.arange(self.questions)).tolist(), self.average, groups)


COLUMNS = (
    Column("plain", 1000, 1),
    Column("easy", 400, 1, level=0.95),
    Column("three a picture", 900, 3),
    Column("eight a video", 400, 8, level=0.4),
    Column("iou", 500, 2, scores="iou", level=0.35),
    Column("groups", 600, 1, "macro"),
    Column("groups of videos", 300, 3, "macro", level=0.5),
    Column("small", 60, 1, level=0.3),
)


@dataclass(frozen=True)
class World:
    """What is drawn: `loss` in points; `spread` (0-1), how much of the answers is decided by the question rather than
    by luck; `together` (0-1), how often a run's luck is its luck with the whole picture."""

    loss: float = 0.0
    spread: float = 0.3
    together: float = 0.0


def rounds(column: Column, count: int, world: World, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """`count` times (2, n): a baseline's values and a run's."""
    spread = world.spread
    pictures = math.ceil(column.questions / column.per_picture)
    picture = np.arange(column.questions) // column.per_picture
    keep = 1 - world.loss / 100 / column.level
    for _ in range(count):
        if spread > 0:
            # Half of a question's difficulty is its picture's; beta with this concentration has the variance `spread`.
            concentration = 1 / spread - 1
            alpha, beta = column.level * concentration, (1 - column.level) * concentration
            shared = rng.beta(alpha, beta, pictures)[picture]
            skill = np.where(rng.random(column.questions) < 0.5, shared, rng.beta(alpha, beta, column.questions))
        else:
            skill = np.full(column.questions, column.level)
        luck = rng.random((2, column.questions))
        if world.together > 0:
            with_picture = rng.random(luck.shape) < world.together
            luck = np.where(with_picture, rng.random((2, pictures))[:, picture], luck)
        values = (luck < skill).astype(float)
        if column.scores == "iou":
            values = np.clip(skill + 0.15 * normal_of(luck), 0, 1)
        values[1] *= rng.random(column.questions) < keep
        yield values


def normal_of(uniform: np.ndarray) -> np.ndarray:
    """Uniform numbers as standard normal ones, of the same ranks."""
    return np.asarray(np.vectorize(NormalDist().inv_cdf)(np.clip(uniform, 1e-12, 1 - 1e-12)))


def worlds(columns: tuple[Column, ...], count: int, world: World, seed: int, *,
           clustered: bool = True) -> Iterator[list[TaskPair]]:
    """`count` times a baseline and a run on all columns."""
    rng = np.random.default_rng(seed)
    layouts = [column.layout(clustered=clustered) for column in columns]
    for drawn in zip(*(rounds(column, count, world, rng) for column in columns), strict=True):
        yield [TaskPair("mrope-i", column.name, column.name, "score", layout, values[0], values[1], (), (), ())
               for column, layout, values in zip(columns, layouts, drawn, strict=True)]


def failures(kind: str, count: int, rules: Rules, world: World, seed: int, columns: tuple[Column, ...] = COLUMNS, *,
             clustered: bool = True) -> tuple[int, int]:
    """Of `count` rounds, how many checks fail at all, and how many cells: against a run or against reported scores."""
    checks = cells = 0
    for pairs in worlds(columns, count, world, seed, clustered=clustered):
        if kind == "run":
            verdicts = against_run(Matched(tuple(pairs), (), ()), rules)
        else:
            verdicts = against_reported([as_reported(pair) for pair in pairs], rules)
        worse = sum(verdict.state == "worse" for verdict in verdicts)
        checks, cells = checks + (worse > 0), cells + worse
    return checks, cells


def as_reported(pair: TaskPair) -> ReportedCell:
    """The pair as it looks to someone who knows only the baseline's score."""
    baseline, score = (100 * pair.layout.score(values) for values in (pair.first, pair.second))
    centre, error = stats.cautious_error(pair.layout, pair.second)
    return ReportedCell(pair.cell, pair.column, baseline, score, answers(100 * centre, 100 * error),
                        pair.layout.units)


def main() -> None:
    """Run the simulation and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000, help="with equally good runs (default: %(default)s)")
    parser.add_argument("--power-rounds", type=int, default=200, help="with a loss (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, nargs="+", default=[0.0, TOLERANCE])
    parser.add_argument("--together", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--mutant", action="store_true", help="with equally good runs only, by a test without clusters")
    parser.add_argument("--flips", type=int, default=1999)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    spreads = [0.0, 0.3, 0.7]
    equal = itertools.product([0.0], ["run", "reported"], spreads, args.together, args.tolerance)
    lost = itertools.product([1.0, 2.0, 4.0, 8.0], ["run", "reported"], spreads[1:], args.together[:1],
                             args.tolerance[-1:])
    rows = []
    print("  loss  against   spread  together  tolerance  rounds  checks failed  cells failed  seconds")
    for loss, kind, spread, together, tolerance in (*equal, *(() if args.mutant else lost)):
        count = args.power_rounds if loss else args.rounds
        began = time.perf_counter()
        rules, world = Rules(tolerance=tolerance, flips=args.flips), World(loss, spread, together)
        failed_counts = failures(kind, count, rules, world, args.seed, clustered=not args.mutant)
        checks, cells = (100 * n / count for n in failed_counts)
        cells /= len(COLUMNS)
        seconds = time.perf_counter() - began
        rows.append({"loss": loss, "against": kind, "spread": spread, "together": together, "tolerance": tolerance,
                     "rounds": count, "checks_failed": checks, "cells_failed": cells, "seconds": round(seconds, 1)})
        print(f"{loss:6.1f}  {kind:8}  {spread:6.1f}  {together:8.1f}  {tolerance:9.1f}  {count:6}  {checks:11.1f} %  "
              f"{cells:10.1f} %  {seconds:7.1f}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
