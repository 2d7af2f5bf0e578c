"""How sure a score is, and whether two runs differ: clustered bootstrap, paired tests, Holm, detectable difference.

Everything here takes arrays of sample values in [0, 1] and answers in the same unit. Questions about one picture or
video stand or fall together, so pictures and videos (clusters) are what is drawn, never single questions (Cameron,
Gelbach & Miller 2008, "Bootstrap-based improvements for inference with clustered errors"; for language models Miller
2024, arXiv:2411.00640). Scores that are not plain means are averaged anew in every draw, as the column averages them.

All randomness comes from a seed that callers pass and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from mmrope_eval.report.layout import Floats, Ints, Layout, average_rows

Method = Literal["bca", "percentile"]
Alternative = Literal["two-sided", "less"]

DRAWS: Final = 9_999
FLIPS: Final = 19_999
_NORMAL: Final = NormalDist()
_CHUNK: Final = 8_000_000  # numbers held at once while drawing


@dataclass(frozen=True)
class Interval:
    """A confidence interval, how it was made, and the seed that makes it again."""

    low: float
    high: float
    level: float
    method: str
    draws: int
    seed: int


def score_interval(layout: Layout, values: Floats, *, level: float = 0.95, method: Method = "bca",
                   draws: int = DRAWS, seed: int = 0) -> Interval:
    """The interval of one score in [0, 1] from sample values (n,).

    Where every cluster is equally good the bootstrap has nothing to draw from; for scores of exactly 0 or 1 the exact
    bound of Clopper & Pearson 1934 on the number of clusters stands in ("exact").
    """
    units = layout.of_units(values)
    if layout.units and (np.all(units == 0) or np.all(units == 1)):
        reach = 1 - ((1 - level) / 2) ** (1 / layout.clusters)
        low, high = (0.0, reach) if units[0] == 0 else (1 - reach, 1.0)
        return Interval(low, high, level, "exact", 0, seed)
    k = layout.columns.shape[1]
    rows = layout.per_cluster(np.hstack([units[:, None] * layout.columns, layout.columns]))
    return _bootstrap(rows, lambda totals: average_rows(totals[:, :k], totals[:, k:]), level, method, draws, seed)


def difference_interval(layout: Layout, first: Floats, second: Floats, *, level: float = 0.95,
                        method: Method = "bca", draws: int = DRAWS, seed: int = 0) -> Interval:
    """The interval of score(second) - score(first) on the same samples: both are drawn together, cluster by cluster."""
    columns, k = layout.columns, layout.columns.shape[1]
    one, two = layout.of_units(first)[:, None] * columns, layout.of_units(second)[:, None] * columns
    rows = layout.per_cluster(np.hstack([one, two, columns]))

    def difference(totals: Floats) -> Floats:
        counts = totals[:, 2 * k :]
        return average_rows(totals[:, k : 2 * k], counts) - average_rows(totals[:, :k], counts)

    return _bootstrap(rows, difference, level, method, draws, seed)


def _bootstrap(rows: Floats, statistic: Callable[[Floats], Floats], level: float, method: Method, draws: int,
               seed: int) -> Interval:
    """Draw clusters with replacement; interval of `statistic` ((m, K) sums -> (m,)) over `rows` (C, K).

    percentile and bca: Efron 1987, "Better bootstrap confidence intervals"; ties count half, as scipy does.
    """
    n = len(rows)
    if n < 2 or draws < 1:
        return Interval(math.nan, math.nan, level, method, 0, seed)
    kinds, multiplicity = np.unique(rows, axis=0, return_counts=True)
    drawn = np.concatenate([statistic(totals) for totals in _draw(kinds, multiplicity, draws, seed)])
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        totals = rows.sum(axis=0)
        estimate = statistic(totals[None])[0]
        tails = _bca_tails(tails, drawn, estimate, statistic(totals - kinds), multiplicity)
    low, high = np.quantile(drawn, tails)
    return Interval(float(low), float(high), level, method, draws, seed)


def _draw(kinds: Floats, multiplicity: Ints, draws: int, seed: int) -> list[Floats]:
    """Sums over clusters drawn with replacement, in blocks of (draws, K).

    Clusters with the same row are interchangeable: only how many of each kind are drawn matters, which is multinomial.
    """
    rng = np.random.default_rng(seed)
    n, m = int(multiplicity.sum()), len(kinds)
    few = 4 * m < n
    block = max(1, _CHUNK // (m if few else n))
    blocks = []
    for start in range(0, draws, block):
        size = min(block, draws - start)
        if few:
            counts = rng.multinomial(n, multiplicity / n, size=size)
        else:
            ends = np.cumsum(multiplicity)
            chosen = rng.integers(0, n, size=(size, n))
            chosen = chosen if m == n else np.searchsorted(ends, chosen, side="right")
            chosen += m * np.arange(size)[:, None]
            counts = np.bincount(chosen.ravel(), minlength=size * m).reshape(size, m)
        blocks.append(counts @ kinds)
    return blocks


def _bca_tails(tails: Floats, drawn: Floats, estimate: float, left_out: Floats, multiplicity: Ints) -> Floats:
    """The quantiles to read off in place of `tails`: corrected for bias and for skewness (from the jackknife)."""
    below = float(np.mean(drawn < estimate) + np.mean(drawn <= estimate)) / 2
    if not 0 < below < 1:
        return tails
    bias = _NORMAL.inv_cdf(below)
    deviations = np.average(left_out, weights=multiplicity) - left_out
    spread = float(np.sum(multiplicity * deviations**2))
    skew = float(np.sum(multiplicity * deviations**3)) / (6 * spread**1.5) if spread > 0 else 0.0
    shifted = [bias + _NORMAL.inv_cdf(tail) for tail in tails]
    return np.array([_NORMAL.cdf(bias + z / (1 - skew * z)) for z in shifted])


# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """A paired test's p-value, how it was found, and the seed that finds it again (unused where exact)."""

    p: float
    method: str
    flips: int
    seed: int


