"""Two runs side by side: which cells and samples they share, what of them is alike, and how far they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.record.aggregate import AGGREGATES, groups_of
from mmrope_eval.record.comparable import differing
from mmrope_eval.report.candidates import describe
from mmrope_eval.report.compare.precision import Floats, Layout, joined
from mmrope_eval.report.runs import Cell, Run
from mmrope_eval.util.unread import remedy, too_many
from mmrope_eval.words import counted

NAMED: Final = 3
"""How many columns are named before the rest is counted."""


@dataclass(frozen=True, eq=False)
class TaskPair:
    """One task in two cells, by sample identity. Values are those of the samples in both, 0 to 1, in one order."""

    cell: str
    task: str
    column: str
    metric: str
    layout: Layout
    first: Floats
    second: Floats
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    unlike: tuple[str, ...]
    """Kinds of `record.comparable.KINDS` in which the two differ."""
    unread: tuple[str, str] = ("", "")
    """Of each, how many of its answers are unread, in words, where they are too many to go without a word."""
    pictures: tuple[str, ...] = ()
    """The layout's clusters by name, so that other columns' of that name are the same picture or video; () where each
    is of this column alone."""

    @property
    def name(self) -> str:
        """The pair in words, for messages."""
        return f"{self.column} of {self.cell}"


@dataclass(frozen=True)
class Matched:
    """Everything two runs hold: pairs with samples in common, and every other task as (cell, column, task)."""

    pairs: tuple[TaskPair, ...]
    only_first: tuple[tuple[str, str, str], ...]
    only_second: tuple[tuple[str, str, str], ...]


def match(first: Run, second: Run) -> Matched:
    """Pair the tasks of two runs, cell by cell. UserError when they share no sample."""
    pairs: list[TaskPair] = []
    alone: tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]] = ([], [])
    for name, before, after in match_cells(first, second):
        scores = [{} if cell is None else rows_of(run, cell) for run, cell in ((first, before), (second, after))]
        for task in dict.fromkeys([*scores[0], *scores[1]]):
            rows = [tasks.get(task) for tasks in scores]
            if rows[0] is None or rows[1] is None:
                side = 1 if rows[0] is None else 0
                alone[side].append((name, str((rows[side] or {})["column"]), task))
                continue
            samples = [samples_of(run, str(row["cell"]), task) for run, row in ((first, rows[0]), (second, rows[1]))]
            task_pair = pair(name, rows[0], rows[1], samples[0], samples[1])
            if task_pair.layout.units:
                pairs.append(task_pair)
                continue
            for side in (0, 1):
                alone[side].append((name, task_pair.column, task))
    if not pairs:
        raise UserError(nothing_shared(first, second))
    return Matched(tuple(pairs), tuple(alone[0]), tuple(alone[1]))


def match_cells(first: Run, second: Run) -> Iterator[tuple[str, Cell | None, Cell | None]]:
    """(name, cell, cell) for every cell of either run; None where the other run has none of that name.

    Two runs of one cell each are compared whatever their variants. Otherwise the variant's name decides, or, where a
    run holds one variant several times (several checkpoints, other settings), the row's name (`Run.labels`).
    """
    if len(first.cells) == len(second.cells) == 1:
        before, after = first.cells[0], second.cells[0]
        names = (before.variant, after.variant)
        if before.variant == after.variant:
            names = (describe(before), describe(after))
        yield before.variant if names[0] == names[1] else " -> ".join(names), before, after
        return
    unique = all(len({cell.variant for cell in run.cells}) == len(run.cells) for run in (first, second))
    named = [{cell.variant if unique else run.label(cell): cell for cell in run.cells} for run in (first, second)]
    for name in dict.fromkeys([*named[0], *named[1]]):
        yield name, named[0].get(name), named[1].get(name)


def nothing_shared(first: Run, second: Run) -> str:
    """Why no cell of one run has its like in the other, and what to do."""
    rows = [[cell.variant for cell in run.cells] for run in (first, second)]
    tasks = [{task for cell in run.cells for task in cell.tasks} for run in (first, second)]
    repeated = [next((name for name in names if names.count(name) > 1), None) for names in rows]
    if not tasks[0] & tasks[1] or repeated == [None, None]:
        return f"{first.path} and {second.path} have no variant and task in common: {contents(first)} against " \
               f"{contents(second)}."
    side = 0 if repeated[0] else 1
    labels = "; ".join(f"{', '.join(run.labels)} in {run.path}" for run in (first, second))
    return (f"{(first, second)[side].path} has {repeated[side]} more than once, so rows are matched by name, and no "
            f"name is in both: {labels}; compare one row's folder of each.")


def contents(run: Run) -> str:
    """A run's variants and tasks in words."""
    variants = ", ".join(dict.fromkeys(cell.variant for cell in run.cells))
    return f"{variants} on {', '.join(dict.fromkeys(task for cell in run.cells for task in cell.tasks))}"


