"""Whether two runs differ: paired tests over pictures and videos, and the errors of scores and of published numbers.

Everything here takes arrays of sample values in [0, 1] and answers in the same unit. Questions about one picture or
video stand or fall together, so pictures and videos (clusters) are what is swapped, never single questions.

All randomness comes from a seed that callers pass and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from mmrope_eval.report.compare.precision import Floats, Ints, Layout, normal, precision_of, wilson
from mmrope_eval.report.options import FLIPS

Way = Literal["two-sided", "less"]
Alternative = Literal["two-sided", "less", "greater"]

_NORMAL: Final = NormalDist()
_CHUNK: Final = 8_000_000  # numbers held at once while drawing
_HALVINGS: Final = 30
_RARE: Final = 8  # so many changes of one size are tossed one by one, more as a binomial number


@dataclass(frozen=True)
class Test:
    """A paired test's p-value, and how it was found."""

    p: float
    method: str


def contributions(layout: Layout, first: Floats, second: Floats) -> Floats:
    """(C,): what each cluster adds to score(second) - score(first); they sum to it. The samples are the same."""
    return layout.per_cluster(layout.weights * (layout.of_units(second) - layout.of_units(first)))


def swap_test(changes: Floats, whole: int, *, alternative: Way = "two-sided", flips: int = FLIPS,
              seed: int = 0) -> Test:
    """Whether two runs differ on the same samples: the sign-flip test over the clusters' `contributions` (C,).

    If the runs are equally good, swapping them within a cluster changes nothing but the sign of what it contributes;
    the p-value is the share of all swaps with a difference at least as large (Fisher's randomization; for evaluation
    Smucker, Allan & Carterette 2007, who find it agrees with the bootstrap and keeps its level). "less" asks whether
    the second is worse.

    With one question a cluster and scores of 0 and 1 this is McNemar's exact test (McNemar 1947): a binomial test on
    the questions that only one run answers; the exact form is used because it never exceeds its level (Fagerland,
    Lydersen & Laake 2013 on its conservatism). Where clusters hold several such questions McNemar's would count
    dependent answers as independent, so whole clusters are swapped; times `whole` their sums are whole numbers of
    answers and the test stays exact, by convolution. For other changes (IoU, averages of unequal groups or of columns;
    `whole` is 0) `flips` random swaps are drawn, with Phipson & Smyth's (2010) (b + 1) / (m + 1), which keeps the level
    too. A bootstrap p-value has no such guarantee on few clusters.
    """
    changes = changes[np.abs(changes) > 1e-12]
    if whole:
        steps = np.round(changes * whole).astype(np.int64)
        name = "McNemar's exact test" if np.all(np.abs(steps) == 1) else "exact sign-flip test over clusters"
        return Test(_exact_p(steps, alternative), name)
    return Test(_drawn_p(changes, alternative, flips, seed), f"sign-flip test over clusters ({flips} flips)")


def _exact_p(change: Ints, alternative: Way) -> float:
    """The share of all 2**m sign patterns with a sum at least as extreme as that of `change`, int (m,), none 0."""
    sizes, counts = np.unique(np.abs(change), return_counts=True)
    heights: Floats = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        spaced = np.zeros(int(count * size) + 1)
        spaced[:: int(size)] = binomial(int(count), 0.5)
        heights = np.convolve(heights, spaced).astype(np.float64)
    sums = 2 * np.arange(len(heights)) - int(np.abs(change).sum())
    seen = int(change.sum())
    extreme = sums <= seen if alternative == "less" else np.abs(sums) >= abs(seen)
    return min(1.0, float(heights[extreme].sum()))


