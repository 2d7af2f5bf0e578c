"""Scores that someone published, as a baseline: which cells a file holds and what a run's own number for each is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmrope_eval.errors import UserError
from mmrope_eval.report import stats
from mmrope_eval.report.definitions import benchmarks_behind, home, read_yaml
from mmrope_eval.report.intervals import Spread, spread_of
from mmrope_eval.report.pairing import folder, layout_of, rows_of, samples_of, unread
from mmrope_eval.report.published import Published
from mmrope_eval.report.results import Cell, Run


@dataclass(frozen=True)
class ReportedCell:
    """One published score and the run's own, 0 to 100; `score` is None with the `reason` why there is none."""

    cell: str
    column: str
    reported: float
    score: float | None = None
    answers: float = math.nan
    """How many independent right or wrong answers would be as sure as the run's own score."""
    partial: tuple[str, ...] = ()
    """Columns behind the score of which the run asked only a part."""
    reason: str = ""
    unread: str = ""
    """The columns behind the score with many unread answers, in words."""


@dataclass(frozen=True)
class Own:
    """One cell's columns."""

    scores: Mapping[str, Spread]
    """The scores as they are."""
    cautious: Mapping[str, Spread]
    """The scores with one standard error to each side, neither 0 nor 100 for certain."""
    partial: tuple[str, ...]
    unread: Mapping[str, str]
    """By column, what is to be said of unread answers."""


def reported_cells(run: Run, baseline: Published) -> list[ReportedCell]:
    """The run's own number for every published score of its variants. UserError when none of them was published.

    Where several tables of the paper have a cell, the first decides.
    """
    cells = baseline.cells.drop_duplicates(["row", "column"])
    rows = {str(name): dict(zip(part["column"], part["value"], strict=True)) for name, part in cells.groupby("row")}
    known = [cell for cell in run.cells if cell.variant in rows]
    if not known:
        variants = ", ".join(dict.fromkeys(cell.variant for cell in run.cells))
        raise UserError(f"{baseline.name} reports nothing for {variants}; it has {', '.join(rows)}.")
    averages = {str(name): tuple(map(str, parts))
                for name, parts in read_yaml(home() / "configs" / "tables" / "averages.yaml").items()}
    unique = len({cell.variant for cell in known}) == len(known)
    return [found for cell in known for found in cells_of(
        run, cell, cell.variant if unique else folder(run, cell), rows[cell.variant], averages)]


def cells_of(run: Run, cell: Cell, name: str, reported: Mapping[str, float],
             averages: Mapping[str, Sequence[str]]) -> Iterator[ReportedCell]:
    """The published scores of one cell's variant beside its own."""
    own = measure(run, cell, name)
    for column, value in reported.items():
        benchmarks = benchmarks_behind(column, averages)
        lacking = [one for one in benchmarks if one not in own.scores]
        if lacking:
            what = "the run did not evaluate it" if lacking == [column] else f"the run lacks {', '.join(lacking)}"
            yield ReportedCell(name, column, value, reason=what)
            continue
        found, spread = spread_of(column, averages, own.scores), spread_of(column, averages, own.cautious)
        if found is not None and spread is not None:
            yield ReportedCell(name, column, value, found.score, answers(spread.score, spread.high - spread.score),
                               tuple(one for one in benchmarks if one in own.partial),
                               unread="; ".join(f"of {one} {own.unread[one]}" for one in benchmarks if own.unread[one]))


def answers(score: float, error: float) -> float:
    """How many right or wrong answers have this standard error at this score, both 0 to 100."""
    return score * (100 - score) / error**2


def measure(run: Run, cell: Cell, name: str) -> Own:
    """Every column of a cell that has samples."""
    scores: dict[str, Spread] = {}
    cautious: dict[str, Spread] = {}
    partial = []
    said = {}
    for task, row in rows_of(run, cell).items():
        column = str(row["column"] or task)
        samples = samples_of(run, str(cell.path), task)
        samples = samples[samples["score"].notna()]
        if samples.empty:
            continue
        groups = [str(group) for group in samples["group"]]
        layout = layout_of(groups, str(row["average"] or "micro"), samples["target"].tolist(), f"{name}, {task}")
        values = samples["score"].to_numpy(np.float64)
        score, (centre, error) = 100 * layout.score(values), stats.cautious_error(layout, values)
        scores[column] = Spread(score, score, score, frozenset(groups))
        cautious[column] = Spread(100 * centre, 100 * (centre - error), 100 * (centre + error), frozenset(groups))
        said[column] = unread(row)
        if is_partial(row):
            partial.append(column)
    return Own(scores, cautious, tuple(partial), said)


def is_partial(row: Mapping[str, Any]) -> bool:
    """Whether a run asked less than the whole benchmark, as far as it recorded that."""
    return bool(row["limited"]) if row["expected"] is None else int(row["n"]) < int(row["expected"])
