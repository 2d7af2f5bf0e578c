"""What trainings show of designs: every comparison with its test, corrected over all of them, and its words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.report.compare.pairing import chance, points
from mmrope_eval.report.compare.seed_stats import Alternative, Contrast, Scores, contrast, holm, luck
from mmrope_eval.report.compare.trainings import Design, Measured, designs_of, measured
from mmrope_eval.report.runs import Run


@dataclass(frozen=True)
class Finding:
    """One column or average of two designs; differences are second minus first, in points."""

    first: str
    second: str
    column: str
    scores: tuple[Scores, Scores]
    contrast: Contrast
    p_holm: float

    @property
    def name(self) -> str:
        """The designs in words."""
        return self.first if self.first == self.second else f"{self.first} -> {self.second}"

    @property
    def counts(self) -> tuple[int, int]:
        """How many trainings each design has."""
        return self.scores[0].trainings, self.scores[1].trainings

    def shown(self, alpha: float) -> bool:
        """Whether a difference is shown: by the test, and by enough trainings that luck alone would rarely do it."""
        return self.p_holm <= alpha and luck(*self.counts) <= alpha


def findings(pairs: Sequence[tuple[Measured, int, int]], *, alternative: Alternative = "two-sided",
             level: float = 0.95, margin: float = 0.0) -> list[Finding]:
    """Every judged column of every pair (what was measured, place of the first design, of the second), with Holm's
    correction over all that can be tested."""
    results = []
    for measurement, first, second in pairs:
        for column in measurement.judged:
            scores = measurement.scores(column)
            both = scores[first], scores[second]
            results.append(Finding(measurement.designs[first].label, measurement.designs[second].label, column, both,
                                 contrast(*both, alternative=alternative, level=level, margin=margin), math.nan))
    testable = [finding for finding in results if not math.isnan(finding.contrast.p)]
    adjusted = dict(zip(map(id, testable), holm([finding.contrast.p for finding in testable]), strict=True))
    return [dataclasses.replace(finding, p_holm=adjusted.get(id(finding), math.nan)) for finding in results]


@dataclass(frozen=True)
class Sides:
    """Two runs as sides of a comparison."""

    measured: tuple[Measured, ...]
    """Two designs each, the first run's first."""
    only_first: tuple[str, ...]
    """Designs that the other side does not have."""
    only_second: tuple[str, ...]


def sides(first: Run, second: Run) -> Sides:
    """Two runs as sides: every design that both have, or the one of each. UserError where nothing corresponds, or both
    sides hold the same training."""
    before, after = designs_of([first]), designs_of([second])
    if len(before) == len(after) == 1:
        pairs = [(before[0], after[0])]
    else:
        by_key = {design.key: design for design in after}
        pairs = [(design, by_key[design.key]) for design in before if design.key in by_key]
    paired = {design.key for pair in pairs for design in pair}
    if not pairs:
        raise UserError(f"{first.path} ({listed(before)}) and {second.path} ({listed(after)}) have no design in "
                        "common; name folders with one design each, or with the same designs.")
    for a, b in pairs:
        both = [name for key, name in zip(a.trainings, a.names, strict=True) if key in b.trainings]
        if both:
            raise UserError(f"{first.path} and {second.path} both hold the training {both[0]}: --seeds mean compares "
                            "different trainings; leave it out to compare the same checkpoints run twice.")
    return Sides(tuple(measured(pair) for pair in pairs),
                 tuple(design.label for design in before if design.key not in paired),
                 tuple(design.label for design in after if design.key not in paired))


def listed(designs: Sequence[Design]) -> str:
    """Designs with their numbers of trainings."""
    return ", ".join(f"{design.label} {len(design.trainings)}" for design in designs)


def reach(scores: Scores) -> str:
    """From the lowest to the highest training."""
    if scores.trainings == 1:
        return points(float(scores.totals[0]))
    return f"{points(float(scores.totals.min()))} to {points(float(scores.totals.max()))}"


def sentence(finding: Finding, alpha: float) -> str:
    """One comparison in words."""
    a, b = finding.scores
    head = f"{finding.column}: {points(a.mean)} -> {points(b.mean)} ({points(finding.contrast.change, sign=True)}"
    if math.isnan(finding.contrast.error):
        return f"{head}); trainings {reach(a)} and {reach(b)}: not shown, for neither was trained twice."
    verdict = "shown" if finding.shown(alpha) else "not shown"
    return (f"{head}, {100 * (1 - alpha):g} % interval {points(finding.contrast.low, sign=True)} to "
            f"{points(finding.contrast.high, sign=True)}, {chance(finding.p_holm)} after Holm); trainings {reach(a)} "
            f"and {reach(b)}: {verdict}.")


def too_few(results: Sequence[Finding], alpha: float) -> Iterator[str]:
    """One sentence for each number of trainings with which nothing can be shown, whatever the scores are."""
    for counts in dict.fromkeys(finding.counts for finding in results):
        first, second = counts
        by_luck = luck(first, second)
        if by_luck > alpha:
            few = "1 training" if second == 1 else f"{second} trainings"
            yield (f"With {first} and {few} nothing can be shown of designs: where they do not differ at all, every "
                   f"training of one lies above every training of the other in {100 * by_luck:.3g} % of cases by luck. "
                   "What stands here is how far the trainings are apart.")


METHOD = ("Intervals and p-values: Welch's t over trainings, with what other questions would change beside it; both "
          "are about other trainings of these designs and other questions. Trainings are taken to be normally "
          "distributed.")


def record(finding: Finding, alpha: float) -> dict[str, Any]:
    """For machines; not-a-number is null."""
    contrast = finding.contrast
    values = {
        "first": finding.first, "second": finding.second, "column": finding.column, "trainings": list(finding.counts),
        "scores": [side.totals.tolist() for side in finding.scores], "change": contrast.change, "low": contrast.low,
        "high": contrast.high, "error": contrast.error, "df": contrast.df, "p": contrast.p, "p_holm": finding.p_holm,
        "by_luck": luck(*finding.counts), "shown": finding.shown(alpha),
    }
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()}