def _drawn_p(change: Floats, alternative: Way, flips: int, seed: int) -> float:
    """The share of random sign patterns with a sum at least as extreme as that of `change`, the given one among them.

    Where no drawn one is, the share of all patterns is at most exp(-s² / 2 v), by Hoeffding's inequality (1963), with s
    the sum and v the sum of squares. That may be far less than one in `flips`, and is used only then, so that the test
    keeps its level.
    """
    rng = np.random.default_rng(seed)
    seen = float(change.sum())
    # Equal sizes are tossed together: how many keep their sign is binomial.
    sizes, counts = np.unique(np.round(np.abs(change), 12), return_counts=True)
    common = counts > _RARE
    single = np.repeat(sizes[~common], counts[~common])
    sizes, counts = sizes[common], counts[common]
    slack = 1e-9 * float(np.abs(change).sum())  # rounding must not break ties
    extreme = 0
    block = max(1, _CHUNK // max(len(single), len(sizes), 1))
    for start in range(0, flips, block):
        size = min(block, flips - start)
        sums = (2.0 * rng.binomial(counts, 0.5, size=(size, len(sizes))) - counts) @ sizes
        sums += (2.0 * rng.integers(0, 2, size=(size, len(single)), dtype=np.int8) - 1) @ single
        extreme += int(np.sum(sums <= seen + slack if alternative == "less" else np.abs(sums) >= abs(seen) - slack))
    if extreme == 0 and seen:
        sides = 1 if alternative == "less" else 2
        return min(1 / (flips + 1), sides * math.exp(-(seen**2) / (2 * float(change @ change))))
    return (extreme + 1) / (flips + 1)


# --------------------------------------------------------------------------------------------------------------


def standard_error(layout: Layout, values: Floats) -> float:
    """Clustered standard error of one score of sample values (n,), in [0, 1]; nan for one cluster."""
    return precision_of(layout, layout.of_units(values)).error


def cautious_error(layout: Layout, values: Floats) -> tuple[float, float]:
    """A score and its `standard_error` where that is taken for certain although it rests on few clusters.

    It is widened as Student's t is wider than the normal distribution. Where nothing varies, the score is that after
    two more right and two more wrong clusters (Agresti & Coull 1998), and the error that of the clusters there are at
    this score: a column that is all wrong may not be so for certain.
    """
    error, score = standard_error(layout, values), layout.score(values)
    if error > 0:
        return score, error * math.sqrt((layout.clusters - 1) / max(layout.clusters - 3, 1))
    share = (layout.clusters * score + 2) / (layout.clusters + 4)
    return share, math.sqrt(share * (1 - share) / layout.clusters)


def reported_error(score: float, reported: float, answers: float) -> float:
    """Standard error, if there is no difference, of that between a score and a number someone published; in [0, 1].

    `answers`: how many independent right or wrong answers would have our standard error, score (1 - score) / error².
    The published number has a sampling error of its own that nobody published: on the same benchmark it rests on as
    many, and at worst on answers independent of ours. Both are taken at the level between the two, as in the usual
    test of two shares, so that a score near 0 or 1 does not look surer than it is.
    """
    between = (score + reported) / 2
    return math.sqrt(2 * between * (1 - between) / answers) if 0 < between < 1 else 0.0


def reported_interval(score: float, reported: float, answers: float, level: float) -> tuple[float, float]:
    """The two-sided interval of a score minus a number someone published, in [-1, 1]; `answers` as in `reported_error`.

    Wilson's intervals of both shares, joined (Newcombe 1998, Statistics in Medicine 17:873, method 10). Unlike the
    error at the level between them it does not shrink to nothing where both are 0 or 1.
    """
    ours, theirs = (wilson(share, answers, reach(level)) for share in (score, reported))
    below, above = math.hypot(score - ours[0], theirs[1] - reported), math.hypot(ours[1] - score, reported - theirs[0])
    return max(score - reported - below, -1.0), min(score - reported + above, 1.0)


def detectable_loss(reported: float, answers: float, tail: float, power: float = 0.8, beyond: float = 0.0) -> float:
    """The smallest true loss in (0, 1] that shows, as one of more than `beyond`, against a number someone published.

    In a test of one tail, by the error after such a loss (`reported_error`); inf where not even a score of 0 shows.
    """
    errors = detectable_errors(tail, power)

    def shows(loss: float) -> bool:
        return loss - beyond >= errors * reported_error(reported - loss, reported, answers) > 0

    return least(shows, reported)


def least(shows: Callable[[float], bool], most: float) -> float:
    """The least of (0, `most`] that shows, where all above it do; inf where `most` does not."""
    if not shows(most):
        return math.inf
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def binomial(n: int, share: float) -> Floats:
    """(n + 1,): probabilities of 0 ... n."""
    if share <= 0 or share >= 1:
        return np.asarray(np.arange(n + 1) == (0 if share <= 0 else n), dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    chances: Floats = np.exp(logs[-1] - logs - logs[::-1] + k * math.log(share) + (n - k) * math.log1p(-share))
    return chances


def share_below(z: float) -> float:
    """The standard normal distribution up to `z`."""
    return _NORMAL.cdf(z)


def reach(level: float) -> float:
    """Half the width of a two-sided normal interval, in standard errors."""
    return normal((1 + level) / 2)


def detectable_errors(tail: float, power: float = 0.8) -> float:
    """How many standard errors a true difference must have to show with probability `power` in a test of one tail."""
    return normal(1 - tail) + normal(power)
