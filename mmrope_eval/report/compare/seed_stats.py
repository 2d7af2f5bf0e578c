"""Designs that were trained several times: whether they differ, what the training has to do with it, how many it takes.

A score is the design's level, plus what this training made of it, plus what these questions happen to be like for the
design, plus the rest. Two designs answer the same questions, so what the questions have in common cancels; what is left
is estimated as in a two-way layout of trainings by clusters (pictures and videos), of sizes that need not be equal.

All numbers are points, 0 to 100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmrope_eval.report.compare.precision import Floats, Layout, chi2_quantile, t_below, t_quantile

Alternative = Literal["two-sided", "less"]


@dataclass(frozen=True, eq=False)
class Scores:
    """One design on one column or average.

    totals: (k,), the score of each training. parts: (k, C), how far each cluster moves it from what it would be if the
    cluster were like its group (`residuals`); the columns are the same clusters for every design that is compared.
    """

    totals: Floats
    parts: Floats

    @property
    def trainings(self) -> int:
        """How many there are."""
        return len(self.totals)

    @property
    def mean(self) -> float:
        """The mean over trainings."""
        return float(self.totals.mean())

    @property
    def variance(self) -> float:
        """Between trainings, with k - 1: what a training makes of it and what its questions do to a single one."""
        return float(self.totals.var(ddof=1)) if self.trainings > 1 else math.nan

    @property
    def noise(self) -> float:
        """The part of `variance` that other questions would have made otherwise: trainings by clusters."""
        if self.trainings < 2:
            return math.nan
        return float(((self.parts - self.parts.mean(axis=0)) ** 2).sum() / (self.trainings - 1))


def residuals(layout: Layout, values: Floats) -> Floats:
    """(C,): what each cluster adds to the score of sample values (n,) beyond its size's share of each group's mean.

    In the unit of `values`; the sum of squares is the score's clustered variance (C / (C - 1) for few clusters, in each
    group of a "macro" column its own).
    """
    units = layout.of_units(values)
    residual = np.zeros(layout.clusters)
    for stratum, share in zip(layout.inside.T[:-1], layout.shares[:-1], strict=True):
        clusters = len(np.unique(layout.cluster[stratum > 0]))
        scale = math.sqrt(clusters / (clusters - 1)) if clusters > 1 else 0.0
        residual += share * scale * layout.per_cluster(stratum * (units - units[stratum > 0].mean()))
    return residual


@dataclass(frozen=True)
class Contrast:
    """How far two designs are apart, second minus first, over other trainings and other questions."""

    change: float
    low: float
    high: float
    p: float
    error: float
    """Standard error of `change`; not a number where neither design was trained twice."""
    df: float


def contrast(first: Scores, second: Scores, *, alternative: Alternative = "two-sided", level: float = 0.95,
             margin: float = 0.0) -> Contrast:
    """Welch's t test (1947) over trainings, with the questions' share of the error beside the trainings'.

    The variance is s²/k of each design (trainings), plus what the difference of the means varies from cluster to
    cluster beyond the single trainings' noise, which s² holds already (two-way clustering: Cameron, Gelbach & Miller
    2011). Degrees of freedom as Satterthwaite (1946). Where one design has a single training, it is taken to spread as
    the other does. "less" asks whether the second is worse by more than `margin`. Trainings of a design are taken to be
    normally distributed; nothing else about them is.
    """
    change = second.mean - first.mean
    of_trainings = _over_trainings(first, second)
    if not of_trainings:
        return Contrast(change, math.nan, math.nan, math.nan, math.nan, 0.0)
    clusters = first.parts.shape[1]
    apart = float(((second.parts.mean(axis=0) - first.parts.mean(axis=0)) ** 2).sum())
    # A single training is taken to have the other design's noise.
    rest = sum((other.noise if math.isnan(design.noise) else design.noise) / design.trainings
               for design, other in ((first, second), (second, first)))
    of_questions = (max(0.0, apart - rest), max(clusters - 1.0, 1.0))
    parts = [*of_trainings, of_questions]
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return Contrast(change, change, change, float(change >= -margin), 0.0, math.inf)
    df = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    error = math.sqrt(variance)
    half = t_quantile((1 + level) / 2, df) * error
    below = t_below((change + (margin if alternative == "less" else 0.0)) / error, df)
    p = below if alternative == "less" else 2 * min(below, 1 - below)
    return Contrast(change, change - half, change + half, p, error, df)


def _over_trainings(first: Scores, second: Scores) -> list[tuple[float, float]]:
    """(variance of the mean, degrees of freedom) of each design; of both at once where one has a single training."""
    repeated = [design for design in (first, second) if design.trainings > 1]
    if not repeated:
        return []
    if len(repeated) == 1:
        return [(repeated[0].variance * (1 / first.trainings + 1 / second.trainings), repeated[0].trainings - 1)]
    return [(design.variance / design.trainings, design.trainings - 1) for design in repeated]


def noticeable(contrast: Contrast, tail: float, power: float = 0.8) -> float:
    """The true difference that shows with probability `power` in a test of this `tail`."""
    if contrast.df <= 0 or contrast.error == 0:
        return math.nan
    return (t_quantile(1 - tail, contrast.df) + t_quantile(power, contrast.df)) * contrast.error


def luck(first: int, second: int) -> float:
    """How often, of designs that do not differ, all trainings of one lie above all of the other: 2 in all orders.

    No test that assumes nothing about trainings can have a smaller p-value (two-sided).
    """
    return min(1.0, 2 / math.comb(first + second, first))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979): over all of them the chance of one false rejection stays below alpha."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for others, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - others) * p_values[place]))
        adjusted[place] = highest
    return adjusted


# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingVariation:
    """How much trainings of one design differ, over designs that each have several."""

    sd: float
    """Of a single training's score, on the questions that were asked."""
    df: int
    low: float
    high: float
    """95 % of `sd`."""
    training: float
    """`sd` without what the questions do: that of a training asked endlessly many."""
    share: float
    """The share of the variance that is the training's, 0 to 1."""


def spread(designs: Sequence[Scores]) -> TrainingVariation | None:
    """The spread of designs taken to spread alike; None where none was trained twice."""
    several = [design for design in designs if design.trainings > 1]
    df = sum(design.trainings - 1 for design in several)
    if not df:
        return None
    variance = sum((design.trainings - 1) * design.variance for design in several) / df
    noise = sum((design.trainings - 1) * design.noise for design in several) / df
    training = max(0.0, variance - noise)
    low, high = (math.sqrt(df * variance / chi2_quantile(share, df)) for share in (0.975, 0.025))
    share = training / variance if variance else 0.0
    return TrainingVariation(math.sqrt(variance), df, low, high, math.sqrt(training), share)


def trainings_needed(sd: float, points: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """How many trainings each of two designs needs for a difference of `points` > 0 to show (two-sided t test).

    The smallest k with k >= 2 (t(1 - alpha / 2) + t(power))² (sd / points)², both of 2 k - 2 degrees of freedom.
    """

    def enough(k: int) -> bool:
        reach = t_quantile(1 - alpha / 2, 2 * k - 2) + t_quantile(power, 2 * k - 2)
        return k >= 2 * (reach * sd / points) ** 2

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
