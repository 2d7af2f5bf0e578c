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
    unlike = ((name, column.unlike) for measurement in measured for name, column in measurement.columns.items())
    refuse_unlike(unlike, rules.allowed, run.path, baseline.path, "all trainings")
    losses = findings([(measurement, 0, 1) for measurement in measured], alternative="less", level=1 - rules.alpha,
                      margin=rules.tolerance)
    if any(math.isnan(finding.contrast.p) for finding in losses):
        raise UserError(f"{run.path} and {baseline.path} hold one training each: with --seeds mean one side needs two; "
                        "leave it out to compare the two checkpoints.")
    gains = holm([contrast(finding.scores[1], finding.scores[0], alternative="less", margin=rules.tolerance).p
                  for finding in losses])
    averages = {name for measurement in measured for name in measurement.averages}
    refuse_margin(rules, [finding.column in averages for finding in losses])
    verdicts = [verdict(finding, gain, rules, len(losses), average=finding.column in averages)
                for finding, gain in zip(losses, gains, strict=True)]
    verdicts += lacking(both)
    texts = dict.fromkeys(text for measurement in measured for text in notes(measurement, ()))
    return verdicts, (*words(losses), *texts)


def verdict(finding: Finding, gain: float, rules: Rules, family: int, *, average: bool) -> Verdict:
    """What a finding comes to; `gain` is Holm's p of a gain beyond the tolerance."""
    loss = finding.contrast
    worst = contrast(*finding.scores, level=1 - 2 * rules.alpha).low
    before, after = finding.scores
    made = Verdict(finding.name, finding.column, "open", before.mean, after.mean, loss.low, loss.high,
                   gain if loss.change > 0 else finding.p_holm,
                   noticeable(loss, rules.alpha / family) + rules.tolerance,
                   f"trainings {reach(before)} and {reach(after)}, Welch's t test", average=average, worst=worst)
    return judged(made, finding.p_holm if loss.change < -rules.tolerance else 1.0, gain, rules)


def lacking(both: Sides) -> Iterator[Verdict]:
    """What one side has and the other has not: designs, and columns that only all of the baseline's trainings have."""
    for label in both.only_first:
        yield Verdict(label, "every column", "missing", reason="only the baseline has trainings of it")
    for measurement in both.measured:
        baseline, run = (design.trainings.values() for design in measurement.designs)
        for column in measurement.absent:
            if all(column in training for training in baseline) and not all(column in training for training in run):
                yield Verdict(measurement.designs[1].label, column, "missing",
                              reason="not every training of this run has it")
    for label in both.only_second:
        yield Verdict(label, "every column", "new", reason="the baseline has no trainings of it")


def is_worse(finding: Finding, tolerance: float, alpha: float) -> bool:
    """Whether a loss of more than `tolerance` points is shown."""
    return finding.contrast.change < -tolerance and finding.p_holm <= alpha


def words(losses: Sequence[Finding]) -> tuple[str, ...]:
    """Of how many trainings the verdicts are, and what they are about."""
    sentences = []
    for counts in dict.fromkeys(finding.counts for finding in losses):
        names = ", ".join(dict.fromkeys(finding.name for finding in losses if finding.counts == counts))
        sentences.append(f"{names}: {count(counts[0], 'training')} in the baseline, {counts[1]} in this run.")
    single = [finding for finding in losses if min(finding.counts) == 1]
    if single:
        sentences.append("A single training is taken to spread as those of the other side do.")
    return (*sentences, METHOD)
