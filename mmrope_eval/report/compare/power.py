"""How small a true loss or difference two runs could have shown, and how many questions would tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from mmrope_eval.report.averaging import Ints
from mmrope_eval.report.compare.contrasts import Contrast, Tree
from mmrope_eval.report.compare.precision import Precision, normal, t_quantile
from mmrope_eval.report.compare.stats import binomial, detectable_errors, least

POWER: Final = 0.8
"""The chance with which what "could have been seen" is seen."""
FEW: Final = 12
"""Changed clusters up to which the test is counted through instead of approximated by the normal distribution."""
NARROW: Final = 3
"""Clusters for each that must change at the least, below which it is counted through as well."""
_ROUNDS: Final = 30


def noticeable(tree: Tree, smallest: Callable[[int, float, float], float], alpha: float) -> list[float]:
    """Of each test the smallest true difference that shows with a chance of POWER in a family of level `alpha`.

    `smallest` has that of one test by its number, a tail and a power; inf where none can show, which is handed on. What
    is tested is taken to differ alone: it shows by its own share of alpha, or after the averages above it, in which it
    is one part of several, whichever takes less. What must show together is asked for more each.
    """
    shares, inherited = tree.shares(), tree.inherited()
    smallest_losses = []
    for number in range(tree.size):
        line = tree.lineage(number)
        power = 1 - (1 - POWER) / len(line)
        part, needed = 1.0, 0.0
        for position, test in enumerate(line):
            part /= tree.above.count(test) if position else 1
            needed = max(needed, smallest(test, alpha * inherited[test], power) / part)
        at_own_share = smallest(number, alpha * shares[number], POWER) if shares[number] else math.inf
        smallest_losses.append(min(needed, at_own_share))
    return smallest_losses


def smallest(contrast: Contrast, tail: float, power: float = POWER) -> float:
    """The smallest true loss in [0, 1] that one test of one tail shows with this chance; inf where none can.

    Clusters are what is swapped, so C of them have a p-value of at least 2**-C. Where few changed, or there are few,
    their number decides (`smallest_share`); else a loss must be as many standard errors as the test's tail and power
    ask for (Miller 2024, section 5, after Cohen 1988), its own answers adding to the error.
    """
    if not 0 < tail < 1 or 0.5**contrast.clusters > tail:
        return math.inf
    changed = int(np.count_nonzero(np.abs(contrast.changes) > 1e-12))
    errors, variance = detectable_errors(tail, power), contrast.precision.variance
    change = errors * math.sqrt(variance)
    if changed <= FEW:
        return max(change, smallest_share(contrast, changed, tail, power))
    for _ in range(_ROUNDS):  # a fixed point: it moves little and is reached at once
        change = errors * math.sqrt(variance + min(change, 1.0) * contrast.precision.units) + contrast.precision.units
    if contrast.clusters < NARROW * math.log2(1 / tail):
        return max(change, smallest_share(contrast, changed, tail, power))
    return change


def smallest_share(contrast: Contrast, changed: int, tail: float, power: float) -> float:
    """The smallest share of answers that can be lost, at random, so that a sign test over clusters shows it.

    `changed` clusters changed by luck, half of them each way, as many as in the runs at hand. How many more are lost is
    as random as that: where k clusters must change, a loss that makes k on average would show every other time. A
    cluster counts as lost where it loses as many answers as luck changes in one.
    """
    clusters, per_cluster = contrast.clusters, max(round(contrast.units / contrast.clusters), 1)
    size = math.sqrt(float(contrast.changes @ contrast.changes) / changed) * contrast.units if changed else 1.0
    fewest = min(max(round(size), 1), per_cluster)
    luck = min(changed / 2 / clusters, 0.5)
    gains = np.arange(min(clusters, int(changed / 2 + 6 * math.sqrt(changed / 2 + 1))) + 1)
    needed = losses_needed(gains, tail)

    def shown(share: float) -> float:
        hit = min(float(binomial(per_cluster, share)[fewest:].sum()), 1.0)  # what is hit is no gain any more
        losses = binomial(clusters, luck * (1 - hit) + hit)
        at_least = np.append(np.cumsum(losses[::-1])[::-1], 0.0)
        chance = binomial(clusters, luck * (1 - hit))[: len(gains)]
        return float(chance @ at_least[np.minimum(needed, clusters + 1)])

    return least(lambda share: shown(share) >= power, 1.0)


def losses_needed(gains: Ints, tail: float) -> Ints:
    """For 0, 1, 2 ... gains the fewest losses for which the sign test's p-value is at most `tail`."""
    needed = []
    losses = math.ceil(math.log2(1 / tail) - 1e-9)
    for count in gains.tolist():
        while binomial(count + losses, 0.5)[losses:].sum() > tail:
            losses += 1
        needed.append(losses)
    return np.array(needed, dtype=np.int64)


def units_to_tell(precision: Precision, units: int, points: float, level: float) -> int | None:
    """How many questions, at as many a picture, would show that nothing is lost by `points` (in (0, 1]), if so it is.

    With a chance of POWER, by a one-sided bound of this level, the error being as here, or as that of such a loss where
    that is larger. None where a single picture says nothing of the error.
    """
    variance = max(precision.variance, precision.least(points))
    errors = (t_quantile(level, precision.freedom) + normal(POWER)) * math.sqrt(variance) / points
    return math.ceil(units * errors**2) if math.isfinite(errors) else None
