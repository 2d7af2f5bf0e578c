"""Scores that someone published, as a baseline: which cells a file holds and what a run's own number for each is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

from mmrope_eval.errors import UserError
from mmrope_eval.report.candidates import describe, keyed
from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.intervals import ScoreInterval, average_spread, influence_of, spread_of
from mmrope_eval.report.compare.pairing import layout_of, rows_of, samples_of, unread
from mmrope_eval.report.definitions import benchmarks_behind, load_averages, make_up
from mmrope_eval.report.published import Published, PublishedNumber, PublishedRow, published_rows, same_models
from mmrope_eval.report.runs import Cell, Run

UNKNOWN: Final = "nobody outside knows over which columns it is"


@dataclass(frozen=True)
class ReportedCell:
    """One published score and the run's own, 0 to 100; `score` is None with the `reason` why there is none."""

    cell: str
    column: str
    reported: float
    score: float | None = None
    answers: float = math.nan
    """How many independent right or wrong answers would be as sure as the run's own score."""
    samples: int = 0
    """How many samples the run's own score is of."""
    partial: tuple[str, ...] = ()
    """Columns behind the score of which the run asked only a part."""
    reason: str = ""
    unread: str = ""
    """The columns behind the score with many unread answers, in words."""
    unknown: bool = False
    """Whether nobody outside knows over which columns the published score is."""
    name: str = ""
    """The published column as it is called there."""
    parts: tuple[str, ...] = ()
    """What an average is the plain mean of."""
    spread: ScoreInterval | None = None
    """The run's own score with one standard error to each side, not for certain 0 or 100."""


@dataclass(frozen=True)
class OwnColumn:
    """One of a cell's columns."""

    score: ScoreInterval
    """As it is."""
    cautious: ScoreInterval
    """With one standard error to each side, neither 0 nor 100 for certain."""
    samples: int
    partial: bool
    """Whether the run asked less than the whole benchmark, as far as it recorded that."""
    unread: str
    """What is to be said of unread answers."""


def reported_cells(run: Run, baseline: Published, table: str | None = None) -> list[ReportedCell]:
    """The run's own number for every published score of its variants.

    `table` is one of the publication's; without it all that are about the models of its first. Where several have a
    cell, the first whose number can be compared decides. UserError when there is no such table, or none of the run's
    variants was published.
    """
    if table is not None and table not in baseline.tables:
        raise UserError(f"{baseline.name} has no table '{table}'; choose one of {', '.join(baseline.tables)}.")
    rows = [row for row in published_rows(baseline)
            if (same_models(baseline, row.table) if table is None else row.table.name == table)]
    # A cell's variant is that of a published row by what it decides, or by name where that is not known.
    homes = {cell.path: [row for row in rows if (
        row.row.label == cell.variant if row.row.key is None else row.row.key == keyed(cell)[1])] for cell in run.cells}
    published = [cell for cell in run.cells if homes[cell.path]]
    if not published:
        variants = ", ".join(dict.fromkeys(describe(cell) for cell in run.cells))
        labels = ", ".join(dict.fromkeys(row.row.label for row in rows))
        raise UserError(f"{baseline.name} reports nothing for {variants}; it has {labels or 'no rows of runs'}.")
    unique = len({cell.variant for cell in published}) == len(published)
    reported = []
    for cell in published:
        name = cell.variant if unique else run.label(cell)
        printed = list(cells_of(run, cell, name, homes[cell.path]))
        reported += [*means_of(name, printed), *printed]
    return reported


def means_of(cell: str, printed: Sequence[ReportedCell]) -> Iterator[ReportedCell]:
    """Averages that were not printed though everything that they are the mean of was, and can be compared."""
    by_name = {cell.name: cell for cell in printed if cell.score is not None}
    shared = load_averages()
    for name, parts in shared.over.items():
        averaged = [by_name[part] for part in parts if part in by_name and part in shared.over]
        if len(averaged) < len(parts) or name in by_name or name in shared.derived:
            continue
        spread = average_spread([part.spread for part in averaged if part.spread is not None])
        yield ReportedCell(
            cell, name, fmean(part.reported for part in averaged), fmean(part.score or 0.0 for part in averaged),
            answers(spread.score, spread.high - spread.score), sum(part.samples for part in averaged),
            tuple(dict.fromkeys(column for part in averaged for column in part.partial)),
            unread="; ".join(dict.fromkeys(part.unread for part in averaged if part.unread)), name=name, parts=parts,
            spread=spread,
        )


