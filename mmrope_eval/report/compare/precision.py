"""How samples make a score, as arrays, and how sure a score or a difference is: its clustered error, and the intervals
made of it.

What each average is over is said once, by `record.aggregate`, which makes the exact number of it; here it becomes
arrays, for errors and tests.

Questions about one picture or video (a cluster) stand or fall together, so the error is that of clusters (Cameron,
Gelbach & Miller 2008, "Bootstrap-based improvements for inference with clustered errors"; for language models Miller
2024, arXiv:2411.00640). Everything takes and gives values in [0, 1]; nothing is drawn.

Student's t and the chi-square distribution are scipy's, which is loaded when a number is asked for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.record.aggregate import AGGREGATES, MakeUp, floored

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST: Final = 2
"""Clusters below which there is no interval: one picture or video says nothing of others."""
ALIKE: Final = 0.1
"""How far losses within a cluster are taken to be correlated where too few answers changed to tell."""
ALONE: Final = 0.65
"""By how much less than its largest the effect of clusters is raised (`sureness`): by benchmarks/coverage.py."""
POWER: Final = 0.8
"""The chance with which what "could have been seen" is seen."""
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, eq=False)
class Layout:
    """What a score averages over and what is drawn together.

    sample, unit: int (m,), a sample, and a unit that it belongs to; m is n but where questions have several names.
    cluster: int (u,), each unit's cluster, 0 ... C - 1, in the order of their `names`.
    inside: float (u, G + 1) of 0 and 1, the strata that each unit counts in; the last column holds those that count in
    none. One stratum of all but under "macro".
    make_up: the same without arrays, for the exact score.
    plain: whether it is the mean of all units, and not of strata.
    """

    sample: Ints
    unit: Ints
    cluster: Ints
    names: tuple[str, ...]
    inside: Floats
    make_up: MakeUp
    plain: bool

    @classmethod
    def of(cls, clusters: Sequence[object], average: str = "micro",
           groups: Sequence[Sequence[str]] | None = None) -> Layout:
        """The layout of n samples from the name of each one's cluster, the column's average and the samples' groups.

        `average` is a name of `record.aggregate.AGGREGATES`; `groups` are the names of the groups a sample counts in
        (none, one or several), needed for "macro" and "circular" only. ValueError for an unknown average.
        """
        if average not in AGGREGATES:
            raise ValueError(f"unknown average '{average}'")
        of_samples = [()] * len(clusters) if groups is None else groups
        make_up = AGGREGATES[average].make_up(of_samples)
        inside = np.zeros((len(make_up.units), len(make_up.strata) + 1))
        for column, members in enumerate((*make_up.strata, make_up.strays)):
            inside[members, column] = 1
        names, cluster = np.unique(np.array([str(clusters[unit[0]]) for unit in make_up.units], dtype=object),
                                   return_inverse=True)
        sizes = [len(unit) for unit in make_up.units]
        return cls(np.array([sample for unit in make_up.units for sample in unit], dtype=np.int64),
                   np.repeat(np.arange(len(sizes)), sizes), cluster, tuple(names.tolist()), inside, make_up,
                   not (AGGREGATES[average].of_groups and any(of_samples)))

    @property
    def units(self) -> int:
        """How many units the score averages over."""
        return len(self.cluster)

    @property
    def clusters(self) -> int:
        """How many clusters are drawn."""
        return len(self.names)

    @cached_property
    def counts(self) -> Floats:
        """(G + 1,): the units in each stratum, and in none."""
        counts: Floats = self.inside.sum(axis=0)
        return counts

    @cached_property
    def shares(self) -> Floats:
        """(G + 1,): how much of the score a unit is by being in each stratum, or in none."""
        strata = self.counts[:-1]
        return np.append(self.make_up.share / len(strata) / strata, 1 / self.units)

    @cached_property
    def weights(self) -> Floats:
        """(u,): how much of the score one unit is; they sum to 1."""
        weights: Floats = self.inside @ self.shares
        return weights

    def of_units(self, values: Floats) -> Floats:
        """(n,) sample values -> (u,) unit values: under "circular" a question is as good as its worst rotation."""
        worst = np.full(self.units, np.inf)
        np.minimum.at(worst, self.unit, values[self.sample])
        return worst

    def per_cluster(self, amounts: Floats) -> Floats:
        """(u,) amounts of units -> (C,) sums over clusters."""
        return np.bincount(self.cluster, amounts, self.clusters).astype(np.float64)

    def score(self, values: Floats) -> float:
        """The column's number for sample values (n,), as `record.aggregate` defines it; not a number for no samples."""
        return self.make_up.value(self.of_units(values).tolist())


