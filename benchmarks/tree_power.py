"""What `mmrope-eval check` says of two runs of the paper's 24 columns at their full size, over many simulated pairs.

    python benchmarks/tree_power.py [--rounds 400] [--flips 1999] [--json FILE]

Time: about an hour on two shared cores.

Each round draws a baseline and a run of one variant. Two checkpoints differ in one right answer in five, two greedy
runs of one checkpoint in one in fifty (numerical noise decides near ties). What differs is as often won as lost but for
the loss of the line; answers about one picture or video change together (a correlation of 0.1 among checkpoints).
RefCOCO and RefCOCO+ ask about the same pictures, and what a checkpoint sees in a picture is seen in both. A line says
how often the check fails, by which averages, by any column; how often the averages are shown not to be worse by 1 and
by 2 points, and how often all columns are by 2.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmrope_eval.report.compare.pairing import Matched, TaskPair
from mmrope_eval.report.compare.precision import Layout
from mmrope_eval.report.compare.verdict import Verdict, against_run
from mmrope_eval.report.options import TOLERANCE, Rules


@dataclass(frozen=True)
class Column:
    """A column: questions, pictures or videos, groups whose means are averaged (0: a plain mean), shared pictures."""

    name: str
    questions: int
    pictures: int
    groups: int = 0
    film: str = ""


COLUMNS = (
    Column("MMMU", 900, 900), Column("MMBench", 1164, 1164), Column("MMStar", 1500, 1500, 6),
    Column("OCRBench", 1000, 1000), Column("AI2D", 3088, 2900), Column("RealWorldQA", 765, 765),
    Column("DocVQA", 5349, 1286), Column("TextVQA", 5000, 3166), Column("InfoVQA", 2801, 500),
    Column("ChartQA", 2500, 1509),
    Column("MVBench", 3800, 3400, 19), Column("STAR", 7098, 914, 4), Column("VideoMME", 2700, 900),
    Column("LVBench", 1549, 103), Column("MLVU", 2174, 1122, 7), Column("Charades-STA", 3720, 1334),
    Column("RefCOCO val", 10834, 1500, film="val"), Column("RefCOCO testA", 5657, 750, film="testA"),
    Column("RefCOCO testB", 5095, 750, film="testB"), Column("RefCOCO+ val", 10758, 1500, film="val"),
    Column("RefCOCO+ testA", 5726, 750, film="testA"), Column("RefCOCO+ testB", 4889, 750, film="testB"),
    Column("RefCOCOg val", 4896, 1300), Column("RefCOCOg test", 9602, 2600),
)
"""Published numbers of questions; pictures and videos from the data sets' papers where they say, rounded."""


@dataclass(frozen=True)
class World:
    """How two runs differ: the share of answers that change, how alike in a picture, the loss of a column in points."""

    name: str
    changed: float
    alike: float
    loss: float = 0.0
    only: tuple[str, ...] = ()
    """The columns that lose; () for all."""
    tolerance: float = TOLERANCE


WORLDS = (
    World("checkpoints, no loss", 0.2, 0.1),
    World("checkpoints, no loss, tolerance 0", 0.2, 0.1, tolerance=0.0),
    World("checkpoints, loss 0.5 everywhere", 0.2, 0.1, 0.5),
    World("checkpoints, loss 1 everywhere", 0.2, 0.1, 1.0),
    World("checkpoints, loss 2 everywhere", 0.2, 0.1, 2.0),
    World("checkpoints, loss 15 in LVBench", 0.2, 0.1, 15.0, ("LVBench",)),
    World("greedy rerun, no loss", 0.02, 0.0),
    World("greedy rerun, no loss, tolerance 0", 0.02, 0.0, tolerance=0.0),
    World("greedy rerun, changes alike in a picture", 0.02, 0.02),
    World("greedy rerun, loss 0.5 everywhere", 0.02, 0.0, 0.5),
    World("greedy rerun, loss 0.3 everywhere, tolerance 0.5", 0.02, 0.0, 0.3, tolerance=0.5),
)


def layout_of(column: Column) -> tuple[Layout, np.ndarray]:
    """A column's layout, its questions spread over its pictures, and the picture of each."""
    picture = np.arange(column.questions) * column.pictures // column.questions
    names = None
    if column.groups:
        names = [(f"g{number * column.groups // column.pictures}",) for number in picture]
    return Layout.of([f"{number:05}" for number in picture], "macro" if column.groups else "micro", names), picture


