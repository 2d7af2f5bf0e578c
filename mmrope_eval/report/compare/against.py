"""The verdicts on a run: against another run, sample by sample, or against published scores, by their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.contrasts import Contrast, family_of, tree_of
from mmrope_eval.report.compare.pairing import Matched, TaskPair, count, lacks, pictures
from mmrope_eval.report.compare.power import noticeable, smallest, units_to_tell
from mmrope_eval.report.compare.precision import change_interval, lower_bound
from mmrope_eval.report.compare.reported import ReportedCell
from mmrope_eval.report.compare.verdict import Rules, Verdict, judged, refuse_margin

WAYS: Final[tuple[stats.Alternative, stats.Alternative]] = ("less", "greater")


def against_run(matched: Matched, rules: Rules) -> list[Verdict]:
    """One verdict a cell: paired on the samples that both runs have, one-sided tests in one family.

    UserError where `rules.margin` asks for averages and none can be tested.
    """
    family = family_of(matched.pairs)
    refuse_margin(rules, family.tree.average)
    shift = rules.tolerance / 100
    losses, gains = ([one.test(way, shift=shift, flips=rules.flips, seed=rules.seed) for one in family.contrasts]
                     for way in WAYS)
    reach = noticeable(family.tree, lambda one, tail, power: shift + smallest(family.contrasts[one], tail, power),
                       rules.alpha)
    unread = {(pair.cell, pair.column): unread_of(pair) for pair in matched.pairs}
    verdicts = []
    for one, test, loss, gain, seen in zip(
            family.contrasts, losses, family.tree.adjusted([test.p for test in losses]),
            family.tree.adjusted([test.p for test in gains]), reach, strict=True):
        average, level = bool(one.parts), 1 - rules.alpha
        interval = change_interval(one.precision, one.change, level=level)
        verdicts.append(judged(Verdict(
            one.cell, one.column, "open", 100 * one.first, 100 * one.second, 100 * interval.low, 100 * interval.high,
            gain if one.change > 0 else loss, 100 * seen, f"{basis(one)}, {test.method}",
            unread=unread.get((one.cell, one.column), ""), average=average,
            worst=100 * lower_bound(one.precision, one.change, level),
            tells=units_to_tell(one.precision, one.units, rules.within(average) / 100, level),
        ), loss, gain, rules))
    return verdicts + unmatched(matched) + [
        Verdict(one.cell, one.average, "untested", reason=f"not tested, as {lacks(one.lacking)}", average=True)
        for one in family.untested]


def basis(one: Contrast) -> str:
    """What a contrast rests on, in words."""
    over = f" in {count(len(one.parts), 'column')}" if one.parts else ""
    on = f" on {pictures(one.clusters)}" if one.clusters < one.units else ""
    return f"{count(one.units, 'sample')}{over}{on}"


def unmatched(matched: Matched) -> list[Verdict]:
    """What only one of the runs has. A task without a sample in common is missing, not new."""
    missing = [Verdict(cell, column, "missing", reason="only the baseline has it")
               for cell, column, _ in matched.only_first]
    there = {(one.cell, one.column) for one in missing}
    return missing + [Verdict(cell, column, "new", reason="the baseline does not have it")
                      for cell, column, _ in matched.only_second if (cell, column) not in there]


def unread_of(pair: TaskPair) -> str:
    """What is to be said of unread answers in this run or in the baseline."""
    sides = (("this run", pair.unread[1]), ("the baseline", pair.unread[0]))
    return "; ".join(f"in {side} {text}" for side, text in sides if text)


def against_reported(cells: Sequence[ReportedCell], rules: Rules) -> list[Verdict]:
    """One verdict a published score: by the test of two shares, in one family as against a run."""
    known = [(one, one.score, 100 * stats.reported_error(one.score / 100, one.reported / 100, one.answers))
             for one in cells if one.score is not None]
    tree = tree_of([(one.cell, one.name or one.column) for one, _, _ in known],
                   {one.name: one.parts for one, _, _ in known if one.parts})
    refuse_margin(rules, tree.average)
    losses = tree.adjusted([below(score, one.reported - rules.tolerance, error) for one, score, error in known])
    gains = tree.adjusted([below(one.reported + rules.tolerance, score, error) for one, score, error in known])
    reach = noticeable(tree, lambda one, tail, power: stats.detectable_loss(
        known[one][0].reported / 100, known[one][0].answers, tail, power, rules.tolerance / 100), rules.alpha)
    verdicts = []
    for (one, score, _), loss, gain, seen in zip(known, losses, gains, reach, strict=True):
        (low, high), (worst, _) = (stats.reported_interval(score / 100, one.reported / 100, one.answers,
                                                           1 - part * rules.alpha) for part in (1, 2))
        verdicts.append(judged(Verdict(
            one.cell, one.column, "open", one.reported, score, 100 * low, 100 * high,
            gain if score > one.reported else loss, 100 * seen, "test against a reported score", unread=one.unread,
            average=bool(one.parts), worst=100 * worst, tells=samples_to_tell(one, score, rules),
        ), loss, gain, rules))
    return verdicts + [Verdict(one.cell, one.column, "missing", one.reported, reason=one.reason)
                       for one in cells if one.score is None]


def samples_to_tell(one: ReportedCell, score: float, rules: Rules) -> int:
    """How many samples, as alike as these, would probably tell that nothing is lost by the margin, if so it is: by the
    error seen, or where that is larger by the one that such a loss has at this end of the scale."""
    margin = rules.within(bool(one.parts)) / 100
    ours, theirs = score / 100, one.reported / 100
    pairs = ((ours, theirs), (max(theirs - margin, 0.0), theirs), (ours, min(theirs + margin, 1.0)))
    error = max(stats.reported_error(*pair, one.answers) for pair in pairs)
    return math.ceil(one.samples * (stats.detectable_errors(rules.alpha) * error / margin) ** 2)


def below(low: float, high: float, error: float) -> float:
    """One-sided p-value for `low` being below `high`, given the standard error of their difference."""
    return stats.share_below((low - high) / error) if error > 0 else float(low >= high)
