"""From runs to a filled table: which run fills which cell, averages, differences, ranks, and what must be said.

A run fills a row when its variant's definition equals the row's, whatever either is called. No cell is ever chosen
among several silently: two runs of one cell are an error unless their mean is asked for, and steps of a training are
chosen, not averaged.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.record.schema import MANIFEST
from mmrope_eval.report import intervals, step_choice
from mmrope_eval.report.definitions import Row, TableDefinition, definition_key
from mmrope_eval.report.published import Published
from mmrope_eval.report.results import Cell, Run
from mmrope_eval.rope import Variant, VariantError, load_variant, variant_names

CHANCE: Final = "chance"
DIGITS: Final = 2
"""Digits shown, and the precision at which scores tie."""

CELL_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("row", "column"), "object"),
    **dict.fromkeys(("score", "chance", "delta", "low", "high", "reported", "difference"), "float64"),
    **dict.fromkeys(("rank", "n", "expected", "failed", "truncated", "unparsed", "runs"), "Int64"),
    "limited": "boolean",
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
    seeds: Literal["one", "mean"] = "one"
    step: step_choice.Step = None
    """Which training step; "last" of each training, "all" for a line each; None where there must be no choice."""
    models: tuple[str, ...] = ()
    """Globs of checkpoint names; empty for all."""
    every_variant: bool = False
    """Whether variants that the table does not list get rows of their own."""
    partial: bool = False
    """Whether an average may leave out benchmarks that some row lacks."""
    chance: bool = True
    seed: int = 0

    @property
    def crowded(self) -> bool:
        """Whether cells hold more than their score."""
        return not (self.baseline is None and self.reported is None and self.level is None)


@dataclass(frozen=True)
class Entry:
    """One benchmark of one cell: its row of `Run.scores`, and where its samples are."""

    run: Run = field(repr=False)
    cell: Cell = field(repr=False)
    scores: Mapping[str, Any]

    @property
    def known(self) -> Mapping[str, Any]:
        """`scores` with None for what is unknown."""
        return {name: None if pd.isna(value) else value for name, value in self.scores.items()}

    @property
    def same(self) -> tuple[Any, ...]:
        """What two records of one result share."""
        return tuple(str(self.scores[name]) for name in (
            "model_fingerprint", "variant_fingerprint", "task", "metric", "score", "n", "data_fingerprint",
            "prompt_hash"))


@dataclass(frozen=True)
class Line:
    """A row before it is filled: what may fill it, and the row of the definition that it is one step of, or is."""

    row: Row
    entries: Sequence[Entry]
    base: str


@dataclass(frozen=True)
class Table:
    """A filled table. `cells` has one line per row and column (see CELL_TYPES), unrounded; NaN is unknown."""

    definition: TableDefinition
    options: Options
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: pd.DataFrame
    picked: Mapping[str, Mapping[str, Sequence[Entry]]] = field(repr=False)
    """row -> benchmark -> what fills it"""
    left_out: tuple[str, ...]
    """Variants of the runs that are no row of the table, described."""
    averages: Mapping[str, tuple[str, ...]]
    """The averages as they were taken: with `partial`, over fewer columns than the definition's."""
    baseline: str | None
    hidden: tuple[str, ...] = ()
    """Columns of the definition that are not shown, as nothing is known of them (with `partial`)."""
    said: tuple[str, ...] = ()
    """Further remarks: which training steps these are."""

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], dict[str, Any]]:
        lines = self.cells.to_dict("records")
        return {(one["row"], one["column"]): {str(key): item for key, item in one.items()} for one in lines}

    def cell(self, row: str, column: str) -> Mapping[str, Any]:
        """One cell by name: its line of `cells`."""
        return self._by_name[row, column]


