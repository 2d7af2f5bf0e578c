"""What a check may say of one cell: worse, not worse by a margin, or that it cannot be told; by which rules; and the
verdicts on a run: against another run, sample by sample; against published scores, by their numbers; or, with
`--seeds mean`, on a design over all trainings on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from mmrope_eval.errors import UserError
from mmrope_eval.record.comparable import KINDS
from mmrope_eval.report.compare import seed_stats, stats
from mmrope_eval.report.compare.contrasts import Contrast, family_of, noticeable, smallest, tree_of
from mmrope_eval.report.compare.pairing import Matched, chance, lacks, pictures, points
from mmrope_eval.report.compare.precision import change_interval, lower_bound, units_to_tell
from mmrope_eval.report.compare.reported import ReportedCell
from mmrope_eval.report.compare.trainings import METHOD, Finding, Sides, findings, reach, sides
from mmrope_eval.report.compare.trainings_command import notes
from mmrope_eval.report.options import Rules
from mmrope_eval.report.runs import Run
from mmrope_eval.util.unread import MARK
from mmrope_eval.words import counted

State = Literal["worse", "missing", "lower", "open", "held", "better", "new", "untested"]
WORDS: Final[Mapping[State, str]] = {
    "worse": "Worse", "missing": "Missing", "lower": "Cannot tell, lower in these samples", "open": "Cannot tell",
    "held": "Not worse by the margin", "better": "Better", "new": "Not in the baseline",
    "untested": "Averages not tested",
}
"""States in the order in which they are shown."""
HELD: Final[frozenset[State]] = frozenset({"held", "better"})
"""States in which a loss of the margin is ruled out."""
OPEN: Final[frozenset[State]] = frozenset({"lower", "open"})
"""States in which neither a loss is shown nor its absence."""
UNKNOWN: Final[frozenset[State]] = frozenset({"missing", "new", "untested"})
"""States of what was not compared."""
WAYS: Final[tuple[stats.Alternative, stats.Alternative]] = ("less", "greater")


@dataclass(frozen=True)
class Verdict:
    """One cell: a column or an average of a variant; scores and differences in points, 0 to 100."""

    cell: str
    column: str
    state: State
    baseline: float | None = None
    score: float | None = None
    low: float = math.nan
    high: float = math.nan
    """The two-sided interval of this cell's change, taken alone."""
    p: float = math.nan
    """Adjusted over all cells: of a loss beyond the tolerance where the score fell, of such a gain where it rose."""
    detectable: float = math.nan
    """The true loss that would have been noticed with a chance of 80 %, were it here alone; inf where none would."""
    basis: str = ""
    reason: str = ""
    unread: str = ""
    """How many of the run's answers, or else of the baseline's, are unread where they are many."""
    average: bool = False
    worst: float = math.nan
    """The one-sided bound below this cell's change, taken alone."""
    margin: float = math.nan
    tells: int | None = None
    """How many samples would probably tell that nothing is lost by the margin, if so it is."""
    asked: bool = False
    """Whether the rules demand to know what here cannot be told."""

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.column} of {self.cell}"

    @property
    def change(self) -> float:
        """Points gained; not a number where one side is unknown."""
        return math.nan if self.score is None or self.baseline is None else self.score - self.baseline

    @property
    def sentence(self) -> str:
        """The verdict in words, every number with what it is."""
        if self.reason:
            baseline = "" if self.baseline is None else f" (baseline {points(self.baseline)})"
            return f"{self.name}: {self.reason}{baseline}."
        remedy = f"; about {counted(self.tells, 'sample')} would tell" if self.state in OPEN and self.tells else ""
        alone = "no interval" if math.isnan(self.low) else (
            f"alone {points(self.low, sign=True)} to {points(self.high, sign=True)}, "
            f"at worst {points(self.worst, sign=True)}")
        return (f"{self.name}: {points(self.baseline or 0.0)} -> {points(self.score or 0.0)} "
                f"({points(self.change, sign=True)}; {alone}; over all {chance(self.p)}{remedy})."
                + (f" {MARK} {self.unread}." if self.unread else ""))


def refuse_margin(rules: Rules, average: Sequence[bool]) -> None:
    """UserError where a margin is asked of averages alone, or of columns alone, and no cell is one; `average` says of
    each cell which it is."""
    if rules.margin is not None and rules.margin_columns is None and not any(average):
        raise UserError("--margin is for averages, and of none is every column on both sides; ask it of the columns "
                        f"with --margin-columns {rules.margin:g}.")
    if rules.margin_columns is not None and rules.margin is None and all(average):
        raise UserError("--margin-columns is for columns, and only averages are judged here; ask it of the averages "
                        f"with --margin {rules.margin_columns:g}.")


