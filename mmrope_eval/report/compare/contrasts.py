"""What is tested between two runs: every column that both have, and every average of which both have all columns; and
which of them may be called shown, so that few runs see any false alarm.

The tests stand in a tree: Overall, below it the averages, below each its columns. A share of alpha lies on each test. A
test is shown when its p-value is at most its share; what it had then passes on to others, which are looked at again.
That is the graphical procedure of Bretz, Maurer, Brannath & Posch 2009 (Statistics in Medicine 28:586): whatever is
true and however the tests depend on each other, the chance that anything is called shown that is not so is at most
alpha. Holm 1979 is the case of equal shares that pass to all others; without an average that is what is left here.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mmrope_eval.report.averaging import Floats, numbered
from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.pairing import TaskPair
from mmrope_eval.report.compare.precision import Precision, joined, precision_of
from mmrope_eval.report.definitions import load_averages, weights_of


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
        """Gained by the second run."""
        return self.second - self.first

    @property
    def clusters(self) -> int:
        """How many pictures and videos."""
        return len(self.changes)

    def test(self, alternative: stats.Alternative, *, shift: float = 0.0, flips: int = stats.FLIPS,
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
    precision = joined([(share, of_columns[name].precision, rows[name]) for name, share in shares.items()], clusters)
    return Contrast(
        cell, average, "", "average", sum(share * of_columns[name].first for name, share in shares.items()),
        sum(share * of_columns[name].second for name, share in shares.items()), changes, 0, precision,
        sum(of_columns[name].units for name in shares), tuple(shares),
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
