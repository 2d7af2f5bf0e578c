"""Scores over the steps of trainings: which checkpoints are steps of which training, as a table and as curves.

A line of the table is one step of one training under one variant; a curve is all of them.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.report.candidates import BenchmarkResult, Line, cells_of, collect, describe, distinct, listed
from mmrope_eval.report.definitions import Row, TableDefinition, benchmarks_behind, load_averages
from mmrope_eval.report.published import Published
from mmrope_eval.report.runs import Cell, Run
from mmrope_eval.report.table.build import Options, Table, fill
from mmrope_eval.util.row_names import distinct_names, numbered
from mmrope_eval.words import nearest

COLUMNS: Final = ("Overall", "Image", "Video", "Grounding")
"""Shown where none are asked for."""


@dataclass(frozen=True)
class Curve:
    """One training under one variant: its steps, and the table's rows that hold them."""

    label: str
    training: str
    variant: str
    steps: tuple[int, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True)
class StepsResult:
    """Trainings and their scores. `table.cells` has a line per curve, step and column, with its `curve`,
    `training_run`, `variant` and `step`."""

    table: Table
    curves: tuple[Curve, ...]

    def points(self, curve: Curve, column: str) -> list[tuple[int, float]]:
        """(step, score) where the score is known, by step."""
        scores = [float(self.table.cell(row, column)["score"]) for row in curve.rows]
        return [(step, score) for step, score in zip(curve.steps, scores, strict=True) if not math.isnan(score)]

    def reported(self, curve: Curve, column: str) -> float:
        """What was reported of a curve's design over the same columns; not a number where nothing was."""
        cell = self.table.cell(curve.rows[0], column)
        return float("nan") if pd.isna(cell["comparable"]) or not cell["comparable"] else float(cell["reported"])


def load_steps(runs: Iterable[Run], columns: Sequence[str] = (), *, partial: bool = False,
               models: Sequence[str] = (), reported: Published | None = None) -> StepsResult:
    """The scores over steps, with the `reported` ones of the same designs beside them.

    UserError where no checkpoint has a step, a column is unknown, a step has two different results of one benchmark, or
    nothing can be shown.
    """
    entries = [entry for entry in collect(runs, models) if not pd.isna(entry.scores["score"])]
    stepped = [entry for entry in entries if entry.cell.step is not None]
    if not stepped:
        names = listed(list(dict.fromkeys(cell.model for cell in cells_of(entries)))) if entries else "no checkpoint"
        raise UserError(f"None of these runs' checkpoints ({names}) is a step of a training: evaluate folders called "
                        "checkpoint-N, or such as have a trainer_state.json.")
    definition = definition_of(columns, stepped)
    curves, lines = curves_of(stepped)
    # fill() would offer --seeds and --step, which do not exist here.
    for line, by_benchmark in zip(lines, distinct(line.entries for line in lines), strict=True):
        for name, several in by_benchmark.items():
            if len(several) > 1:
                raise UserError(f"{line.row.label}, {name}: {len(several)} runs have different results of this step: "
                                f"{', '.join(str(entry.cell.path) for entry in several)}. Name the runs to use.")
    table = fill(replace(definition, rows=tuple(line.row for line in lines)), lines,
                 Options(partial=partial, trim=False, reported=reported))
    filled = set(table.cells["column"][table.cells["score"].notna()])
    if not filled:
        raise UserError(f"No step has every benchmark of {listed(table.columns)}: average those that every step has "
                        f"with --partial, or name columns out of {', '.join(benchmarks(stepped))} with --columns.")
    left_out = dict.fromkeys(cell.model for cell in cells_of(entries) if cell.step is None)
    remark = (f"Not shown, as they are no step of a training: {listed(list(left_out))}.",) if left_out else ()
    shown = tuple(column for column in table.columns if (columns and not partial) or column in filled)
    hidden = (*table.hidden, *(column for column in table.columns if column not in shown))
    cells = with_origin(table.cells[table.cells["column"].isin(shown)], curves)
    # The best of many steps is no better than its neighbours by being marked.
    cells = cells.assign(rank=pd.Series(pd.NA, index=cells.index, dtype="Int64"))
    return StepsResult(replace(table, cells=cells, columns=shown, hidden=hidden, extra_remarks=remark), curves)