def build(definition: TableDefinition, runs: Iterable[Run], options: Options) -> Table:
    """Fill a table. UserError where a cell has several candidates, or the baseline is no row."""
    collected = collect(runs, options.models)
    entries = step_choice.select(collected, options.step, key_of)
    by_key: dict[str, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(key_of(entry.cell), []).append(entry)
    rows = [*definition.rows]
    others = [key for key in by_key if key not in {row.key for row in rows}]
    if options.every_variant:
        rows += extra_rows(rows, [by_key[key][0].cell for key in others])
        others = []
    lines = [Line(row, by_key.get(row.key or "", []), row.label) for row in rows]
    if options.step == "all":
        lines = [part for whole in lines for part in by_step(whole)]
        definition = replace(definition, rows=tuple(one.row for one in lines))
    table = fill(definition, lines, options)
    lost = step_choice.lost_trainings(collected, entries)
    return replace(table, left_out=tuple(describe(by_key[key][0].cell) for key in others),
                   said=tuple(step_choice.remarks(table.picked, lost, options.step)))


def by_step(whole: Line) -> list[Line]:
    """A line for each training step of a row; what has no step keeps the row's label."""
    steps: dict[int | None, list[Entry]] = {}
    for entry in whole.entries:
        steps.setdefault(entry.cell.step, []).append(entry)
    if set(steps) <= {None}:
        return [whole]
    return [Line(whole.row if step is None else Row(f"{whole.base} @ {step}", whole.row.variant), steps[step],
                 whole.base) for step in sorted(steps, key=lambda one: -1 if one is None else one)]


def fill(definition: TableDefinition, lines: Sequence[Line], options: Options) -> Table:
    """A table of these lines. UserError where a cell has several candidates, or the baseline is no line."""
    picked = {one.row.label: pick(one.row.label, one.entries, options) for one in lines}
    averages = averages_of(definition, picked, options.partial)
    values = [line(row, column, found, averages) for row, found in picked.items() for column in definition.columns]
    cells = pd.DataFrame(values).reindex(columns=list(CELL_TYPES)).astype(CELL_TYPES)
    baseline = baseline_row(lines, options.baseline)
    bases = {one.row.label: one.base for one in lines}
    cells = with_ranks(with_differences(cells, definition, baseline, options.reported, averages, bases))
    if options.level is not None:
        cells = with_intervals(cells, picked, averages, options.level, options.seed)
    known = cells.groupby("column")[["score", "reported"]].count().sum(axis=1)
    hidden = tuple(one for one in definition.columns if options.partial and not known[one])
    if set(hidden) == set(definition.columns):
        hidden = ()
    return Table(definition, options, tuple(picked), tuple(one for one in definition.columns if one not in hidden),
                 cells[~cells["column"].isin(hidden)], picked, (), averages, baseline, hidden)


def collect(runs: Iterable[Run], models: Sequence[str]) -> list[Entry]:
    """Every benchmark of every cell, each folder once. UserError when `models` leaves nothing."""
    found: dict[tuple[str, str], Entry] = {}
    seen: list[str] = []
    for run in runs:
        cells = {str(cell.path): cell for cell in run.cells}
        for scores in run.scores.to_dict("records"):
            cell = cells[scores["cell"]]
            seen.append(cell.model)
            if models and not any(fnmatch.fnmatchcase(cell.model, pattern) for pattern in models):
                continue
            named = {str(key): value for key, value in scores.items()}
            found.setdefault((str(cell.path.resolve()), str(scores["task"])), Entry(run, cell, named))
    if not found:
        raise UserError(f"--model {','.join(models)} matches none of the runs' checkpoints: "
                        f"{', '.join(dict.fromkeys(seen))}.")
    return list(found.values())


def key_of(cell: Cell) -> str:
    """The key of a cell's variant; its recorded fingerprint where there is no definition that can be read."""
    try:
        return definition_key(cell.definition) if cell.definition else str(cell.variant_fingerprint)
    except VariantError:
        return str(cell.variant_fingerprint)


def describe(cell: Cell) -> str:
    """A cell's variant by name, with the parameters in which it differs from the variant of that name."""
    if cell.variant not in variant_names():
        return cell.variant
    known = load_variant(cell.variant).to_dict()
    try:
        found = Variant.from_dict(cell.definition).to_dict() if cell.definition else known
    except VariantError:
        return cell.variant
    changes = [f"{name}={value}" for part in ("position", "frequency", "scaling")
               for name, value in found[part].items() if name != "exact" and known[part].get(name) != value]
    return f"{cell.variant} with {', '.join(changes)}" if changes else cell.variant


def extra_rows(rows: Sequence[Row], cells: Sequence[Cell]) -> list[Row]:
    """Rows for variants that the table does not list, named by the variant."""
    found = []
    taken = {row.label for row in rows}
    for cell in cells:
        label = describe(cell) if cell.variant in taken else cell.variant
        taken.add(label)
        found.append(Row(label, variant_of(cell)))
    return found


def variant_of(cell: Cell) -> Variant:
    """A cell's variant. UserError where its definition is not there or cannot be read."""
    try:
        return Variant.from_dict(cell.definition)
    except VariantError as error:
        raise UserError(f"{cell.path / MANIFEST}: variant.definition cannot be read ({error}); start the run's command "
                        "again.") from error


def pick(row: str, entries: Sequence[Entry], options: Options) -> dict[str, list[Entry]]:
    """What fills each benchmark of a row. UserError when several runs do and their mean was not asked for, or the row
    rests on several training steps."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if pd.isna(entry.scores["score"]):
            continue
        column = found.setdefault(str(entry.scores["column"]), [])
        if all(entry.same != other.same for other in column):
            column.append(entry)
    step_choice.refuse(row, found, options)
    for name, candidates in found.items():
        if len(candidates) > 1 and options.seeds == "one":
            where = "; ".join(f"{one.cell.path} ({one.cell.model})" for one in candidates)
            raise UserError(f"{row}, {name}: {len(candidates)} runs have this cell: {where}. Name the runs to use, "
                            "choose a checkpoint with --model, or take their mean with --seeds mean.")
    return found


def averages_of(
    definition: TableDefinition, picked: Mapping[str, Mapping[str, Any]], partial: bool
) -> dict[str, tuple[str, ...]]:
    """The averages as they are taken: all their columns, or with `partial` those that every filled row has."""
    if not partial:
        return dict(definition.averages)
    filled = [set(found) for found in picked.values() if found]
    common = set.intersection(*filled) if filled else set()

    def present(name: str) -> bool:
        return any(one in common for one in definition.benchmarks(name))

    return {name: tuple(part for part in parts if present(part)) for name, parts in definition.averages.items()}


def line(
    row: str, column: str, found: Mapping[str, Sequence[Entry]], averages: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """One cell: a benchmark's score, or an average with everything that is known of its parts."""
    names = resolve(column, averages)
    entries = [entry for name in names for entry in found.get(name, ())]
    result = {
        "row": row, "column": column, "benchmarks": names, "score": value(column, "score", found, averages),
        "chance": value(column, "chance", found, averages),
        "runs": max((len(found.get(name, ())) for name in names), default=0),
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
        known = bool(entries) and not any(pd.isna(one) for one in counts)
        result[count] = sum(map(int, counts)) if known else None
    return result


def unique(items: Iterable[Any]) -> tuple[str, ...]:
    """Each once, in order, as text."""
    return tuple(dict.fromkeys(map(str, items)))


def resolve(column: str, averages: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The benchmarks behind a column."""
    if column not in averages:
        return (column,)
    return tuple(dict.fromkeys(one for part in averages[column] for one in resolve(part, averages)))


def value(column: str, name: str, found: Mapping[str, Sequence[Entry]],
          averages: Mapping[str, tuple[str, ...]]) -> float:
    """`score` or `chance` of a column: of several runs the mean, of an average the plain mean of its parts."""
    if column in averages:
        parts = [value(part, name, found, averages) for part in averages[column]]
    else:
        parts = [float(entry.scores[name]) for entry in found.get(column, ())]
    return sum(parts) / len(parts) if parts else float("nan")


def baseline_row(lines: Sequence[Line], name: str | None) -> str | None:
    """The label of the baseline's row: by label, or by a variant of the same definition. UserError when there is none,
    or it has a line for each of several steps.
    """
    labels = [one.row.label for one in lines]
    if name is None or name in labels:
        return name
    key = Row(name, load_variant(name)).key if name in variant_names() else None
    found = [one.row.label for one in lines if one.base == name] or [
        one.row.label for one in lines if key is not None and one.row.key == key]
    if not found:
        raise UserError(f"--baseline {name} is no row of this table; choose one of {', '.join(labels)}.")
    if len(found) > 1 and len({one.base for one in lines if one.row.label in found}) == 1:
        raise UserError(f"--baseline {name} has several steps; choose one of {', '.join(found)}.")
    return found[0]


def with_differences(cells: pd.DataFrame, definition: TableDefinition, baseline: str | None,
                     reported: Published | None, averages: Mapping[str, tuple[str, ...]],
                     bases: Mapping[str, str]) -> pd.DataFrame:
    """Fill `delta`, `reported`, `source` and `difference`. A partial average is not compared with a full one."""
    cells = cells.copy()
    if baseline is not None:
        base = cells[cells["row"] == baseline].set_index("column")["score"]
        cells["delta"] = (cells["score"] - cells["column"].map(base)).where(cells["row"] != baseline)
    if reported is not None:
        published = reported.table(definition.name)
        keys = list(zip(cells["row"].map(bases), cells["column"], strict=True))
        known = [published.loc[key] if key in published.index else None for key in keys]
        cells["reported"] = [float("nan") if one is None else float(one["value"]) for one in known]
        cells["source"] = [None if one is None else str(one["source"]) for one in known]
        whole = np.array([set(resolve(column, averages)) == set(definition.benchmarks(column)) for _, column in keys])
        cells["difference"] = (cells["score"] - cells["reported"]).where(whole)
    return cells


def with_ranks(cells: pd.DataFrame) -> pd.DataFrame:
    """Fill `rank`: 1 for the best of a column, 2 for the next value, as shown. Ties share a rank.

    Where more than one row ties for the best there is no second, nor among two rows; where all are equal there is no
    best.
    """
    shown = cells["score"].round(DIGITS)
    places = shown.groupby(cells["column"]).rank(method="min", ascending=False)
    known, distinct = (shown.groupby(cells["column"]).transform(count) for count in ("count", "nunique"))
    marked = (distinct > 1) & ((places == 1) | ((places == 2) & (known > 2)))
    return cells.assign(rank=places.where(marked).astype("Int64"))


def with_intervals(cells: pd.DataFrame, picked: Mapping[str, Mapping[str, Sequence[Entry]]],
                   averages: Mapping[str, tuple[str, ...]], level: float, seed: int) -> pd.DataFrame:
    """Fill `low` and `high`."""
    ends: dict[tuple[str, str], tuple[float, float]] = {}
    for row, found in picked.items():
        wanted = {name for column in cells["column"] for name in resolve(column, averages)}
        spreads = {column: benchmark(row, column, found[column], level, seed) for column in found if column in wanted}
        for column in cells["column"].unique():
            spread = intervals.spread_of(column, averages, spreads)
            if spread is not None:
                ends[row, column] = (spread.low, spread.high)
    keys = list(zip(cells["row"], cells["column"], strict=True))
    nothing = (float("nan"), float("nan"))
    low, high = zip(*(ends.get(key, nothing) for key in keys), strict=True)
    return cells.assign(low=low, high=high)


def benchmark(row: str, column: str, entries: Sequence[Entry], level: float, seed: int) -> intervals.Spread:
    """The interval of one benchmark of one row."""
    parts = []
    for entry in entries:
        samples = entry.run.samples
        parts.append(samples[(samples["cell"] == entry.scores["cell"]) & (samples["task"] == entry.scores["task"])])
    average = str(entries[0].scores["average"] or "micro")
    return intervals.benchmark_spread(pd.concat(parts), average, level, seed, f"{row}, {column}")