def contributions(layout: Layout, first: Floats, second: Floats) -> Floats:
    """(C,): what each cluster adds to score(second) - score(first); they sum to it. The samples are the same."""
    change = layout.weights * (layout.of_units(second) - layout.of_units(first))
    return layout.per_cluster(change[:, None])[:, 0]


def paired_test(layout: Layout, first: Floats, second: Floats, *, alternative: Alternative = "two-sided",
                flips: int = FLIPS, seed: int = 0) -> Test:
    """Whether two runs differ on the same samples: the sign-flip test over clusters.

    If the runs are equally good, swapping them within a cluster changes nothing but the sign of what it contributes;
    the p-value is the share of all swaps with a difference at least as large (Fisher's randomization; for evaluation
    Smucker, Allan & Carterette 2007, who find it agrees with the bootstrap and keeps its level). "less" asks whether
    the second is worse.

    With one question a cluster and scores of 0 and 1 this is McNemar's exact test (McNemar 1947): a binomial test on
    the questions that only one run answers; the exact form is used because it never exceeds its level (Fagerland,
    Lydersen & Laake 2013 on its conservatism). Where clusters hold several such questions McNemar's would count
    dependent answers as independent, so whole clusters are swapped; their sums are whole numbers of answers and the
    test stays exact, by convolution. For other scores (IoU, averages of unequal groups) `flips` random swaps are drawn,
    with Phipson & Smyth's (2010) (b + 1) / (m + 1), which keeps the level too. A bootstrap p-value has no such
    guarantee on few clusters.
    """
    change = contributions(layout, first, second)
    change = change[np.abs(change) > 1e-12]
    steps = change * layout.units
    whole = np.round(steps)
    if np.ptp(layout.weights) < 1e-12 and np.allclose(steps, whole, atol=1e-6, rtol=0):
        single = layout.clusters == layout.units
        name = "McNemar's exact test" if single else "exact sign-flip test over clusters"
        return Test(_exact_p(whole.astype(np.int64), alternative), name, 0, seed)
    p = _drawn_p(change, alternative, flips, seed)
    return Test(p, f"sign-flip test over clusters ({flips} flips)", flips, seed)


def _exact_p(change: Ints, alternative: Alternative) -> float:
    """The share of all 2**m sign patterns with a sum at least as extreme as that of `change`, int (m,), none 0."""
    sizes, counts = np.unique(np.abs(change), return_counts=True)
    heights: Floats = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        spaced = np.zeros(int(count * size) + 1)
        spaced[:: int(size)] = _coin(int(count))
        heights = np.convolve(heights, spaced).astype(np.float64)
    sums = 2 * np.arange(len(heights)) - int(np.abs(change).sum())
    seen = int(change.sum())
    extreme = sums <= seen if alternative == "less" else np.abs(sums) >= abs(seen)
    return min(1.0, float(heights[extreme].sum()))