def definition_of(columns: Sequence[str], entries: Sequence[BenchmarkResult]) -> TableDefinition:
    """What is shown: the columns asked for, by the paper's names, whatever their case, or by tasks' names."""
    shared = load_averages()
    averages = shared.over
    tasks = {str(entry.scores["task"]): str(entry.scores["column"]) for entry in entries}
    averaged = [benchmark for name in averages for benchmark in benchmarks_behind(name, averages)]
    names = [*averages, *dict.fromkeys([*benchmarks(entries), *averaged])]
    by_word = {**{task.lower(): column for task, column in tasks.items()}, **{name.lower(): name for name in names}}
    chosen = []
    for column in columns or COLUMNS:
        if column.lower() not in by_word:
            close = nearest(column, by_word, 0.6)
            hint = f"did you mean '{by_word[close]}'?" if close else f"choose from {', '.join(names)}."
            raise UserError(f"--columns: there is no average, benchmark or task '{column}'; {hint}")
        chosen.append(by_word[column.lower()])
    return TableDefinition("steps", "Scores over training steps", "", (), tuple(dict.fromkeys(chosen)), averages,
                           optional=shared.optional, derived=shared.derived)


def benchmarks(entries: Iterable[BenchmarkResult]) -> list[str]:
    """The benchmarks of the runs, by the paper's names."""
    return list(dict.fromkeys(str(entry.scores["column"]) for entry in entries))


def curves_of(entries: Sequence[BenchmarkResult]) -> tuple[tuple[Curve, ...], list[Line]]:
    """The curves, and the table's lines in their order."""
    by_curve: dict[tuple[str, str], dict[int, list[BenchmarkResult]]] = {}
    for entry in entries:
        steps = by_curve.setdefault((str(entry.cell.run), entry.key), {})
        steps.setdefault(int(entry.cell.step or 0), []).append(entry)
    cells = {place: next(iter(steps.values()))[0].cell for place, steps in by_curve.items()}
    labels = dict(zip(by_curve, curve_labels(list(cells.values())), strict=True))
    curves, lines = [], []
    for place, steps in by_curve.items():
        ordered = sorted(steps)
        rows = [f"{labels[place]} @ {step}" for step in ordered]
        variant = steps[ordered[0]][0].variant
        lines += [Line(Row(row, variant), steps[step], labels[place]) for row, step in zip(rows, ordered, strict=True)]
        curves.append(Curve(labels[place], place[0], cells[place].variant, tuple(ordered), tuple(rows)))
    return tuple(curves), lines


def curve_labels(cells: Sequence[Cell]) -> list[str]:
    """A short name for each (training, variant): the part in which they differ."""
    names = distinct_names([Path(str(cell.run)) for cell in cells])
    variants = [describe(cell) for cell in cells]
    if len(set(names)) == 1:
        return numbered(variants)
    if len(set(variants)) == 1:
        return numbered(names)
    # A training has one variant, as a rule: then its name is enough where it says the variant.
    single = all(count == 1 for count in collections.Counter(names).values())
    return numbered([name if single and variant in name else f"{name}, {variant}"
                     for name, variant in zip(names, variants, strict=True)])


def with_origin(cells: pd.DataFrame, curves: Sequence[Curve]) -> pd.DataFrame:
    """Where each line comes from, as columns of its own."""
    origin = {row: (curve, step) for curve in curves for row, step in zip(curve.rows, curve.steps, strict=True)}
    of_row = [origin[row] for row in cells["row"]]
    return cells.assign(
        curve=[curve.label for curve, _ in of_row], training_run=[curve.training for curve, _ in of_row],
        variant=[curve.variant for curve, _ in of_row], step=[step for _, step in of_row],
    )