def cells_of(run: Run, cell: Cell, name: str, homes: Sequence[PublishedRow]) -> Iterator[ReportedCell]:
    """The published scores of one cell's variant beside its own."""
    measured = measure(run, cell, name)
    columns = list(dict.fromkeys(column for home in homes for column in home.table.cells[home.row.label]))
    for column in columns:
        tried = [reported_cell(name, column, home, measured) for home in homes
                 if column in home.table.cells[home.row.label]]
        yield next((cell for cell in tried if not cell.unknown), tried[0])


def reported_cell(name: str, column: str, home: PublishedRow, measured: Mapping[str, OwnColumn]) -> ReportedCell:
    """One published score beside the cell's own, over the same columns; optional ones that the cell lacks are left out
    of both."""
    shared = load_averages()
    whole = {**shared.over, **{key: parts for key, parts in home.table.averages.items() if parts is not None}}
    absent = shared.optional - set(measured)
    averages = {key: tuple(part for part in parts if part not in absent) for key, parts in whole.items()}
    printed, _ = home.table.cells[home.row.label][column]
    if make_up(column, home.table.averages) is None:
        return ReportedCell(name, column, printed, reason=UNKNOWN, unknown=True, name=column)
    number = home.table.beside(home.row.label, column, averages)
    if number is None or not number.comparable:  # only what was printed, over all its columns
        averages, number = whole, PublishedNumber(printed, "")
    benchmarks = benchmarks_behind(column, averages)
    shown = column if benchmarks == benchmarks_behind(column, whole) else f"{column} ({len(benchmarks)} columns)"
    lacking = [benchmark for benchmark in benchmarks if benchmark not in measured]
    if lacking:
        what = "the run did not evaluate it" if lacking == [column] else f"the run lacks {', '.join(lacking)}"
        return ReportedCell(name, shown, number.value, reason=what, name=column)
    behind = {benchmark: measured[benchmark] for benchmark in benchmarks}
    score = spread_of(column, averages, {benchmark: result.score for benchmark, result in behind.items()})
    spread = spread_of(column, averages, {benchmark: result.cautious for benchmark, result in behind.items()})
    assert score is not None and spread is not None
    unread = "; ".join(f"of {benchmark} {result.unread}" for benchmark, result in behind.items() if result.unread)
    return ReportedCell(name, shown, number.value, score.score, answers(spread.score, spread.high - spread.score),
                        sum(result.samples for result in behind.values()),
                        tuple(benchmark for benchmark, result in behind.items() if result.partial),
                        unread=unread, name=column, parts=averages.get(column, ()), spread=spread)


def answers(score: float, error: float) -> float:
    """How many right or wrong answers have this standard error at this score, both 0 to 100."""
    return score * (100 - score) / error**2


def measure(run: Run, cell: Cell, name: str) -> dict[str, OwnColumn]:
    """Every column of a cell that has samples."""
    columns = {}
    for task, row in rows_of(run, cell).items():
        samples = samples_of(run, str(cell.path), task)
        samples = samples[samples["score"].notna()]
        if samples.empty:
            continue
        layout = layout_of(samples["group"].tolist(), str(row["average"] or "micro"), samples["target"].tolist(),
                           f"{name}, {task}")
        values = samples["score"].to_numpy(np.float64)
        score, (centre, error) = 100 * layout.score(values), stats.cautious_error(layout, values)
        influence = influence_of(layout, values)
        columns[str(row["column"] or task)] = OwnColumn(
            ScoreInterval(score, score, score, influence),
            ScoreInterval(100 * centre, 100 * (centre - error), 100 * (centre + error), influence), len(samples),
            bool(row["limited"]) if row["expected"] is None else int(row["n"]) < int(row["expected"]), unread(row))
    return columns
