"""What is tested between two runs: every column that both have, and every average of which both have all columns; which
of them may be called shown, so that few runs see any false alarm; how small a true loss or difference could have shown,
and how many questions would tell.

The tests stand in a tree: Overall, below it the averages, below each its columns. A share of alpha lies on each test. A
test is shown when its p-value is at most its share; what it had then passes on to others, which are looked at again.
That is the graphical procedure of Bretz, Maurer, Brannath & Posch 2009 (Statistics in Medicine 28:586): whatever is
true and however the tests depend on each other, the chance that anything is called shown that is not so is at most
alpha. Holm 1979 is the case of equal shares that pass to all others; without an average that is what is left here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.pairing import TaskPair
from mmrope_eval.report.compare.precision import POWER, Floats, Ints, Precision, mean_precision, numbered, precision_of
from mmrope_eval.report.definitions import load_averages, weights_of
from mmrope_eval.report.options import FLIPS


@dataclass(frozen=True, eq=False)
class Contrast:
    """One column or average of one cell in two runs; scores from 0 to 1.

    changes: by cluster, what it adds to second - first. Clusters of several columns that show the same picture are one.
    whole: a number that makes every change a whole number of answers, 0 where none does.
    """

    cell: str
    column: str
    task: str
    """"" for an average."""
    metric: str
    first: float
    second: float
    changes: Floats
    whole: int
    precision: Precision
    units: int
    parts: tuple[str, ...] = ()
    """The columns that an average is over."""

    @property
    def change(self) -> float:
        """What the second run gained."""
        return self.second - self.first

    @property
    def clusters(self) -> int:
        """How many pictures and videos."""
        return len(self.changes)

    def test(self, alternative: stats.Alternative, *, shift: float = 0.0, flips: int = FLIPS,
             seed: int = 0) -> stats.Test:
        """The sign-flip test over clusters; "less" asks for a loss of more than `shift`, "greater" for such a gain."""
        own_seed = zlib.crc32(f"{seed}|{self.cell}|{self.task or self.column}".encode())
        changes = -self.changes if alternative == "greater" else self.changes
        way: stats.Way = "two-sided" if alternative == "two-sided" else "less"
        return stats.swap_test(changes + shift * self.precision.weights, 0 if shift else self.whole, alternative=way,
                               flips=flips, seed=own_seed)


@dataclass(frozen=True)
class Untested:
    """An average of a cell that cannot be tested, and the columns that one of the runs lacks."""

    cell: str
    average: str
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """All contrasts of two runs, averages before their columns, and the tree that their tests stand in."""

    contrasts: tuple[Contrast, ...]
    tree: Tree
    untested: tuple[Untested, ...] = field(default=())


def family_of(pairs: Sequence[TaskPair]) -> Family:
    """Columns and averages of all cells. UserError where the file of averages is bad."""
    shared = load_averages()
    over = {name: parts for name, parts in shared.over.items() if name not in shared.derived}
    inner = {part for parts in over.values() for part in parts}
    contrasts: list[Contrast] = []
    untested: list[Untested] = []
    for cell in dict.fromkeys(pair.cell for pair in pairs):
        columns = {pair.column: pair for pair in pairs if pair.cell == cell}
        averages = {name: tuple(part for part in parts if part in columns or part not in shared.optional)
                    for name, parts in over.items()}
        of_columns = {pair.column: of_column(pair) for pair in columns.values()}
        for average in sorted(averages, key=lambda name: name in inner):  # each before those that it is over
            shares = weights_of(average, averages)
            lacking = tuple(name for name in shares if name not in columns)
            if not lacking:
                contrasts.append(of_average(cell, average, shares, columns, of_columns))
            elif len(lacking) < len(shares):
                untested.append(Untested(cell, average, lacking))
        contrasts += of_columns.values()
    places = [(contrast.cell, contrast.column) for contrast in contrasts]
    return Family(tuple(contrasts), tree_of(places, over), tuple(untested))


def tree_of(places: Sequence[tuple[str, str]], averages: Mapping[str, Sequence[str]]) -> Tree:
    """The tree of tests of (cell, column or average): above each the average of its cell that it is part of, if that is
    tested too."""
    number = {place: position for position, place in enumerate(places)}

    def above(cell: str, column: str) -> int | None:
        holders = (name for name, parts in averages.items() if column in parts)
        return next((number[cell, name] for name in holders if (cell, name) in number), None)

    return Tree(tuple(above(cell, column) for cell, column in places),
                tuple(column in averages for _, column in places))


def of_column(pair: TaskPair) -> Contrast:
    """A column's contrast."""
    layout, difference = pair.layout, pair.layout.of_units(pair.second) - pair.layout.of_units(pair.first)
    changes = stats.contributions(layout, pair.first, pair.second)
    steps = changes * layout.units
    even = float(np.ptp(layout.weights)) < 1e-12 and np.allclose(steps, np.round(steps), atol=1e-6, rtol=0)
    return Contrast(
        pair.cell, pair.column, pair.task, pair.metric, layout.score(pair.first), layout.score(pair.second), changes,
        layout.units if even else 0, precision_of(layout, difference), layout.units,
    )


