"""`mmrope-eval check RUN --against BASELINE --seeds mean`: is a design worse, over all trainings on both sides?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mmrope_eval.errors import UserError
from mmrope_eval.report.compare.pairing import count
from mmrope_eval.report.compare.seed_findings import METHOD, Finding, Sides, findings, reach, sides
from mmrope_eval.report.compare.seed_stats import contrast, holm, noticeable
from mmrope_eval.report.compare.trainings_command import notes
from mmrope_eval.report.compare.verdict import Rules, Verdict, judged, refuse_margin, refuse_unlike
from mmrope_eval.report.runs import Run


def check_trainings(run: Run, baseline: Run, rules: Rules) -> tuple[list[Verdict], tuple[str, ...]]:
    """A verdict for each average (and each column in none) of each design that both sides have, and what must be known.

    Worse: by more than the tolerance, by Welch's one-sided t test over trainings, after Holm over all verdicts; not
    worse by a margin: by the bound of the same test. UserError where nothing corresponds, what was measured is not
    alike and that is not allowed, or a side could never fail, as neither has a second training.
    """
    both = sides(baseline, run)
    measured = both.measured
    unlike = ((name, column.unlike) for one in measured for name, column in one.columns.items())
    refuse_unlike(unlike, rules.allowed, run.path, baseline.path, "all trainings")
    losses = findings([(one, 0, 1) for one in measured], alternative="less", level=1 - rules.alpha,
                      margin=rules.tolerance)
    if any(math.isnan(one.found.p) for one in losses):
        raise UserError(f"{run.path} and {baseline.path} hold one training each: with --seeds mean one side needs two; "
                        "leave it out to compare the two checkpoints.")
    gains = holm([contrast(one.scores[1], one.scores[0], alternative="less", margin=rules.tolerance).p
                  for one in losses])
    averages = {name for one in measured for name in one.averages}
    refuse_margin(rules, [one.column in averages for one in losses])
    verdicts = [verdict(one, gain, rules, len(losses), average=one.column in averages)
                for one, gain in zip(losses, gains, strict=True)]
    verdicts += lacking(both)
    return verdicts, (*words(losses), *dict.fromkeys(text for one in measured for text in notes(one, ())))


def verdict(one: Finding, gain: float, rules: Rules, family: int, *, average: bool) -> Verdict:
    """What a finding comes to; `gain` is Holm's p of a gain beyond the tolerance."""
    found = one.found
    worst = contrast(*one.scores, level=1 - 2 * rules.alpha).low
    made = Verdict(one.name, one.column, "open", one.scores[0].mean, one.scores[1].mean, found.low, found.high,
                   gain if found.change > 0 else one.p_holm, noticeable(found, rules.alpha / family) + rules.tolerance,
                   f"trainings {reach(one.scores[0])} and {reach(one.scores[1])}, Welch's t test", average=average,
                   worst=worst)
    return judged(made, one.p_holm if found.change < -rules.tolerance else 1.0, gain, rules)


def lacking(both: Sides) -> Iterator[Verdict]:
    """What one side has and the other has not: designs, and columns that only all of the baseline's trainings have."""
    for label in both.only_first:
        yield Verdict(label, "every column", "missing", reason="only the baseline has trainings of it")
    for one in both.measured:
        baseline, run = (design.trainings.values() for design in one.designs)
        for column in one.absent:
            if all(column in found for found in baseline) and not all(column in found for found in run):
                yield Verdict(one.designs[1].label, column, "missing", reason="not every training of this run has it")
    for label in both.only_second:
        yield Verdict(label, "every column", "new", reason="the baseline has no trainings of it")


def is_worse(one: Finding, tolerance: float, alpha: float) -> bool:
    """Whether a loss of more than `tolerance` points is shown."""
    return one.found.change < -tolerance and one.p_holm <= alpha


def words(found: Sequence[Finding]) -> tuple[str, ...]:
    """Of how many trainings the verdicts are, and what they are about."""
    told = []
    for counts in dict.fromkeys(one.counts for one in found):
        names = ", ".join(dict.fromkeys(one.name for one in found if one.counts == counts))
        told.append(f"{names}: {count(counts[0], 'training')} in the baseline, {counts[1]} in this run.")
    single = [one for one in found if min(one.counts) == 1]
    if single:
        told.append("A single training is taken to spread as those of the other side do.")
    return (*told, METHOD)
