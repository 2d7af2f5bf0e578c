"""Intervals of a table's cells: of a benchmark over pictures and videos, and of averages combined from those;
and what several trainings of a row add to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import pandas as pd

from mmrope_eval.report.candidates import BenchmarkResult
from mmrope_eval.report.compare.pairing import layout_of
from mmrope_eval.report.compare.precision import Floats, Layout, joined, precision_of, score_interval, t_quantile
from mmrope_eval.report.compare.trainings import training_of
from mmrope_eval.report.definitions import weights_of


@dataclass(frozen=True, eq=False)
class ScoreInterval:
    """A score's interval, 0 to 100, and what each picture and video that it rests on adds to its error."""

    score: float
    low: float
    high: float
    influence: Mapping[str, float]


def benchmark_spread(samples: pd.DataFrame, average: str, level: float, where: str) -> ScoreInterval:
    """The interval of one benchmark from its rows of `Run.samples`; several runs of it are averaged sample by sample.

    So with several runs the interval is that of their mean over other questions, not over other runs. Runs that name
    clusters differently are joined.
    """
    applies = samples[samples["score"].notna()]
    first_run = applies.drop_duplicates("id").set_index("id")
    values = applies.groupby("id", sort=False)["score"].mean().loc[first_run.index].to_numpy(np.float64)
    runs = [part.set_index("id")["group"] for _, part in applies.groupby("cell", sort=False)]
    groups = joined(*(run.reindex(first_run.index).fillna(first_run["group"]).astype(str).tolist() for run in runs))
    layout = layout_of(groups, average, list(first_run["target"]), where)
    interval = score_interval(layout, values, level=level)
    influence = influence_of(layout, values)
    return ScoreInterval(100 * layout.score(values), 100 * interval.low, 100 * interval.high, influence)


def influence_of(layout: Layout, values: Floats) -> dict[str, float]:
    """By picture and video, what it adds to the error of the score of sample values (n,)."""
    precision = precision_of(layout, layout.of_units(values))
    return dict(zip(layout.names, precision.influence.tolist(), strict=True))


def average_spread(parts: Sequence[ScoreInterval]) -> ScoreInterval:
    """The interval of a mean of benchmarks from theirs (MOVER: Zou & Donner 2008, Statistics in Medicine 27:1693).

    Each side of the interval is the root of the summed products of the parts' own sides. Benchmarks that ask about the
    same pictures (RefCOCO and RefCOCO+) are as correlated as what those pictures add to each one's error.
    """
    alike = np.array([[1.0 if part is other else correlation(part, other) for other in parts] for part in parts])
    below, above = (np.array(side) / len(parts) for side in (
        [part.score - part.low for part in parts], [part.high - part.score for part in parts]))
    centre = fmean(part.score for part in parts)
    low, high = centre - math.sqrt(below @ alike @ below), centre + math.sqrt(above @ alike @ above)
    influence: dict[str, float] = {}
    for part in parts:
        for name, amount in part.influence.items():
            influence[name] = influence.get(name, 0.0) + amount / len(parts)
    return ScoreInterval(centre, low, high, influence)


def correlation(first: ScoreInterval, second: ScoreInterval) -> float:
    """Of the errors of two benchmarks, by the pictures and videos that they share; 0 where one has no error."""
    shared = first.influence.keys() & second.influence.keys()
    both = math.fsum(first.influence[name] * second.influence[name] for name in shared)
    scale = math.sqrt(math.prod(math.fsum(amount**2 for amount in part.influence.values()) for part in (first, second)))
    return min(max(both / scale, -1.0), 1.0) if scale > 0 else 0.0


def spread_of(column: str, averages: Mapping[str, Sequence[str]],
              benchmarks: Mapping[str, ScoreInterval]) -> ScoreInterval | None:
    """A column's interval; None where one of its benchmarks has none."""
    if column not in averages:
        spread = benchmarks.get(column)
        return None if spread is None or math.isnan(spread.low) else spread
    parts = [spread_of(part, averages, benchmarks) for part in averages[column]]
    spreads = [part for part in parts if part is not None]
    return average_spread(spreads) if parts and len(spreads) == len(parts) else None


ByBenchmark = Mapping[str, Sequence[BenchmarkResult]]
"""A row's results by benchmark."""


def totals_of(column: str, by_benchmark: ByBenchmark, averages: Mapping[str, Sequence[str]]) -> list[float]:
    """A column's score, 0 to 100, in each training of a row that has all of it; a training that was run twice counts
    once."""
    weights = weights_of(column, averages)
    by_training = [_by_training(by_benchmark.get(name, ())) for name in weights]
    everywhere = [training for training in (by_training[0] if by_training else {})
                  if all(training in scores for scores in by_training)]
    return [sum(weight * scores[training] for weight, scores in zip(weights.values(), by_training, strict=True))
            for training in everywhere]


def _by_training(entries: Sequence[BenchmarkResult]) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for entry in entries:
        scores.setdefault(training_of(entry.cell), []).append(float(entry.scores["score"]))
    return {name: fmean(numbers) for name, numbers in scores.items()}


def over_trainings(spread: ScoreInterval, column: str, by_benchmark: ByBenchmark, averages: Mapping[str, Sequence[str]],
                   level: float) -> ScoreInterval:
    """A score's interval over other questions, widened where the score is a mean of several trainings.

    Each side is the root of two squares: the interval over questions, and Student's t interval of the mean over
    trainings (as MOVER adds independent parts: Zou & Donner 2008). The second holds the single trainings' luck with the
    questions too, so the sum is a little wide, never narrow. Scores stay within 0 and 100.
    """
    half = half_width(column, by_benchmark, averages, level)
    if not half:
        return spread
    return replace(spread, low=max(0.0, spread.score - math.hypot(spread.score - spread.low, half)),
                   high=min(100.0, spread.score + math.hypot(spread.high - spread.score, half)))


def half_width(column: str, by_benchmark: ByBenchmark, averages: Mapping[str, Sequence[str]], level: float) -> float:
    """Half of the t interval over trainings; 0 for one training.

    Where columns of an average have other trainings than each other, their trainings are taken to go up and down
    together, which is the widest that can be.
    """
    weights = weights_of(column, averages)
    sets = {frozenset(_by_training(by_benchmark.get(name, ()))) for name in weights}
    if len(sets) > 1:
        return sum(weight * half_width(name, by_benchmark, {}, level) for name, weight in weights.items())
    totals = totals_of(column, by_benchmark, averages)
    if len(totals) < 2:
        return 0.0
    error = float(np.std(totals, ddof=1)) / math.sqrt(len(totals))
    return t_quantile((1 + level) / 2, len(totals) - 1) * error
