"""What several trainings of a row add to its scores: an interval that contains other trainings, and their range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmrope_eval.report.candidates import BenchmarkResult
from mmrope_eval.report.compare.intervals import ScoreInterval
from mmrope_eval.report.compare.student import t_quantile
from mmrope_eval.report.compare.trainings import training_of
from mmrope_eval.report.definitions import weights_of

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
    return {name: sum(numbers) / len(numbers) for name, numbers in scores.items()}


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
