"""Intervals of a table's cells: bootstrap over pictures and videos for a benchmark, combined ones for averages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmrope_eval.report import stats
from mmrope_eval.report.layout import joined
from mmrope_eval.report.pairing import layout_of


@dataclass(frozen=True)
class Spread:
    """A score's interval, 0 to 100, and the pictures and videos that it rests on."""

    score: float
    low: float
    high: float
    clusters: frozenset[str]


def benchmark_spread(samples: pd.DataFrame, average: str, level: float, seed: int, where: str) -> Spread:
    """The interval of one benchmark from its rows of `Run.samples`; several runs of it are averaged sample by sample.

    So with several runs the interval is that of their mean over other questions, not over other runs. Runs that name
    clusters differently are joined.
    """
    applies = samples[samples["score"].notna()]
    one = applies.drop_duplicates("id").set_index("id")
    values = applies.groupby("id", sort=False)["score"].mean().loc[one.index].to_numpy(np.float64)
    runs = [part.set_index("id")["group"] for _, part in applies.groupby("cell", sort=False)]
    groups = joined(*(run.reindex(one.index).fillna(one["group"]).astype(str).tolist() for run in runs))
    layout = layout_of(groups, average, list(one["target"]), where)
    found = stats.score_interval(layout, values, level=level, seed=seed)
    return Spread(100 * layout.score(values), 100 * found.low, 100 * found.high, frozenset(groups))


def average_spread(parts: Sequence[Spread]) -> Spread:
    """The interval of a mean of benchmarks from theirs (MOVER: Zou & Donner 2008, Statistics in Medicine 27:1693).

    Each side of the interval is the root of the summed products of the parts' own sides. Benchmarks that ask about the
    same pictures (RefCOCO and RefCOCO+) are correlated; the share of pictures in common is what that can at most be.
    """
    overlap = np.array([[shared(one.clusters, two.clusters) for two in parts] for one in parts])
    below, above = (np.array(side) / len(parts) for side in (
        [part.score - part.low for part in parts], [part.high - part.score for part in parts]))
    centre = sum(part.score for part in parts) / len(parts)
    low, high = centre - math.sqrt(below @ overlap @ below), centre + math.sqrt(above @ overlap @ above)
    return Spread(centre, low, high, frozenset().union(*(part.clusters for part in parts)))


def shared(one: frozenset[str], two: frozenset[str]) -> float:
    """The share of clusters in common: 1 for the same ones, 0 for none."""
    return len(one & two) / math.sqrt(len(one) * len(two)) if one and two else 0.0


def spread_of(column: str, averages: Mapping[str, Sequence[str]], benchmarks: Mapping[str, Spread]) -> Spread | None:
    """A column's interval; None where one of its benchmarks has none."""
    if column not in averages:
        found = benchmarks.get(column)
        return None if found is None or math.isnan(found.low) else found
    parts = [spread_of(part, averages, benchmarks) for part in averages[column]]
    known = [part for part in parts if part is not None]
    return average_spread(known) if parts and len(known) == len(parts) else None