def numbered(clusters: Mapping[str, Sequence[str]]) -> tuple[dict[str, Ints], int]:
    """The clusters of several columns, by their names, numbered together: of each column the numbers of its own, in
    their order, and how many there are in all. Clusters of one name are one."""
    number = {name: place for place, name in enumerate(dict.fromkeys(itertools.chain(*clusters.values())))}
    return {column: np.array([number[name] for name in names], dtype=np.int64)
            for column, names in clusters.items()}, len(number)


def joined(*namings: Sequence[object]) -> list[str]:
    """Clusters of the same n samples as several runs name them, joined: samples that any run has together are together.

    Runs of different versions name clusters differently (by a span of a video, by a media policy), and a run whose
    picture could not be read does not know it. Named by the first naming of the first sample of each.
    """
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(key: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    rows = [[(number, str(name)) for number, name in enumerate(names)] for names in zip(*namings, strict=True)]
    for first, *others in rows:
        for other in others:
            parent[root(other)] = root(first)
    shown: dict[tuple[int, str], str] = {}
    return [shown.setdefault(root(first), first[1]) for first, *_ in rows]


def t_below(t: float, df: float) -> float:
    """The chance of a value below `t` under Student's t with `df` > 0 degrees of freedom, which may be infinite."""
    from scipy import special

    return float(special.stdtr(df, t))


def t_quantile(share: float, df: float) -> float:
    """The value below which Student's t lies with the chance `share`, 0 < share < 1."""
    from scipy import special

    return float(special.stdtrit(df, share))


def chi2_quantile(share: float, df: float) -> float:
    """The value below which a chi-square variable of `df` degrees of freedom lies with the chance `share`."""
    from scipy import special

    return float(2 * special.gammaincinv(df / 2, share))


@dataclass(frozen=True, eq=False)
class Precision:
    """What the error of a score is made of.

    influence: (C,), what the answers of each cluster add to the error; the variance is the sum of squares.
    weights: (C,), how much of the score each cluster is; they sum to 1.
    independent: the variance if all units were independent.
    units: the sum of the squared weights of units: 1 / n for a plain mean of n.
    """

    influence: Floats
    weights: Floats
    independent: float
    units: float

    @property
    def clusters(self) -> int:
        """How many clusters there are."""
        return len(self.weights)

    @property
    def together(self) -> float:
        """The sum of the squared weights of clusters: 1 / C for equal ones."""
        return float(self.weights @ self.weights)

    @property
    def freedom(self) -> float:
        """Degrees of freedom: one less than how many clusters of equal weight would be worth as much; at least 1."""
        return max(1 / self.together - 1, 1.0)

    @property
    def variance(self) -> float:
        """The clustered variance, never below that of independent units; nan for a cluster alone."""
        return floored(float(self.influence @ self.influence), self.independent)

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(self.variance)

    def least(self, loss: float) -> float:
        """The variance of a loss of `loss` made of whole answers, those of a cluster correlated by ALIKE."""
        return loss * (1 - loss) * ((1 - ALIKE) * self.units + ALIKE * self.together)


def precision_of(layout: Layout, units: Floats) -> Precision:
    """The precision of the score of unit values (u,); of a difference where these are differences."""
    added, independent = layout.make_up.influence(units.tolist(), layout.cluster.tolist())
    influence, weights = np.array([added[cluster] for cluster in range(layout.clusters)]), layout.weights
    return Precision(influence, layout.per_cluster(weights), independent, float(weights @ weights))


def mean_precision(parts: Sequence[tuple[float, Precision, Ints]], clusters: int) -> Precision:
    """The precision of a mean of columns: of each its weight, its precision, and the number of each of its clusters
    among all `clusters`; clusters of one number are one."""
    influence, weights = np.zeros(clusters), np.zeros(clusters)
    for share, part, rows in parts:
        influence[rows] += share * part.influence
        weights[rows] += share * part.weights
    return Precision(influence, weights, sum(share**2 * part.independent for share, part, _ in parts),
                     sum(share**2 * part.units for share, part, _ in parts))


@dataclass(frozen=True)
class Interval:
    """A confidence interval; not a number where it rests on fewer than FEWEST clusters."""

    low: float
    high: float


def score_interval(layout: Layout, values: Floats, *, level: float = 0.95) -> Interval:
    """The interval of one score in [0, 1] from sample values (n,).

    Wilson's interval (1927) for the number of independent answers that would be as sure (Korn & Graubard 1998, Survey
    Methodology 24:193), with Student's t. How far clusters reduce that number is badly known where few answers are
    right, or few wrong, and is taken towards the worst by one part in their number; answers about a picture each
    have no such effect. Where all are right or all wrong: the exact bound of Clopper & Pearson 1934 on the number of
    clusters.
    """
    if layout.clusters < FEWEST:
        return Interval(math.nan, math.nan)
    units, score = layout.of_units(values), layout.score(values)
    if np.all(units == 0) or np.all(units == 1):
        reach = 1 - ((1 - level) / 2) ** (1 / layout.clusters)
        return Interval(0.0, reach) if units[0] == 0 else Interval(1 - reach, 1.0)
    precision = precision_of(layout, units)
    answers = score * (1 - score) / sureness(precision, score)  # independent ones that would be as sure
    low, high = wilson(score, answers, t_quantile((1 + level) / 2, precision.freedom))
    # Right or wrong answers, each about a picture or video of its own.
    if layout.plain and layout.clusters == layout.units and np.isin(units, (0, 1)).all():
        right = round(score * layout.units)
        low = min(low, rarest(right, layout.units, level))
        high = max(high, 1 - rarest(layout.units - right, layout.units, level))
    return Interval(low, high)


def wilson(share: float, answers: float, quantile: float) -> tuple[float, float]:
    """Wilson's two-sided interval (1927) of a share of so many independent right or wrong answers."""
    centre = share + quantile**2 / 2 / answers
    half = quantile * math.sqrt((share * (1 - share) + quantile**2 / 4 / answers) / answers)
    wider = 1 + quantile**2 / answers
    return max((centre - half) / wider, 0.0), min((centre + half) / wider, 1.0)


def rarest(right: int, answers: int, level: float) -> float:
    """The lower end for one to three right answers, where Wilson's is too high (Brown, Cai & DasGupta 2001, Statistical
    Science 16:101, section 4.1.1: the one-sided bound of a Poisson mean); 1 for more."""
    return chi2_quantile(1 - level, 2 * right) / 2 / answers if right <= (2 if answers <= 50 else 3) else 1.0


def sureness(precision: Precision, score: float) -> float:
    """The variance of a score, the effect of its clusters taken towards the worst where few answers show it."""
    fewer = max(min(score, 1 - score) / precision.units, 0.5)
    most = max(precision.together / precision.units, 1.0)
    if not precision.independent > 0:
        return score * (1 - score) * precision.together
    if precision.together <= precision.units * (1 + 1e-9):  # one unit a cluster: there is no effect
        return precision.independent
    effect = precision.variance / precision.independent
    return precision.independent * min(effect + (most - ALONE) / fewer, max(most, effect) + 1 - ALONE)


def change_interval(precision: Precision, change: float, *, level: float = 0.95) -> Interval:
    """The two-sided interval of a difference in [-1, 1]; its one-sided bounds have (1 + level) / 2."""
    if precision.clusters < FEWEST or math.isnan(precision.variance):
        return Interval(math.nan, math.nan)
    tail = (1 + level) / 2
    return Interval(lower_bound(precision, change, tail), -lower_bound(precision, -change, tail))


def lower_bound(precision: Precision, change: float, level: float = 0.95) -> float:
    """The one-sided bound below a difference in [-1, 1], for paired answers; nan below FEWEST clusters.

    All losses m are possible for which change + m is at most t errors, the error being the observed one or, if that is
    larger, the least that a loss of m can have: two runs that agree everywhere may yet differ where nobody looked. That
    is the idea of the score test of Tango 1998 (Statistics in Medicine 17:891), kept to what clusters and graded scores
    allow. The largest such m is the larger of the roots of both conditions.
    """
    if precision.clusters < FEWEST or math.isnan(precision.variance):
        return math.nan
    t = t_quantile(level, precision.freedom)
    largest = t * precision.error - change
    k = t * t * ((1 - ALIKE) * precision.units + ALIKE * precision.together)
    # (change + m)² = k m (1 - m)
    half = k / 2 - change
    inside = half * half - (1 + k) * change * change
    if inside >= 0:
        largest = max(largest, (half + math.sqrt(inside)) / (1 + k))
    return max(-largest, -1.0)


def normal(tail: float) -> float:
    """The quantile of the standard normal distribution."""
    return _NORMAL.inv_cdf(tail)


def units_to_tell(precision: Precision, units: int, points: float, level: float) -> int | None:
    """How many questions, at as many a picture, would show that nothing is lost by `points` (in (0, 1]), if so it is.

    With a chance of POWER, by a one-sided bound of this level, the error being as here, or as that of such a loss where
    that is larger. None where a single picture says nothing of the error.
    """
    variance = max(precision.variance, precision.least(points))
    errors = (t_quantile(level, precision.freedom) + normal(POWER)) * math.sqrt(variance) / points
    return math.ceil(units * errors**2) if math.isfinite(errors) else None
