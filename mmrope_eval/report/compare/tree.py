"""One family of tests for averages and columns: which may be called shown, so that few runs see any false alarm.

The tests stand in a tree: Overall, below it the averages, below each its columns. A share of alpha lies on each test. A
test is shown when its p-value is at most its share; what it had then passes on to others, which are looked at again.
That is the graphical procedure of Bretz, Maurer, Brannath & Posch 2009 (Statistics in Medicine 28:586): whatever is
true and however the tests depend on each other, the chance that anything is called shown that is not so is at most
alpha. Holm 1979 is the case of equal shares that pass to all others; without an average that is what is left here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mmrope_eval.report.averaging import Floats

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