def _coin(n: int) -> Floats:
    """(n + 1,): probabilities of 0 ... n heads in n fair tosses."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    chances: Floats = np.exp(factorials[-1] - factorials - factorials[::-1] - n * math.log(2))
    return chances


def _drawn_p(change: Floats, alternative: Alternative, flips: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    seen = change.sum()
    # Equal sizes are tossed together: how many keep their sign is binomial.
    sizes, counts = np.unique(np.round(np.abs(change), 12), return_counts=True)
    slack = 1e-9 * float(np.abs(change).sum())  # rounding must not break ties
    extreme = 0
    block = max(1, _CHUNK // max(len(sizes), 1))
    for start in range(0, flips, block):
        size = min(block, flips - start)
        if len(sizes) == len(change):
            sums = (2.0 * rng.integers(0, 2, size=(size, len(sizes)), dtype=np.int8) - 1) @ sizes
        else:
            sums = (2.0 * rng.binomial(counts, 0.5, size=(size, len(sizes))) - counts) @ sizes
        extreme += int(np.sum(sums <= seen + slack if alternative == "less" else np.abs(sums) >= abs(seen) - slack))
    return (extreme + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment: reject where the result is at most alpha and, over the whole family, the
    chance of even one false rejection is at most alpha, however the tests depend on each other."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, position in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = highest
    return [float(p) for p in adjusted]


# --------------------------------------------------------------------------------------------------------------


def standard_error(layout: Layout, values: Floats) -> float:
    """Clustered standard error of one score (n,), linearised, with C / (C - 1) for few clusters; nan for one."""
    units = layout.of_units(values)
    if layout.clusters < 2:
        return math.nan
    sums, counts = units @ layout.columns, layout.columns.sum(axis=0)
    centres = np.divide(sums, counts, out=np.zeros(len(counts)), where=counts > 0)
    centre = np.full(layout.units, centres[-1])
    if len(counts) > 1:
        inside = layout.columns[:, :-2]
        in_groups = inside @ centres[:-2] / np.maximum(inside.sum(axis=1), 1)
        centre = np.where(layout.columns[:, -2] > 0, centres[-2], in_groups)
    return _spread(layout.per_cluster((layout.weights * (units - centre))[:, None])[:, 0])


def _spread(parts: Floats) -> float:
    """Standard deviation of a sum of independent parts (C,)."""
    n = len(parts)
    return float(math.sqrt(n / (n - 1) * np.sum((parts - parts.mean()) ** 2)))


def detectable_difference(layout: Layout, first: Floats, second: Floats, *, alpha: float = 0.05,
                          power: float = 0.8, alternative: Alternative = "two-sided") -> float:
    """The smallest true difference that samples like these show with probability `power` at level `alpha`.

    (z(1 - alpha / 2) + z(power)) times the standard error of the paired difference (Miller 2024, section 5, after
    Cohen 1988), but never below what the exact test needs at all: enough answers changing the same way, each 1 / u of
    the score. The second matters where two runs agree on almost every question.
    """
    tail = alpha / 2 if alternative == "two-sided" else alpha
    needed = math.ceil(math.log2(1 / tail)) / max(layout.units, 1)
    if layout.clusters < 2:
        return math.nan
    spread = _spread(contributions(layout, first, second))
    return max(detectable_errors(tail, power) * spread, needed)


def cautious_error(layout: Layout, values: Floats) -> tuple[float, float]:
    """A score and its `standard_error` where that is taken for certain although it rests on few clusters.

    It is widened as Student's t is wider than the normal distribution. Where nothing varies, both are those after two
    more right and two more wrong clusters (Agresti & Coull 1998): a column that is all wrong may not be so for certain.
    """
    found, score = standard_error(layout, values), layout.score(values)
    if found > 0:
        return score, found * math.sqrt((layout.clusters - 1) / max(layout.clusters - 3, 1))
    n = layout.clusters + 4
    share = (layout.clusters * score + 2) / n
    return share, math.sqrt(share * (1 - share) / n)


def reported_error(score: float, reported: float, answers: float) -> float:
    """Standard error, if there is no difference, of that between a score and a number someone published; in [0, 1].

    `answers`: how many independent right or wrong answers would have our standard error, score (1 - score) / error².
    The published number has a sampling error of its own that nobody published: on the same benchmark it rests on as
    many, and at worst on answers independent of ours. Both are taken at the level between the two, as in the usual
    test of two shares, so that a score near 0 or 1 does not look surer than it is.
    """
    between = (score + reported) / 2
    return math.sqrt(2 * between * (1 - between) / answers) if 0 < between < 1 else 0.0


def share_below(z: float) -> float:
    """The standard normal distribution up to `z`."""
    return _NORMAL.cdf(z)


def reach(level: float) -> float:
    """Half the width of a two-sided normal interval, in standard errors."""
    return _NORMAL.inv_cdf((1 + level) / 2)


def detectable_errors(tail: float, power: float = 0.8) -> float:
    """How many standard errors a true difference must have to show with probability `power` in a test of one tail."""
    return _NORMAL.inv_cdf(1 - tail) + _NORMAL.inv_cdf(power)