def of_average(cell: str, average: str, shares: Mapping[str, float], columns: Mapping[str, TaskPair],
               of_columns: Mapping[str, Contrast]) -> Contrast:
    """An average's contrast from its columns', joined by picture and video."""
    names = {name: columns[name].pictures or tuple(f"{name}|{i}" for i in range(of_columns[name].clusters))
             for name in shares}
    rows, clusters = numbered(names)
    changes = np.zeros(clusters)
    for column, share in shares.items():
        changes[rows[column]] += share * of_columns[column].changes
    parts = [(share, of_columns[name].precision, rows[name]) for name, share in shares.items()]
    return Contrast(
        cell, average, "", "average", sum(share * of_columns[name].first for name, share in shares.items()),
        sum(share * of_columns[name].second for name, share in shares.items()), changes, 0,
        mean_precision(parts, clusters), sum(of_columns[name].units for name in shares), tuple(shares),
    )


TOP: Final = 0.8
"""Share of alpha that lies on the highest averages at the start; the rest lies on the columns, so that one column that
collapses is seen even where Overall hardly moves."""
UP: Final = 0.01
"""Share of what a test passes on that goes to the average above it, so that nothing is left over in a group of which
everything is shown."""


@dataclass(frozen=True)
class Tree:
    """Tests 0 ... n - 1: of each, the test above it (None at the top) and whether it is of an average."""

    above: tuple[int | None, ...]
    average: tuple[bool, ...]

    @property
    def size(self) -> int:
        """How many tests there are."""
        return len(self.above)

    def shares(self) -> Floats:
        """(n,): the share of alpha that lies on each test at the start; they sum to 1."""
        average = np.array(self.average, dtype=bool)
        top = np.array([node is None for node in self.above], dtype=bool) & average
        columns = ~average
        shares = np.zeros(self.size)
        if not top.any():
            shares[columns] = 1 / max(columns.sum(), 1)
            return shares
        on_top = TOP if columns.any() else 1.0
        shares[top] = on_top / top.sum()
        shares[columns] = (1 - on_top) / max(columns.sum(), 1)
        return shares

    def passing(self) -> Floats:
        """(n, n): which part of its share a test that is shown passes to each other; rows sum to 1, or to 0.

        Half goes to the tests beside it, half to those below it, all where there is only one kind; a hundredth (UP) to
        the average above it first.
        """
        passing = np.zeros((self.size, self.size))
        for node in range(self.size):
            beside = [two for two in range(self.size) if two != node and self.above[two] == self.above[node]]
            below = [two for two in range(self.size) if self.above[two] == node]
            above = self.above[node]
            kinds = [kind for kind in (beside, below) if kind]
            rest = 1.0
            if above is not None:
                passing[node, above] = UP if kinds else 1.0
                rest -= passing[node, above]
            for kind in kinds:
                passing[node, kind] = rest / len(kinds) / len(kind)
        return passing

    def lineage(self, node: int) -> tuple[int, ...]:
        """A test and all above it, the highest last."""
        nodes = [node]
        while (above := self.above[nodes[-1]]) is not None:
            nodes.append(above)
        return tuple(nodes)

    def inherited(self) -> Floats:
        """(n,): the share that each test has once all above it are shown, and nothing else is."""
        shares, passing = self.shares(), self.passing()
        levels = np.zeros(self.size)
        for node in range(self.size):
            share = 0.0
            line = self.lineage(node)[::-1]
            for position, test in enumerate(line):
                share = shares[test] + (share * passing[line[position - 1], test] if position else 0.0)
            levels[node] = share
        return levels

    def adjusted(self, p_values: Sequence[float]) -> list[float]:
        """Adjusted p-values: a test is shown where its own is at most alpha, whatever alpha is."""
        p = np.asarray(p_values, dtype=np.float64)
        shares, passing = self.shares(), self.passing()
        left = np.ones(self.size, dtype=bool)
        adjusted = np.ones(self.size)
        highest = 0.0
        while left.any():
            ratios = np.divide(p, shares, out=np.full(self.size, np.inf), where=left & (shares > 0))
            best = int(np.argmin(ratios))
            highest = max(highest, float(ratios[best]))
            if highest >= 1:
                break
            adjusted[best] = highest
            left[best] = False
            shares, passing = without(best, shares, passing)
        return [float(value) for value in adjusted]


