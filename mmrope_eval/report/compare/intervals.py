"""Intervals of a table's cells: of a benchmark over pictures and videos, and of averages combined from those."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmrope_eval.report.averaging import Floats, Layout, joined
from mmrope_eval.report.compare.pairing import layout_of
from mmrope_eval.report.compare.precision import precision_of, score_interval


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
    influence = influence_of(layout, values, groups)
    return ScoreInterval(100 * layout.score(values), 100 * interval.low, 100 * interval.high, influence)


def influence_of(layout: Layout, values: Floats, groups: Sequence[str]) -> dict[str, float]:
    """By picture and video, what it adds to the error of the score of sample values (n,), whose `groups` they are."""
    precision = precision_of(layout, layout.of_units(values))
    return dict(zip(layout.names(groups), precision.influence.tolist(), strict=True))


def average_spread(parts: Sequence[ScoreInterval]) -> ScoreInterval:
    """The interval of a mean of benchmarks from theirs (MOVER: Zou & Donner 2008, Statistics in Medicine 27:1693).

    Each side of the interval is the root of the summed products of the parts' own sides. Benchmarks that ask about the
    same pictures (RefCOCO and RefCOCO+) are as correlated as what those pictures add to each one's error.
    """
    alike = np.array([[1.0 if part is other else correlation(part, other) for other in parts] for part in parts])
    below, above = (np.array(side) / len(parts) for side in (
        [part.score - part.low for part in parts], [part.high - part.score for part in parts]))
    centre = sum(part.score for part in parts) / len(parts)
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
