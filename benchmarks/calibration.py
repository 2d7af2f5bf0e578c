"""How often printed intervals contain the truth and how often tests cry wolf: the numbers of docs/calibration.md.

    python benchmarks/calibration.py [--rounds 400] [--part scores tests trainings] [--write docs/calibration.md]

Time: several minutes on two shared cores.

Every line is drawn from a seed of its own, made from its name, so that it comes out the same whatever else is drawn and
on however many cores. `--write` puts the tables between the marks of the page; without it they are printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from mmrope_eval.report.compare import precision, stats
from mmrope_eval.report.compare.contrasts import of_column
from mmrope_eval.report.compare.pairing import TaskPair
from mmrope_eval.report.compare.precision import Layout
from mmrope_eval.report.compare.seed_stats import contrast, residuals
from mmrope_eval.report.compare.trainings import Column, Design, Measured, findings

WANTED = (93.0, 98.0)
"""Coverage in per cent that a line of a 95 % interval should have."""
ENOUGH = 20
"""Clusters from which on it should."""


Interval = Callable[[Layout, np.ndarray], tuple[float, float]]


def printed(layout: Layout, values: np.ndarray) -> tuple[float, float]:
    """The interval that a table prints of a column."""
    interval = precision.score_interval(layout, values)
    return interval.low, interval.high


def loss_p(layout: Layout, first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    """The p-values of one column in `compare` and in `check`, before anything is corrected."""
    column = of_column(TaskPair("", "", "", "", layout, first, second, (), (), ()))
    two_sided, one_sided = (stats.swap_test(column.changes, column.whole, alternative=way, flips=999, seed=seed).p
                            for way in ("two-sided", "less"))
    return two_sided, one_sided


# --------------------------------------------------------------------------------------------------------------
# One column


@dataclass(frozen=True)
class World:
    """A column: clusters, questions in each, how far their answers correlate, how many are right, how it is scored."""

    clusters: int
    each: int = 1
    icc: float = 0.0
    level: float = 0.5
    kind: str = "right or wrong"
    groups: int = 1

    @property
    def seed(self) -> int:
        """A seed of its own."""
        return zlib.crc32(repr(dataclasses.astuple(self)).encode())

    def layout(self) -> Layout:
        """How the column is averaged."""
        cluster = np.repeat(np.arange(self.clusters), self.each).tolist()
        if self.kind == "circular":
            return Layout.of(cluster, "circular", [(f"q{row}",) for row in cluster])
        if self.kind == "macro":
            return Layout.of(cluster, "macro", [(f"g{row % self.groups}",) for row in cluster])
        return Layout.of(cluster)

    def levels(self) -> np.ndarray:
        """The share that is right in each cluster's group."""
        if self.kind != "macro":
            return np.full(self.clusters, self.level)
        levels = np.linspace(0.2, 0.8, self.groups)
        return np.asarray(np.clip(levels[np.arange(self.clusters) % self.groups], 0.01, 0.99))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Values of one run."""
        level = self.levels()
        spread = 1 / self.icc - 1 if self.icc else math.inf
        skill = rng.beta(level * spread, (1 - level) * spread) if self.icc else level
        skill = np.repeat(skill, self.each)
        if self.kind == "graded":  # like ANLS: nothing, or something between a half and all
            return np.where(rng.random(skill.shape) < skill, rng.uniform(0.5, 1.0, skill.shape), 0.0)
        if self.kind == "circular":  # what one rotation is, the others nearly always are
            right = np.repeat(rng.random(self.clusters) < self.level, self.each)
            return np.where(rng.random(right.shape) < 0.03, 1.0 - right, right)
        return (rng.random(skill.shape) < skill).astype(float)

    def truth(self, layout: Layout) -> float:
        """What endlessly many clusters would score."""
        if self.kind == "graded":
            return 0.75 * self.level
        if self.kind == "circular":
            return self.level * 0.97**self.each + (1 - self.level) * 0.03**self.each
        return layout.score(np.repeat(self.levels(), self.each))


def covered(world: World, rounds: int, interval: Interval = printed) -> float:
    """Per cent of rounds whose interval contains the truth; none at all does not."""
    rng = np.random.default_rng(world.seed)
    layout = world.layout()
    truth, hits = world.truth(layout), 0
    for _ in range(rounds):
        low, high = interval(layout, world.draw(rng))
        hits += low - 1e-12 <= truth <= high + 1e-12
    return 100 * hits / rounds


TOGETHER = ((1, 0.0), (7, 0.1), (7, 0.3), (15, 0.1), (15, 0.3))
SCORES = [World(c, each, icc, level) for c in (6, 10, 20, 33, 60, 133, 400) for each, icc in TOGETHER
          for level in (0.02, 0.1, 0.3, 0.5)]
OTHERS = [
    *(World(c, 1, 0.0, 0.5, "macro", g) for c, g in ((20, 20), (40, 20), (100, 20), (400, 20), (4000, 20), (28, 7),
                                                     (210, 7), (1500, 6))),
    *(World(c, 4, 0.0, p, "circular") for c in (24, 96, 300) for p in (0.1, 0.5)),
    *(World(c, m, icc, p, "graded") for c in (24, 96, 400) for m, icc in ((1, 0.0), (4, 0.2)) for p in (0.3, 0.8)),
]


def falses(world: World, rounds: int) -> tuple[float, float]:
    """Per cent of p-values of at most 0.05, two-sided and one-sided, where two runs are equally good and each has its
    own luck with every cluster."""
    rng = np.random.default_rng(world.seed + 1)
    layout, two_sided, one_sided = world.layout(), 0, 0
    for _ in range(rounds):
        p_values = loss_p(layout, world.draw(rng), world.draw(rng), int(rng.integers(1 << 31)))
        two_sided, one_sided = two_sided + (p_values[0] <= 0.05), one_sided + (p_values[1] <= 0.05)
    return 100 * two_sided / rounds, 100 * one_sided / rounds


TESTS = [
    *(World(c, m, icc, 0.5) for c in (6, 10, 20, 50, 103, 400) for m, icc in ((1, 0.0), (7, 0.1), (15, 0.3))),
    *(World(c, 4, 0.2, 0.5, "graded") for c in (10, 24, 96)),
    *(World(c, 1, 0.0, 0.5, "macro", 7) for c in (28, 210)),
    *(World(c, 4, 0.0, 0.5, "circular") for c in (24, 96)),
]


# --------------------------------------------------------------------------------------------------------------
# Trainings


@dataclass(frozen=True)
class Trained:
    """Two sides of one design: trainings a side, how much a training changes a column (points), on 24 columns."""

    each: int
    sd: float
    questions: int = 400
    tails: str = "normal"

    @property
    def seed(self) -> int:
        """A seed of its own."""
        return zlib.crc32(repr(dataclasses.astuple(self)).encode())


AVERAGES = {"Image": tuple(f"i{n}" for n in range(10)), "Video": tuple(f"v{n}" for n in range(6)),
            "Grounding": tuple(f"g{n}" for n in range(8)), "Overall": ("Image", "Video", "Grounding")}
COLUMNS = [name for average in ("Image", "Video", "Grounding") for name in AVERAGES[average]]


def effects(world: Trained, rng: np.random.Generator) -> np.ndarray:
    """(2k, 24): what each training changes, in shares; half of its variance is common to the columns of a training."""
    def drawn(shape: tuple[int, ...]) -> np.ndarray:
        if world.tails == "collapses":  # one training in ten is bad throughout
            return np.where(rng.random(shape) < 0.1, -3.0, 1 / 3)
        return rng.normal(size=shape)

    common, per_column = drawn((2 * world.each, 1)), rng.normal(size=(2 * world.each, len(COLUMNS)))
    return np.asarray(world.sd / 100 * (common + per_column) / math.sqrt(2))


def measured(world: Trained, rng: np.random.Generator) -> Measured:
    """Both sides' answers to the same questions, four about each picture; no side is better."""
    moved = effects(world, rng)
    layout = Layout.of((np.arange(world.questions) // 4).tolist())
    columns = {}
    for place, name in enumerate(COLUMNS):
        hard = np.repeat(rng.beta(3, 2, layout.clusters), 4)
        values = [(rng.random(world.questions) < hard + shift).astype(float) for shift in moved[:, place]]
        columns[name] = Column(name, 100 * np.array([layout.score(answers) for answers in values]),
                               100 * np.array([residuals(layout, answers) for answers in values]),
                               tuple(f"{name} {n}" for n in range(layout.clusters)), world.questions, 0, ())
    sides = tuple(Design(side, side, {str(n): {} for n in range(world.each)}) for side in ("baseline", "run"))
    return Measured(sides, columns, AVERAGES, ())


def judged(world: Trained, rounds: int) -> tuple[float, float, float, float]:
    """Per cent: checks over trainings that fail; checks of the first training of each side, columns as `check` tests
    them, that fail; intervals of Overall and of one column that contain the truth, which is no difference."""
    rng = np.random.default_rng(world.seed)
    fails = single = overall = column = 0
    for _ in range(rounds):
        measurement = measured(world, rng)
        losses = findings([(measurement, 0, 1)], alternative="less", margin=0.2)
        fails += any(loss.contrast.change < -0.2 and loss.p_holm <= 0.05 for loss in losses)
        single += one_by_one(measurement, world.each)
        spans = [contrast(*measurement.scores(name)) for name in ("Overall", "i0")]
        overall, column = (n + (span.low <= 0 <= span.high) for n, span in zip((overall, column), spans, strict=True))
    return tuple(100 * n / rounds for n in (fails, single, overall, column))  # type: ignore[return-value]


def one_by_one(measurement: Measured, each: int) -> bool:
    """Whether a check of one training against one, as if questions were all the luck there is, fails in any average."""
    for name in AVERAGES:
        first, second = measurement.scores(name)
        change = second.totals[0] - first.totals[0]
        error = math.sqrt(((second.parts[0] - first.parts[0]) ** 2).sum())
        if change < -0.2 and stats.share_below((change + 0.2) / error) <= 0.05 / len(AVERAGES):
            return True
    return False


TRAININGS = [*(Trained(k, sd) for sd in (0.5, 2.0, 5.0) for k in (2, 3, 5)), Trained(2, 2.0, 2000),
             Trained(3, 2.0, 2000), *(Trained(k, 2.0, 400, "collapses") for k in (2, 3, 5))]


# --------------------------------------------------------------------------------------------------------------
# The page


def marked(value: float, wanted: bool = True) -> str:
    """A coverage; bold where it is outside what is wanted."""
    text = f"{value:.1f}"
    return text if not wanted or WANTED[0] <= value <= WANTED[1] else f"**{text}**"


def scores_part(run: Callable[..., Iterator[float]], rounds: int) -> Iterator[str]:
    """Coverage of the intervals of scores."""
    coverage = dict(zip(SCORES, run(covered, SCORES, rounds), strict=True))
    rows = [[clusters, f"{100 * level:g} %", *(marked(coverage[World(clusters, *how, level)]) for how in TOGETHER)]
            for clusters, level in dict.fromkeys((world.clusters, world.level) for world in SCORES)]
    heads = ["clusters", "right", *(f"{each} each, icc {icc:g}" if each > 1 else "one each" for each, icc in TOGETHER)]
    yield tabulate(rows, heads, tablefmt="pipe", disable_numparse=True)
    others = list(zip(OTHERS, run(covered, OTHERS, rounds), strict=True))
    rows = [[described(world), world.clusters, world.each, marked(value)] for world, value in others]
    yield tabulate(rows, ["column", "clusters", "each", "covered"], tablefmt="pipe", disable_numparse=True)
    enough = [(world, value) for world, value in (*coverage.items(), *others) if world.clusters >= ENOUGH]
    out = [f"{described(world)}, {world.clusters} clusters of {world.each}: {value:.1f}" for world, value in enough
           if not WANTED[0] <= value <= WANTED[1]]
    yield (f"{len(enough) - len(out)} of {len(enough)} lines with {ENOUGH} clusters and more lie between {WANTED[0]:g} "
           f"and {WANTED[1]:g} %." + (f" Outside: {'; '.join(out)}." if out else ""))


def described(world: World) -> str:
    """A column in words."""
    if world.kind == "macro":
        return f"mean of {world.groups} groups"
    clustered = f", icc {world.icc:g}" if world.icc else ""
    return f"{world.kind}, {100 * world.level:g} % right{clustered}"


def tests_part(run: Callable[..., Iterator[tuple[float, float]]], rounds: int) -> Iterator[str]:
    """Size of the paired tests."""
    rates = zip(TESTS, run(falses, TESTS, rounds), strict=True)
    rows = [[described(world), world.clusters, world.each, f"{two_sided:.1f}", f"{one_sided:.1f}"]
            for world, (two_sided, one_sided) in rates]
    yield tabulate(rows, ["column", "clusters", "each", "different (two-sided)", "worse (one-sided)"], tablefmt="pipe",
                   disable_numparse=True)


def trainings_part(run: Callable[..., Iterator[tuple[float, ...]]], rounds: int) -> Iterator[str]:
    """Checks and intervals over trainings."""
    rows = []
    for world, (fails, single, overall, column) in zip(TRAININGS, run(judged, TRAININGS, rounds), strict=True):
        rows.append([f"{world.sd:g}" if world.tails == "normal" else f"{world.sd:g}, one in ten collapses",
                     world.questions, world.each, f"{fails:.1f}", f"{single:.1f}", f"{overall:.1f}", f"{column:.1f}"])
    heads = ["a training changes (sd)", "questions a column", "trainings a side", "check --seeds mean fails",
             "one against one fails", "Overall covered", "a column covered"]
    yield tabulate(rows, heads, tablefmt="pipe", disable_numparse=True)


PARTS: dict[str, Callable[..., Iterator[str]]] = {
    "scores": scores_part, "tests": tests_part, "trainings": trainings_part,
}


def with_part(page: str, name: str, text: str) -> str:
    """The page with `text` where its part of this name begins and ends."""
    inside = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    return inside.sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page)


def main() -> None:
    """Draw, then print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400, help="a line (default: %(default)s)")
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", metavar="PAGE", type=Path)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.processes) as pool:
        def run(work: Callable[..., object], worlds: Sequence[object], rounds: int) -> Iterator[object]:
            return pool.map(work, worlds, [rounds] * len(worlds))

        for name in args.part:
            began = time.perf_counter()
            text = "\n\n".join(PARTS[name](run, args.rounds))
            if args.write is None:
                print(f"\n{text}", flush=True)
            else:
                page = args.write.read_text(encoding="utf-8")
                args.write.write_text(with_part(page, name, text), encoding="utf-8")
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