def without(shown: int, shares: Floats, passing: Floats) -> tuple[Floats, Floats]:
    """Shares (n,) and what is passed on (n, n) once test `shown` is taken out: what went to it goes where it passes."""
    through, onward = passing[:, shown], passing[shown]
    back = through * onward
    rest = np.where(back < 1, 1 - back, 1.0)
    changed = passing + np.outer(through, onward)
    # A path that came back to its own start is spread over its other ends.
    changed = np.where((back < 1)[:, None], changed / rest[:, None], 0.0)
    np.fill_diagonal(changed, 0.0)
    changed[shown] = changed[:, shown] = 0.0
    moved = shares + shares[shown] * onward
    moved[shown] = 0.0
    return moved, changed


FEW: Final = 12
"""Changed clusters up to which the test is counted through instead of approximated by the normal distribution."""
NARROW: Final = 3
"""Clusters for each that must change at the least, below which it is counted through as well."""
_ROUNDS: Final = 30


def noticeable(tree: Tree, smallest: Callable[[int, float, float], float], alpha: float) -> list[float]:
    """Find for each test the smallest true difference that shows with a chance of POWER in a family of level `alpha`.

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
    errors, variance = stats.detectable_errors(tail, power), contrast.precision.variance
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
        hit = min(float(stats.binomial(per_cluster, share)[fewest:].sum()), 1.0)  # what is hit is no gain any more
        losses = stats.binomial(clusters, luck * (1 - hit) + hit)
        at_least = np.append(np.cumsum(losses[::-1])[::-1], 0.0)
        chance = stats.binomial(clusters, luck * (1 - hit))[: len(gains)]
        return float(chance @ at_least[np.minimum(needed, clusters + 1)])

    return stats.least(lambda share: shown(share) >= power, 1.0)


def losses_needed(gains: Ints, tail: float) -> Ints:
    """For 0, 1, 2 ... gains the fewest losses for which the sign test's p-value is at most `tail`."""
    needed = []
    losses = math.ceil(math.log2(1 / tail) - 1e-9)
    for count in gains.tolist():
        while stats.binomial(count + losses, 0.5)[losses:].sum() > tail:
            losses += 1
        needed.append(losses)
    return np.array(needed, dtype=np.int64)
