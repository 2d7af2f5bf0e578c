"""Runs as trainings of designs: which checkpoints were trained under one design, what each scored on questions that all
of them answered, and what that shows: every comparison with its test, corrected over all of them, and its words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.record.comparable import differing
from mmrope_eval.report import candidates
from mmrope_eval.report.candidates import BenchmarkResult, describe
from mmrope_eval.report.compare.pairing import chance, layout_of, points, samples_of
from mmrope_eval.report.compare.precision import Floats, joined, numbered
from mmrope_eval.report.compare.seed_stats import Alternative, Contrast, Scores, contrast, holm, luck, residuals
from mmrope_eval.report.definitions import Averages, benchmarks_behind, load_averages, weights_of
from mmrope_eval.report.runs import Cell, Run, finite_or_none


@dataclass(frozen=True)
class Design:
    """One design (a variant's definition), and what each training of it answered."""

    label: str
    key: str
    trainings: Mapping[str, Mapping[str, BenchmarkResult]] = field(repr=False)
    """Training (`training_of`) -> column -> result."""

    @property
    def names(self) -> tuple[str, ...]:
        """The trainings' checkpoints, as people call them."""
        return tuple(next(iter(results.values())).cell.model for results in self.trainings.values())


@dataclass(frozen=True, eq=False)
class Column:
    """One benchmark over all trainings of all designs that are compared, on the samples that all of them answered."""

    name: str
    totals: Floats
    """(k,): scores in points, training after training, design after design."""
    parts: Floats
    """(k, C), points: see `seed_stats.residuals`."""
    clusters: tuple[str, ...]
    samples: int
    left_out: int
    """Samples that some training lacks."""
    unlike: tuple[str, ...]
    """Kinds of `record.comparable.KINDS` in which the runs differ."""


@dataclass(frozen=True)
class Measured:
    """Designs on the columns that all their trainings have."""

    designs: tuple[Design, ...]
    columns: Mapping[str, Column] = field(repr=False)
    averages: Mapping[str, tuple[str, ...]]
    """Averages of which every column is there, over the columns that there are (see `optional` of averages.yaml)."""
    absent: tuple[str, ...]
    """Columns that only some trainings have."""

    @property
    def judged(self) -> tuple[str, ...]:
        """What is tested: the averages, and the columns that are in none of them."""
        inside = {benchmark for name in self.averages for benchmark in benchmarks_behind(name, self.averages)}
        return (*self.averages, *(name for name in self.columns if name not in inside))

    def scores(self, name: str) -> list[Scores]:
        """A column or average of each design."""
        weights = weights_of(name, self.averages)
        rows, clusters = numbered({column: self.columns[column].clusters for column in weights})
        several = sum(len(design.trainings) for design in self.designs)
        totals, parts = np.zeros(several), np.zeros((several, clusters))
        for column, weight in weights.items():
            totals += weight * self.columns[column].totals
            parts[:, rows[column]] += weight * self.columns[column].parts
        ends = np.cumsum([len(design.trainings) for design in self.designs])[:-1]
        return [Scores(*both) for both in zip(np.split(totals, ends), np.split(parts, ends), strict=True)]


# --------------------------------------------------------------------------------------------------------------


def training_of(cell: Cell) -> str:
    """What tells one training from another: the weights, or the checkpoint's place where they were not recorded."""
    return cell.model_fingerprint or cell.record.scores.checkpoint.path


def designs_of(runs: Iterable[Run], *, models: Sequence[str] = (), step: candidates.Step = None) -> list[Design]:
    """The designs of runs, each with its trainings. UserError where a training has several results of one column, or a
    design has checkpoints of several steps."""
    entries = candidates.select_steps(candidates.collect(runs, models), step)
    by_key: dict[str, list[BenchmarkResult]] = {}
    for entry in entries:
        if not pd.isna(entry.scores["score"]):
            by_key.setdefault(entry.key, []).append(entry)
    if not by_key:
        raise UserError("None of these runs has a score; start their commands again.")
    names = [entries[0].cell.variant for entries in by_key.values()]
    return [Design(name if names.count(name) == 1 else describe(entries[0].cell), key, trainings_in(name, entries))
            for name, (key, entries) in zip(names, by_key.items(), strict=True)]


def trainings_in(label: str, entries: Sequence[BenchmarkResult]) -> dict[str, dict[str, BenchmarkResult]]:
    """One design's results by training and column."""
    by_training: dict[str, dict[str, BenchmarkResult]] = {}
    for entry in entries:
        columns = by_training.setdefault(training_of(entry.cell), {})
        name = str(entry.scores["column"])
        other = columns.setdefault(name, entry)
        if other.result_key != entry.result_key:
            raise UserError(f"{label}, {name}: two runs of the same weights have different results, {other.cell.path} "
                            f"and {entry.cell.path}; name one of them, it is one training.")
    steps = {entry.cell.step for entry in entries}
    if len(steps) > 1:
        words = candidates.steps_in_words(candidates.cells_of(entries))
        raise UserError(f"{label}: training steps are not trainings, and its runs are {words}; "
                        "name runs of one step, or choose one with --step where there is such an option.")
    return by_training


def measured(designs: Sequence[Design], averages: Averages | None = None) -> Measured:
    """Designs side by side, on samples that all trainings have. UserError where they have no column in common."""
    shared = averages or load_averages()
    every = [results for design in designs for results in design.trainings.values()]
    names = list(dict.fromkeys(name for results in every for name in results))
    common = [name for name in names if all(name in results for results in every)]
    columns = {name: column_of(name, [results[name] for results in every]) for name in common}
    columns = {name: column for name, column in columns.items() if column.samples}
    if not columns:
        asked = "; ".join(f"{design.label} ({', '.join(design.names)})" for design in designs)
        raise UserError(f"There is no column that all of these trainings were asked: {asked}.")
    return Measured(tuple(designs), columns, known_averages(columns, shared),
                    tuple(name for name in names if name not in columns))


def known_averages(columns: Iterable[str], shared: Averages) -> dict[str, tuple[str, ...]]:
    """The averages of which every column is there, without optional columns that are not."""
    measured = set(columns)
    absent = shared.optional - measured
    over = {name: tuple(part for part in parts if part not in absent) for name, parts in shared.over.items()}
    return {name: parts for name, parts in over.items()
            if name not in shared.derived and parts and set(benchmarks_behind(name, over)) <= measured}


def column_of(name: str, entries: Sequence[BenchmarkResult]) -> Column:
    """One column over trainings, from the samples that all of them have and that the metric applies to."""
    frames = [samples_of(entry.run, str(entry.scores["cell"]), str(entry.scores["task"])) for entry in entries]
    frames = [frame[frame["score"].notna()] for frame in frames]
    ids = frames[0].index
    for frame in frames[1:]:
        ids = ids.intersection(frame.index, sort=False)
    kept = [frame.loc[ids] for frame in frames]
    left_out = len(set().union(*(frame.index for frame in frames))) - len(ids)
    rows: list[Mapping[str, Any]] = [entry.known for entry in entries]
    if not len(ids):
        return Column(name, np.zeros(len(entries)), np.zeros((len(entries), 0)), (), 0, left_out, differing(rows))
    groups = joined(*(frame["group"].tolist() for frame in kept))
    average = str(entries[0].known["average"] or "micro")
    # Each sample's target, from the first run that could read it.
    targets = [next((target for target in several if isinstance(target, Mapping)), None)
               for several in zip(*(frame["target"].tolist() for frame in kept), strict=True)]
    layout = layout_of(groups, average, targets, f"{name} of {entries[0].cell.path}")
    values = [frame["score"].to_numpy(np.float64) for frame in kept]
    return Column(name, 100 * np.array([layout.score(value) for value in values]),
                  100 * np.array([residuals(layout, value) for value in values]), layout.names,
                  len(ids), left_out, differing(rows))


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
    return {key: finite_or_none(value) for key, value in values.items()}