def refuse_unlike(columns: Iterable[tuple[str, Collection[str]]], allowed: Collection[str], run: Path, against: Path,
                  what: str) -> None:
    """UserError, naming kinds and columns, where columns (each with the kinds in which it differs) were not measured
    alike and that is not allowed; `what` should be."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS if kind not in allowed}
    for name, kinds in columns:
        for kind in kinds:
            if kind in by_kind and name not in by_kind[kind]:
                by_kind[kind].append(name)
    refused = {kind: names for kind, names in by_kind.items() if names}
    if refused:
        different = "; ".join(f"{kind} of {', '.join(names)}" for kind, names in refused.items())
        raise UserError(f"{run} and {against} do not measure the same thing (different {different}); evaluate {what} "
                        f"alike, or pass --allow-different {','.join(refused)}.")


def judged(verdict: Verdict, loss: float, gain: float, rules: Rules) -> Verdict:
    """A verdict with its state, from the adjusted p-values of a loss and of a gain beyond the tolerance and from the
    bound on what may have been lost; and whether it leaves open what was asked. What would be noticed is never more
    than the baseline has."""
    if verdict.baseline is not None and verdict.detectable > verdict.baseline:
        verdict = replace(verdict, detectable=math.inf)
    margin = rules.within(verdict.average)
    state: State = "open"
    if loss <= rules.alpha:
        state = "worse"
    elif gain <= rules.alpha:
        state = "better"
    elif verdict.worst > -margin:
        state = "held"
    elif verdict.change < -rules.tolerance:
        state = "lower"
    blind = rules.require_power is not None and not verdict.detectable <= rules.require_power  # not a number: not known
    return replace(verdict, state=state, margin=margin, asked=state in OPEN and (rules.asked(verdict.average) or blind))


def against_run(matched: Matched, rules: Rules) -> list[Verdict]:
    """One verdict a cell: paired on the samples that both runs have, one-sided tests in one family.

    UserError where `rules.margin` asks for averages and none can be tested.
    """
    family = family_of(matched.pairs)
    refuse_margin(rules, family.tree.average)
    shift = rules.tolerance / 100
    losses, gains = ([contrast.test(way, shift=shift, flips=rules.flips, seed=rules.seed)
                      for contrast in family.contrasts] for way in WAYS)
    reach = noticeable(
        family.tree, lambda number, tail, power: shift + smallest(family.contrasts[number], tail, power), rules.alpha)
    unread = {(pair.cell, pair.column): "; ".join(
        f"in {side} {text}" for side, text in zip(("this run", "the baseline"), pair.unread[::-1], strict=True) if text)
        for pair in matched.pairs}
    verdicts = []
    for contrast, test, loss, gain, seen in zip(
            family.contrasts, losses, family.tree.adjusted([test.p for test in losses]),
            family.tree.adjusted([test.p for test in gains]), reach, strict=True):
        average, level = bool(contrast.parts), 1 - rules.alpha
        interval = change_interval(contrast.precision, contrast.change, level=level)
        verdicts.append(judged(Verdict(
            contrast.cell, contrast.column, "open", 100 * contrast.first, 100 * contrast.second,
            100 * interval.low, 100 * interval.high, gain if contrast.change > 0 else loss, 100 * seen,
            f"{basis(contrast)}, {test.method}",
            unread=unread.get((contrast.cell, contrast.column), ""), average=average,
            worst=100 * lower_bound(contrast.precision, contrast.change, level),
            tells=units_to_tell(contrast.precision, contrast.units, rules.within(average) / 100, level),
        ), loss, gain, rules))
    return verdicts + unmatched(matched) + [
        Verdict(untested.cell, untested.average, "untested", reason=f"not tested, as {lacks(untested.lacking)}",
                average=True)
        for untested in family.untested]


def basis(contrast: Contrast) -> str:
    """What a contrast rests on, in words."""
    over = f" in {counted(len(contrast.parts), 'column')}" if contrast.parts else ""
    on = f" on {pictures(contrast.clusters)}" if contrast.clusters < contrast.units else ""
    return f"{counted(contrast.units, 'sample')}{over}{on}"


def unmatched(matched: Matched) -> list[Verdict]:
    """What only one of the runs has. A task without a sample in common is missing, not new."""
    missing = [Verdict(cell, column, "missing", reason="only the baseline has it")
               for cell, column, _ in matched.only_first]
    missing_cells = {(cell.cell, cell.column) for cell in missing}
    return missing + [Verdict(cell, column, "new", reason="the baseline does not have it")
                      for cell, column, _ in matched.only_second if (cell, column) not in missing_cells]


def against_reported(cells: Sequence[ReportedCell], rules: Rules) -> list[Verdict]:
    """One verdict a published score: by the test of two shares, in one family as against a run."""
    comparable = [(cell, cell.score, 100 * stats.reported_error(cell.score / 100, cell.reported / 100, cell.answers))
                  for cell in cells if cell.score is not None]
    tree = tree_of([(cell.cell, cell.name or cell.column) for cell, _, _ in comparable],
                   {cell.name: cell.parts for cell, _, _ in comparable if cell.parts})
    refuse_margin(rules, tree.average)
    losses = tree.adjusted([p_value_below(score, cell.reported - rules.tolerance, error)
                            for cell, score, error in comparable])
    gains = tree.adjusted([p_value_below(cell.reported + rules.tolerance, score, error)
                           for cell, score, error in comparable])
    reach = noticeable(tree, lambda number, tail, power: stats.detectable_loss(
        comparable[number][0].reported / 100, comparable[number][0].answers, tail, power,
        rules.tolerance / 100), rules.alpha)
    verdicts = []
    for (cell, score, _), loss, gain, seen in zip(comparable, losses, gains, reach, strict=True):
        (low, high), (worst, _) = (stats.reported_interval(score / 100, cell.reported / 100, cell.answers,
                                                           1 - part * rules.alpha) for part in (1, 2))
        verdicts.append(judged(Verdict(
            cell.cell, cell.column, "open", cell.reported, score, 100 * low, 100 * high,
            gain if score > cell.reported else loss, 100 * seen, "test against a reported score", unread=cell.unread,
            average=bool(cell.parts), worst=100 * worst, tells=samples_to_tell(cell, score, rules),
        ), loss, gain, rules))
    return verdicts + [Verdict(cell.cell, cell.column, "missing", cell.reported, reason=cell.reason)
                       for cell in cells if cell.score is None]


def samples_to_tell(cell: ReportedCell, score: float, rules: Rules) -> int:
    """How many samples, as alike as these, would probably tell that nothing is lost by the margin, if so it is: by the
    error seen, or where that is larger by the one that such a loss has at this end of the scale."""
    margin = rules.within(bool(cell.parts)) / 100
    ours, theirs = score / 100, cell.reported / 100
    pairs = ((ours, theirs), (max(theirs - margin, 0.0), theirs), (ours, min(theirs + margin, 1.0)))
    error = max(stats.reported_error(*pair, cell.answers) for pair in pairs)
    return math.ceil(cell.samples * (stats.detectable_errors(rules.alpha) * error / margin) ** 2)


def p_value_below(low: float, high: float, error: float) -> float:
    """One-sided p-value for `low` being below `high`, given the standard error of their difference."""
    return stats.share_below((low - high) / error) if error > 0 else float(low >= high)


def check_trainings(run: Run, baseline: Run, rules: Rules) -> tuple[list[Verdict], tuple[str, ...]]:
    """A verdict for each average (and each column in none) of each design that both sides have, and what must be known.

    Worse: by more than the tolerance, by Welch's one-sided t test over trainings, after Holm over all verdicts; not
    worse by a margin: by the bound of the same test. UserError where nothing corresponds, what was measured is not
    alike and that is not allowed, or a side could never fail, as neither has a second training.
    """
    both = sides(baseline, run)
    measured = both.measured
    unlike = ((name, column.unlike) for measurement in measured for name, column in measurement.columns.items())
    refuse_unlike(unlike, rules.allow_different, run.path, baseline.path, "all trainings")
    losses = findings([(measurement, 0, 1) for measurement in measured], alternative="less", level=1 - rules.alpha,
                      margin=rules.tolerance)
    if any(math.isnan(finding.contrast.p) for finding in losses):
        raise UserError(f"{run.path} and {baseline.path} hold one training each: with --seeds mean one side needs two; "
                        "leave it out to compare the two checkpoints.")
    backwards = [seed_stats.contrast(*finding.scores[::-1], alternative="less", margin=rules.tolerance)
                 for finding in losses]
    gains = seed_stats.holm([contrast.p for contrast in backwards])
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
    worst = seed_stats.contrast(*finding.scores, level=1 - 2 * rules.alpha).low
    before, after = finding.scores
    made = Verdict(finding.name, finding.column, "open", before.mean, after.mean, loss.low, loss.high,
                   gain if loss.change > 0 else finding.p_holm,
                   seed_stats.noticeable(loss, rules.alpha / family) + rules.tolerance,
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


def words(losses: Sequence[Finding]) -> tuple[str, ...]:
    """Sentences that say of how many trainings the verdicts are, and what they are about."""
    sentences = []
    for counts in dict.fromkeys(finding.counts for finding in losses):
        names = ", ".join(dict.fromkeys(finding.name for finding in losses if finding.counts == counts))
        sentences.append(f"{names}: {counted(counts[0], 'training')} in the baseline, {counts[1]} in this run.")
    single = [finding for finding in losses if min(finding.counts) == 1]
    if single:
        sentences.append("A single training is taken to spread as those of the other side do.")
    return (*sentences, METHOD)
