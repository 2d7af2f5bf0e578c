"""From runs to a filled table: which run fills which cell, averages, differences, ranks, and what must be said.

A run fills a row when its variant's definition equals the row's, whatever either is called. No cell is ever chosen
among several silently: two runs of one cell are an error unless their mean is asked for, and steps of a training are
chosen, not averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any, Final

import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.record.protocols import Protocol
from mmrope_eval.report import candidates
from mmrope_eval.report.candidates import BenchmarkResult, Line, describe, distinct
from mmrope_eval.report.compare import intervals
from mmrope_eval.report.compare.intervals import over_trainings, totals_of
from mmrope_eval.report.compare.pairing import samples_of
from mmrope_eval.report.definitions import Row, TableDefinition, benchmarks_behind, benchmarks_behind_all, listed
from mmrope_eval.report.published import Published, beside, places_of
from mmrope_eval.report.runs import Cell, Run
from mmrope_eval.rope import load_variant, variant_names

CHANCE: Final = "chance"
DIGITS: Final = 2
"""Digits shown, and the precision at which scores tie."""

CELL_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("row", "column"), "object"),
    **dict.fromkeys(("score", "chance", "delta", "low", "high", "reported", "difference"), "float64"),
    **dict.fromkeys(("rank", "n", "expected", "failed", "truncated", "unparsed", "runs"), "Int64"),
    **dict.fromkeys(("limited", "comparable"), "boolean"),
    **dict.fromkeys(("source", "benchmarks", "variants", "models", "steps", "data", "prompts", "scorers", "cells"),
                    "object"),
}
"""Columns of `Table.cells` and their types."""


@dataclass(frozen=True)
class Options:
    """What a table shows besides its scores."""

    baseline: str | None = None
    """The row (or a name of its variant) that differences are taken from."""
    reported: Published | None = None
    level: float | None = None
    """Level of the intervals; None for no intervals."""
    seeds: candidates.SeedRule = "one"
    step: candidates.Step = None
    """Which training step; "last" of each training, "all" for a line each; None where there must be no choice."""
    models: tuple[str, ...] = ()
    """Globs of checkpoint names; empty for all."""
    every_variant: bool = False
    """Whether all variants that the table does not list get rows of their own, and not new ideas alone."""
    trim: bool = True
    """Whether rows and columns that nobody fills are left out."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For a table of groups: a group's name, and globs of the checkpoints that belong to it."""
    protocol: Protocol | None = None
    """The protocol that all rows shall have been asked under; what departs from it is a footnote."""
    partial: bool = False
    """Whether an average may leave out benchmarks that some row lacks."""
    chance: bool = True

    @property
    def crowded(self) -> bool:
        """Whether cells hold more than their score."""
        return not (self.baseline is None and self.reported is None and self.level is None)


