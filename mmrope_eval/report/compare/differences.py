"""How far two runs differ: every column and average measured, tested and corrected as one family."""

from __future__ import annotations

from dataclasses import dataclass

from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.contrasts import Family
from mmrope_eval.report.compare.power import noticeable, smallest
from mmrope_eval.report.compare.precision import change_interval


@dataclass(frozen=True)
class Difference:
    """How far one column or average differs, second minus first, on the samples that both have; 0 to 100."""

    cell: str
    column: str
    task: str
    """"" for an average."""
    metric: str
    first: float
    second: float
    low: float
    high: float
    """The interval of this one alone; not a number where it rests on too few pictures and videos."""
    p: float
    p_adjusted: float
    """Over the whole family: shown where it is at most alpha."""
    test: str
    detectable: float
    """The true difference that would probably have shown; inf where none can."""
    samples: int
    clusters: int
    parts: tuple[str, ...]
    """The columns that an average is over."""

    @property
    def change(self) -> float:
        """Points gained (or, below zero, lost) by the second run."""
        return self.second - self.first


def differences(family: Family, *, alpha: float = 0.05, seed: int = 0, flips: int = stats.FLIPS) -> list[Difference]:
    """Every contrast, averages before their columns; two-sided tests. The interval's level is 1 - alpha.

    Each test draws from a seed of its own, made from `seed`, its cell and its task, so that neither it nor the interval
    depends on what else is compared.
    """
    tests = [contrast.test("two-sided", flips=flips, seed=seed) for contrast in family.contrasts]
    adjusted = family.tree.adjusted([test.p for test in tests])
    reach = noticeable(
        family.tree, lambda number, tail, power: smallest(family.contrasts[number], tail / 2, power), alpha)
    results = []
    for contrast, test, p, seen in zip(family.contrasts, tests, adjusted, reach, strict=True):
        interval = change_interval(contrast.precision, contrast.change, level=1 - alpha)
        results.append(Difference(
            contrast.cell, contrast.column, contrast.task, contrast.metric, 100 * contrast.first,
            100 * contrast.second, 100 * interval.low, 100 * interval.high, test.p, p, test.method, 100 * seen,
            contrast.units, contrast.clusters, contrast.parts,
        ))
    return results