def rows_of(run: Run, cell: Cell) -> dict[str, dict[str, Any]]:
    """The rows of `Run.scores` of one cell by task; what is missing is None."""
    rows = run.scores[run.scores["cell"] == str(cell.path)].to_dict("records")
    return {str(row["task"]): {str(key): None if pd.isna(value) else value for key, value in row.items()}
            for row in rows}


def samples_of(run: Run, cell: str, task: str) -> pd.DataFrame:
    """The rows of `Run.samples` of one cell and task, by id."""
    samples = run.samples
    return samples[(samples["cell"] == cell) & (samples["task"] == task)].drop_duplicates("id").set_index("id")


def pair(cell: str, first: Mapping[str, Any], second: Mapping[str, Any], before: pd.DataFrame,
         after: pd.DataFrame) -> TaskPair:
    """One task in two cells, from rows of `Run.scores` and their samples by id.

    The first run's main metric is compared; samples it does not apply to are left out. UserError where the second run
    does not have that metric, or one of them averages in an unknown way.
    """
    metric = str(first["metric"])
    column = "score" if first["metric"] == second["metric"] else f"score_{metric}"
    if column not in after.columns:
        raise UserError(f"{cell}, {first['task']}: the second run has no metric '{metric}'; rescore it first.")
    shared = before.index.intersection(after.index, sort=False)
    left, right = before.loc[shared], after.loc[shared]
    applies = (left["score"].notna() & right[column].notna()).to_numpy()
    left, right = left[applies], right[applies]
    targets = [a if isinstance(a, Mapping) else b for a, b in zip(left["target"], right["target"], strict=True)]
    clusters = joined(left["group"].tolist(), right["group"].tolist())
    layout = layout_of(clusters, str(first["average"] or "micro"), targets, f"{cell}, {first['task']}")
    return TaskPair(
        cell, str(first["task"]), str(first["column"] or first["task"]), metric, layout,
        left["score"].to_numpy(np.float64), right[column].to_numpy(np.float64),
        tuple(map(str, before.index.difference(after.index, sort=False))),
        tuple(map(str, after.index.difference(before.index, sort=False))),
        differing([first, second]), (unread(first), unread(second)), layout.names,
    )


def unread(row: Mapping[str, Any]) -> str:
    """How many answers are unread, of a row of `Run.scores`, and what may mend it; "" where they are few."""
    count, answered = row["unparsed"] or 0, (row["n"] or 0) - (row["failed"] or 0)
    if not too_many(count, answered):
        return ""
    return f"{count:,} of {answered:,} answers are unread ({remedy(count, row['truncated'] or 0)})"


def layout_of(clusters: Sequence[object], average: str, targets: Sequence[object], where: str) -> Layout:
    """The layout of samples from their `group`, the column's `average` and their `target`s. UserError if unknown."""
    if average not in AGGREGATES:
        raise UserError(f"{where}: the average '{average}' is unknown here; use the mmrope-eval that wrote the run.")
    return Layout.of(clusters, average, [groups_of(target) for target in targets])


def never_shows(detectable: float) -> bool:
    """Whether even 100 points, the largest difference there is, would not show: the samples are too few."""
    return detectable > 100


def points(value: float | None, *, sign: bool = False) -> str:
    """A score or a difference with two digits; an em dash where it is unknown."""
    if value is None or math.isnan(value):
        return "—"
    return f"{value:+.2f}" if sign else f"{value:.2f}"


def chance(p: float) -> str:
    """A p-value as people write it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def pictures(n: int) -> str:
    """A number of clusters in words."""
    return counted(n, "picture or video").replace("picture or videos", "pictures or videos")


def lacks(columns: Sequence[str]) -> str:
    """Columns that one of two runs lacks, in words."""
    more = f" and {len(columns) - NAMED} more" if len(columns) > NAMED else ""
    return f"not both runs have {', '.join(columns[:NAMED])}{more}"
