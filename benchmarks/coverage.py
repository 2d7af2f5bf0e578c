"""How often the printed 95 % intervals contain the truth: scores, means of groups, differences, averages.

    python benchmarks/coverage.py [--rounds 1000] [--json FILE]

Time: several minutes on two shared cores.

Scores: videos or pictures with several questions each, a skill drawn for each picture (beta, with this correlation).
Differences: a share of answers changes, half of a picture's alike; "passes" is how often a true loss of just the margin
is called smaller, which a one-sided 95 % bound should do in one case of twenty.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmrope_eval.report.compare.intervals import ScoreInterval, average_spread
from mmrope_eval.report.compare.precision import Layout, change_interval, lower_bound, precision_of, score_interval

Row = tuple[str, dict[str, float]]
SIZES = ((3, 15), (6, 15), (10, 15), (12, 1), (20, 1), (20, 15), (24, 1), (33, 15), (60, 15), (96, 1), (103, 15),
         (133, 15), (300, 3), (1500, 7))
"""Pictures or videos, and questions of each."""


def pictures(count: int, questions: int) -> Layout:
    """A plain mean over so many questions of each picture."""
    return Layout.of([f"{picture:05}" for picture in np.repeat(np.arange(count), questions)])


def answers(count: int, questions: int, share: float, alike: float, rng: np.random.Generator) -> np.ndarray:
    """Right and wrong answers with this correlation within a picture."""
    skill = np.full(count, share)
    if alike:
        skill = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), count)
    return (rng.random(count * questions) < np.repeat(skill, questions)).astype(float)


def scores(rounds: int, rng: np.random.Generator) -> Iterator[Row]:
    """Coverage by size, correlation and share of right answers."""
    shares = (0.02, 0.05, 0.1, 0.3, 0.5, 0.98)
    for count, questions in SIZES:
        layout = pictures(count, questions)
        for alike in ((0.0,) if questions == 1 else (0.1, 0.3, 0.8)):
            coverage = {}
            for share in shares:
                drawn = (score_interval(layout, answers(count, questions, share, alike, rng)) for _ in range(rounds))
                hits = sum(interval.low <= share <= interval.high for interval in drawn)
                coverage[f"{share:g}"] = 100 * hits / rounds
            yield f"score, {count} x {questions}, alike {alike:g}", coverage


def groups(rounds: int, rng: np.random.Generator) -> Iterator[Row]:
    """Coverage of means of groups, by the middle of the groups' levels."""
    for count, each in ((20, 1), (20, 2), (20, 5), (6, 4), (9, 3), (6, 250)):
        names = np.repeat(np.arange(count), each)
        layout = Layout.of(range(count * each), "macro", [(f"g{number:02}",) for number in names])
        coverage = {}
        for middle in (0.2, 0.5, 0.8):
            level = middle + np.linspace(-0.18, 0.18, count)
            hits = 0
            for _ in range(rounds):
                interval = score_interval(layout, (rng.random(len(names)) < level[names]).astype(float))
                hits += interval.low <= middle <= interval.high
            coverage[f"{middle:g}"] = 100 * hits / rounds
        yield f"{count} groups of {each}", coverage


def differences(rounds: int, rng: np.random.Generator) -> Iterator[Row]:
    """Coverage of differences and how often a loss of just the margin passes, by the share of answers that change."""
    for (count, questions), loss in itertools.product(SIZES[1:], (0.0, 0.02)):
        layout = pictures(count, questions)
        coverage: dict[str, float] = {}
        for changed in (0.02, 0.2):
            lost, hits, passes = (1 + loss / changed) / 2, 0, 0
            for _ in range(rounds):
                unit_draws, picture_draws = rng.random(layout.units), np.repeat(rng.random(count), questions)
                way = np.where(rng.random(layout.units) < 0.5, unit_draws, picture_draws)
                units = np.where(rng.random(layout.units) < changed, np.where(way < lost, -1.0, 1.0), 0.0)
                precision = precision_of(layout, units)
                interval = change_interval(precision, float(units.mean()))
                hits += interval.low <= -loss <= interval.high
                passes += lower_bound(precision, float(units.mean())) > -loss
            coverage |= {f"{changed:g}": 100 * hits / rounds, f"{changed:g} passes": 100 * passes / rounds}
        yield f"difference, {count} x {questions}, loss {100 * loss:g}", coverage


def averages(rounds: int, rng: np.random.Generator) -> Iterator[Row]:
    """Coverage of a mean of six columns: with pictures of their own; with the same pictures and skills of their own, or
    with the skills of the pictures in common."""
    for count in (24, 96, 500):
        layout, coverage = pictures(count, 2), {}
        names = [[f"{column}/{picture}" for picture in range(count)] for column in range(6)]
        for kind in ("apart", "same pictures", "same skills"):
            hits = 0
            for _ in range(rounds):
                skills = [rng.beta(2, 2, count)] * 6 if kind == "same skills" else rng.beta(2, 2, (6, count))
                parts = [part(layout, (rng.random(2 * count) < np.repeat(skill, 2)).astype(float),
                              names[column if kind == "apart" else 0]) for column, skill in enumerate(skills)]
                whole = average_spread(parts)
                hits += whole.low <= 50 <= whole.high
            coverage[kind] = 100 * hits / rounds
        yield f"mean of 6 columns of {count} x 2", coverage


def part(layout: Layout, values: np.ndarray, names: list[str]) -> ScoreInterval:
    """One column's interval, its pictures by these names."""
    interval = score_interval(layout, values)
    influence = precision_of(layout, values).influence.tolist()
    return ScoreInterval(100 * layout.score(values), 100 * interval.low, 100 * interval.high,
                  dict(zip(names, influence, strict=True)))


def main() -> None:
    """Simulate and print, one line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    rng, rows = np.random.default_rng(args.seed), []
    for kind in (scores, groups, differences, averages):
        for name, coverage in kind(args.rounds, rng):
            rows.append({"row": name, **coverage})
            print(f"{name:36}" + "  ".join(f"{key} {value:5.1f}" for key, value in coverage.items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