def pairs_of(world: World, layouts: dict[str, tuple[Layout, np.ndarray]], rng: np.random.Generator) -> list[TaskPair]:
    """One baseline and one run. In a picture each changed answer goes, with a chance that gives the correlation of
    differences, the way of the picture instead of its own."""
    ways = {film: rng.random(max(column.pictures for column in COLUMNS if column.film == film))
            for film in dict.fromkeys(column.film for column in COLUMNS if column.film)}
    pairs = []
    for column in COLUMNS:
        layout, picture = layouts[column.name]
        loss = world.loss / 100 if column.name in world.only or not world.only else 0.0
        changed = max(world.changed, loss)
        lost = (1 + loss / changed) / 2
        way = ways[column.film] if column.film else rng.random(column.pictures)
        follows = rng.random(column.questions) < min(np.sqrt(world.alike / changed), 1.0)
        drawn = np.where(follows, way[picture], rng.random(column.questions))
        change = np.where(rng.random(column.questions) < changed, np.where(drawn < lost, -1.0, 1.0), 0.0)
        level = (rng.random(column.questions) < 0.6).astype(float)
        first = np.where(change < 0, 1.0, np.where(change > 0, 0.0, level))
        films = tuple(f"{column.film or column.name}/{number}" for number in range(layout.clusters))
        pairs.append(TaskPair("mrope-i", column.name, column.name, "score", layout, first, first + change, (), (), (),
                              pictures=films))
    return pairs


def rounds(world: World, count: int, flips: int, seed: int) -> Iterator[list[Verdict]]:
    """The verdicts of `count` checks with default rules but for the tolerance."""
    rng = np.random.default_rng(seed)
    layouts = {column.name: layout_of(column) for column in COLUMNS}
    for number in range(count):  # each with flips of its own, or all rounds would share the luck of one draw
        rules = Rules(flips=flips, tolerance=world.tolerance, seed=seed * count + number)
        yield against_run(Matched(tuple(pairs_of(world, layouts, rng)), (), ()), rules)


AVERAGES = ("Overall", "Image", "Video", "Grounding")


def counted(checks: list[list[Verdict]]) -> dict[str, float]:
    """Per cent of checks: what the printed table says."""
    def share(holds: list[bool]) -> float:
        return 100 * sum(holds) / len(holds)

    def held(verdicts: list[Verdict], average: bool, margin: float) -> bool:
        return all(verdict.worst > -margin for verdict in verdicts if verdict.average == average)

    def fails(verdicts: list[Verdict], column: str) -> bool:
        return any(verdict.state == "worse" and verdict.column == column for verdict in verdicts)

    shown = {name: share([fails(verdicts, name) for verdicts in checks]) for name in AVERAGES}
    columns = [sum(verdict.state == "worse" for verdict in verdicts if not verdict.average) for verdicts in checks]
    return {"fails": share([any(verdict.state == "worse" for verdict in verdicts) for verdicts in checks]), **shown,
            "any column": share([count > 0 for count in columns]), "columns": float(np.mean(columns)),
            "averages by 1": share([held(verdicts, True, 1) for verdicts in checks]),
            "averages by 2": share([held(verdicts, True, 2) for verdicts in checks]),
            "columns by 2": share([held(verdicts, False, 2) for verdicts in checks])}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400, help="pairs a line (default: %(default)s)")
    parser.add_argument("--flips", type=int, default=1999)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only worlds whose name has this in it")
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    rows: list[Any] = []
    for number, world in enumerate(WORLDS):
        if args.only not in world.name:
            continue
        began = time.perf_counter()
        percents = counted(list(rounds(world, args.rounds, args.flips, args.seed + number)))
        if not rows:
            print("| " + " | ".join(["world", *percents]) + " |")
            print("|" + "---|" * (1 + len(percents)))
        rows.append({"world": world.name, "rounds": args.rounds, **percents})
        cells = [f"{value:.1f}" for value in percents.values()]
        print("| " + " | ".join(itertools.chain([world.name], cells)) + f" | {time.perf_counter() - began:.0f} s",
              flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