@dataclass(frozen=True)
class Table:
    """A filled table. `cells` has one line per row and column (see CELL_TYPES), unrounded; NaN is unknown."""

    definition: TableDefinition
    options: Options
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: pd.DataFrame
    picked: Mapping[str, Mapping[str, Sequence[BenchmarkResult]]] = field(repr=False)
    """row -> benchmark -> what fills it"""
    left_out: tuple[str, ...]
    """Variants of the runs that are no row of the table, described."""
    averages: Mapping[str, tuple[str, ...]]
    """The averages as they were taken, perhaps over fewer columns than the definition's."""
    baseline: str | None
    hidden: tuple[str, ...] = ()
    """Rows and columns of the definition that are not shown, as nobody fills them."""
    extra_remarks: tuple[str, ...] = ()
    """Further remarks: which training steps these are."""

    @cached_property
    def by_place(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """(row, column) -> its line of `cells`."""
        lines = self.cells.to_dict("records")
        return {(line["row"], line["column"]): {str(key): value for key, value in line.items()} for line in lines}

    @cached_property
    def known(self) -> frozenset[tuple[str, str]]:
        """The (row, column) of the cells that have a score."""
        scored = self.cells[self.cells["score"].notna()]
        return frozenset(zip(scored["row"], scored["column"], strict=True))

    @cached_property
    def benchmarks(self) -> Mapping[str, tuple[str, ...]]:
        """The benchmarks behind each column that is shown, averages as they were taken."""
        return {column: benchmarks_behind(column, self.averages) for column in self.columns}

    @cached_property
    def cells_of_rows(self) -> Mapping[str, Sequence[Cell]]:
        """The cells that fill each row, each once."""
        return candidates.cells_of_rows(self.picked)

    @cached_property
    def several(self) -> bool:
        """Whether a row is the mean of several trainings."""
        return any(len(self.totals(row, column)) > 1 for row in self.rows for column in self.columns)

    def totals(self, row: str, column: str) -> list[float]:
        """The cell's score in each training of the row."""
        return totals_of(column, self.picked[row], self.averages)

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """The columns' names as people read them; an average of benchmarks with how many it is over."""
        categories, benchmarks = self.definition.categories, self.benchmarks
        return {column: f"{column} avg ({len(benchmarks[column])})"
                if column in self.averages and categories[column] == column else column for column in self.columns}

    def cell(self, row: str, column: str) -> Mapping[str, Any]:
        """One cell by name: its line of `cells`."""
        return self.by_place[row, column]


def build(definition: TableDefinition, runs: Iterable[Run], options: Options) -> Table:
    """Fill a table. UserError where a cell has several candidates, the baseline is no row, or nothing can be shown.

    A variant that is no row of it is shown below the others where it is a row of no table of the project (a new idea),
    where no run fills a row, or with `every_variant`.
    """
    collected = candidates.collect(runs, options.models)
    entries: Sequence[BenchmarkResult] = candidates.select_steps(collected, options.step)
    grouping: list[str] = []
    if definition.groups:
        definition, entries, grouping = candidates.grouped(definition, entries, options.groups)
    by_key: dict[str, list[BenchmarkResult]] = {}
    for entry in entries:
        by_key.setdefault(entry.key, []).append(entry)
    rows = definition.rows
    by_row, others = candidates.placed(rows, by_key)
    everything = options.every_variant or len(others) == len(by_key)
    extra = [key for key in others if everything or by_key[key][0].design not in listed()]
    # Called by the variant and by what is changed in it.
    added = [Row(describe(by_key[key][0].cell), by_key[key][0].variant) for key in extra]
    lines = [Line(row, by_row[row.label], row.label) for row in rows]
    lines += [Line(row, by_key[key], row.label) for row, key in zip(added, extra, strict=True)]
    if options.step == "all":
        lines = [part for whole in lines for part in candidates.by_step(whole)]
        definition = replace(definition, rows=tuple(line.row for line in lines))
    table = fill(definition, lines, options)
    left_out = tuple(describe(by_key[key][0].cell) for key in others if key not in extra)
    return trimmed(replace(table, left_out=left_out,
                           extra_remarks=(*grouping, *candidates.step_remarks(table.picked, collected, entries,
                                                                          options.step))))


def fill(definition: TableDefinition, lines: Sequence[Line], options: Options) -> Table:
    """A table of these lines, with all its rows and columns. UserError where a cell has several candidates, or the
    baseline is no line."""
    picked = dict(zip([line.row.label for line in lines], distinct([line.entries for line in lines]), strict=True))
    for row, by_benchmark in picked.items():
        refuse_several(row, by_benchmark, options)
    averages = averages_of(definition, picked, options.partial)
    benchmarks = benchmarks_behind_all(definition.columns, averages)
    values = [cell_values(row, column, benchmarks[column], by_benchmark, averages)
              for row, by_benchmark in picked.items() for column in definition.columns]
    cells = pd.DataFrame(values).reindex(columns=list(CELL_TYPES)).astype(CELL_TYPES)
    baseline = baseline_row(lines, options.baseline)
    cells = with_ranks(with_differences(cells, definition, lines, baseline, options.reported, averages))
    if options.level is not None:
        cells = with_intervals(cells, picked, averages, options.level)
    return Table(definition, options, tuple(picked), definition.columns, cells, picked, (), averages, baseline)


def trimmed(table: Table) -> Table:
    """Without the rows and columns that nobody fills, which are named. UserError where nothing is left.

    Untrimmed it lacks the columns alone that are shown only where somebody fills them; they are never named.
    """
    trim, if_known = table.options.trim, table.definition.if_known
    scored = table.cells[table.cells["score"].notna()]
    rows = tuple(name for name in table.rows if not trim or name in set(scored["row"]))
    columns = tuple(name for name in table.columns if not (trim or name in if_known) or name in set(scored["column"]))
    if not rows:
        filled = dict.fromkeys(name for by_benchmark in table.picked.values() for name in by_benchmark)
        averaged = not table.options.partial and set(table.columns) & set(table.averages)
        partial = "; --partial averages the benchmarks that every row has" if averaged else ""
        raise UserError(f"There is nothing to show: the columns of table {table.definition.name} are "
                        f"{', '.join(table.columns)}, and these runs have {', '.join(filled) or 'no scores'}{partial}.")
    hidden = tuple(name for names, shown in ((table.rows, rows), (table.columns, columns))
                   for name in names if name not in shown and name not in if_known)
    kept = table.cells["row"].isin(rows) & table.cells["column"].isin(columns)
    return replace(table, rows=rows, columns=columns, cells=table.cells[kept], hidden=hidden)


def refuse_several(row: str, by_benchmark: Mapping[str, Sequence[BenchmarkResult]], options: Options) -> None:
    """UserError when several runs fill a benchmark of a row and their mean was not asked for, or the row rests on
    several training steps."""
    if by_benchmark:
        candidates.refuse_steps(row, by_benchmark, options.step, options.seeds)
    for name, several in by_benchmark.items():
        if len(several) > 1 and options.seeds == "one":
            where = "; ".join(f"{entry.cell.path} ({entry.cell.model})" for entry in several)
            raise UserError(f"{row}, {name}: {len(several)} runs have this cell: {where}. Name the runs to use, "
                            "choose a checkpoint with --model, or take their mean with --seeds mean.")


def averages_of(definition: TableDefinition, picked: Mapping[str, Mapping[str, Any]],
                partial: bool) -> dict[str, tuple[str, ...]]:
    """The averages as they are taken: all their columns but the optional ones that no row has, or with `partial` those
    that every filled row has. Derived means are taken whole."""
    filled = [set(by_benchmark) for by_benchmark in picked.values() if by_benchmark]
    filled_columns = set().union(*filled)
    benchmarks = definition.benchmarks
    averaged = {benchmark for name in definition.averages for benchmark in benchmarks[name]}
    kept = averaged - (definition.optional - filled_columns if filled else set())
    if partial:
        kept = set.intersection(*filled) if filled else set()

    def present(average: str, part: str) -> bool:
        return average in definition.derived or not kept.isdisjoint(benchmarks[part])

    return {name: tuple(part for part in parts if present(name, part)) for name, parts in definition.averages.items()}


def cell_values(row: str, column: str, benchmarks: tuple[str, ...],
                by_benchmark: Mapping[str, Sequence[BenchmarkResult]],
                averages: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """One cell: a benchmark's score, or an average with everything that is known of the `benchmarks` behind it."""
    entries = [entry for name in benchmarks for entry in by_benchmark.get(name, ())]
    values = {
        "row": row, "column": column, "benchmarks": benchmarks,
        "score": mean_of(column, "score", by_benchmark, averages),
        "chance": mean_of(column, "chance", by_benchmark, averages),
        "runs": max((len(by_benchmark.get(name, ())) for name in benchmarks), default=0),
        "limited": any(entry.scores["limited"] for entry in entries),
        "variants": unique(entry.cell.variant for entry in entries),
        "models": unique(entry.cell.model for entry in entries),
        "steps": unique(entry.cell.step for entry in entries if entry.cell.step is not None),
        "cells": unique(entry.cell.path for entry in entries),
        "data": unique(entry.scores["data_fingerprint"] for entry in entries),
        "prompts": unique(entry.scores["prompt_hash"] for entry in entries),
        "scorers": unique(f"{entry.scores['scorer']} {entry.scores['scorer_version']}" for entry in entries),
    }
    for count in ("n", "expected", "failed", "truncated", "unparsed"):
        counts = [entry.scores[count] for entry in entries]
        counted = bool(entries) and not any(map(pd.isna, counts))
        values[count] = sum(map(int, counts)) if counted else None
    return values


def unique(items: Iterable[Any]) -> tuple[str, ...]:
    """Each once, in order, as text."""
    return tuple(dict.fromkeys(map(str, items)))


def mean_of(column: str, name: str, by_benchmark: Mapping[str, Sequence[BenchmarkResult]],
            averages: Mapping[str, tuple[str, ...]]) -> float:
    """`score` or `chance` of a column: of several runs the mean, of an average the plain mean of its parts."""
    if column in averages:
        parts = [mean_of(part, name, by_benchmark, averages) for part in averages[column]]
    else:
        parts = [float(entry.scores[name]) for entry in by_benchmark.get(column, ())]
    return fmean(parts) if parts else math.nan


def baseline_row(lines: Sequence[Line], name: str | None) -> str | None:
    """The label of the baseline's row: by label, or by a variant of the same definition. UserError when there is none,
    or it has a line for each of several steps.
    """
    labels = [line.row.label for line in lines]
    if name is None or name in labels:
        return name
    key = Row(name, load_variant(name)).key if name in variant_names() else None
    matching = [line.row.label for line in lines if line.base == name] or [
        line.row.label for line in lines if key is not None and line.row.key == key]
    if not matching:
        raise UserError(f"--baseline {name} is no row of this table; choose one of {', '.join(labels)}.")
    if len(matching) > 1 and len({line.base for line in lines if line.row.label in matching}) == 1:
        raise UserError(f"--baseline {name} has several steps; choose one of {', '.join(matching)}.")
    return matching[0]


def with_differences(cells: pd.DataFrame, definition: TableDefinition, lines: Sequence[Line], baseline: str | None,
                     reported: Published | None, averages: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Fill `delta`, `reported`, `source` and `difference`; the last only over the same columns."""
    cells = cells.copy()
    if baseline is not None:
        base = cells[cells["row"] == baseline].set_index("column")["score"]
        cells["delta"] = (cells["score"] - cells["column"].map(base)).where(cells["row"] != baseline)
    if reported is not None:
        places = {line.row.label: places_of(reported, definition, line.row, line.base) for line in lines}
        numbers = [beside(places[row], column, averages)
                 for row, column in zip(cells["row"], cells["column"], strict=True)]
        cells["reported"] = [float("nan") if number is None else number.value for number in numbers]
        cells["source"] = [None if number is None else number.source for number in numbers]
        comparable = [None if number is None else number.comparable for number in numbers]
        cells["comparable"] = pd.array(comparable, dtype="boolean")
        cells["difference"] = (cells["score"] - cells["reported"]).where(cells["comparable"].fillna(False).astype(bool))
    return cells


def with_ranks(cells: pd.DataFrame) -> pd.DataFrame:
    """Fill `rank`: 1 for the best of a column, 2 for the next value, as shown. Ties share a rank.

    Where more than one row ties for the best there is no second, nor among two rows; where all are equal there is no
    best.
    """
    shown = cells["score"].round(DIGITS)
    places = shown.groupby(cells["column"]).rank(method="min", ascending=False)
    scored, distinct = (shown.groupby(cells["column"]).transform(count) for count in ("count", "nunique"))
    marked = (distinct > 1) & ((places == 1) | ((places == 2) & (scored > 2)))
    return cells.assign(rank=places.where(marked).astype("Int64"))


def with_intervals(cells: pd.DataFrame, picked: Mapping[str, Mapping[str, Sequence[BenchmarkResult]]],
                   averages: Mapping[str, tuple[str, ...]], level: float) -> pd.DataFrame:
    """Fill `low` and `high`: over other questions and, where a row has several trainings, over other trainings."""
    ends: dict[tuple[str, str], tuple[float, float]] = {}
    behind = benchmarks_behind_all(tuple(cells["column"].unique()), averages)
    shown = {name for column in cells["column"] for name in behind[column]}
    for row, by_benchmark in picked.items():
        spreads = {column: benchmark(row, column, entries, level)
                   for column, entries in by_benchmark.items() if column in shown}
        for column in cells["column"].unique():
            spread = intervals.spread_of(column, averages, spreads)
            if spread is not None:
                whole = over_trainings(spread, column, by_benchmark, averages, level)
                ends[row, column] = (whole.low, whole.high)
    keys = list(zip(cells["row"], cells["column"], strict=True))
    nothing = (float("nan"), float("nan"))
    low, high = zip(*(ends.get(key, nothing) for key in keys), strict=True)
    return cells.assign(low=low, high=high)


def benchmark(row: str, column: str, entries: Sequence[BenchmarkResult], level: float) -> intervals.ScoreInterval:
    """The interval of one benchmark of one row."""
    parts = [samples_of(entry.run, str(entry.scores["cell"]), str(entry.scores["task"])).reset_index()
             for entry in entries]
    average = str(entries[0].scores["average"] or "micro")
    return intervals.benchmark_spread(pd.concat(parts), average, level, f"{row}, {column}")
