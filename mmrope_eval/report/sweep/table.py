"""A table of one context of a sweep: variants with and without a context scaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.report.candidates import BenchmarkResult, Line, collect
from mmrope_eval.report.definitions import Row, TableDefinition, variant_key
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.sweep.read import load_sweep, scaling_label
from mmrope_eval.report.table.build import Options, Table, fill, trimmed
from mmrope_eval.rope.scaling import NoScaling


@dataclass(frozen=True)
class Point:
    """A measured point of a sweep: its line of `SweepResult.points`, and its benchmark."""

    values: Mapping[str, Any]
    entry: BenchmarkResult

    @property
    def key(self) -> str:
        """The key of its variant without the scaling; the fingerprint where the definition cannot be read."""
        cell = self.entry.cell
        if cell.recorded is None:
            return str(cell.variant_fingerprint)
        return variant_key(replace(cell.recorded, scaling=NoScaling()))

    @property
    def scaling(self) -> str:
        """Its context scaling, as it was asked for."""
        return str(self.values["scaling"])

    @property
    def factor(self) -> str:
        """The factor and the rule that it follows: `x8 by context`; empty without a scaling."""
        if self.scaling == "none":
            return ""
        rule = scaling_label(self.scaling, self.values.get("factor_rule")).partition(" ")[2]
        return f"x{self.values['factor']:g}" + (f" {rule}" if rule.startswith("by ") else "")


def sweep_table(definition: TableDefinition, folders: Sequence[Path], options: Options, context: int | None) -> Table:
    """The table of one context. UserError where no sweep has it, or a cell has several candidates."""
    tokens = context or definition.context
    points = [point for folder in folders for point in points_of(folder, options.models)]
    contexts = sorted({int(point.values["context"]) for point in points})
    shown = [point for point in points if point.values["context"] == tokens]
    if not shown:
        listed = ", ".join(f"{number:,}" for number in contexts)
        have = f"they have {listed}: choose one with --context" if contexts else "nothing of them was measured"
        raise UserError(f"These sweeps have no points of {definition.name} at a context of {tokens:,} tokens; {have}.")
    lines = list(lines_of(definition, shown))
    filled = fill(replace(definition, rows=tuple(line.row for line in lines)), lines, options)
    return trimmed(replace(filled, extra_remarks=(*filled.extra_remarks, *remarks(shown, tokens or 0))))


def points_of(folder: Path, models: Sequence[str]) -> Iterator[Point]:
    """The measured points of a sweep."""
    frame = load_sweep(folder).points
    done = frame[frame["status"] == "done"]
    runs = {place: load_run(folder / place) for place in done["folder"].unique()}
    entries = {str(entry.cell.path): entry for entry in collect(runs.values(), models)} if runs else {}
    for values in done.to_dict("records"):
        entry = entries.get(str(folder / str(values["folder"])))
        if entry is not None:
            yield Point({str(name): value for name, value in values.items()}, entry)


def lines_of(definition: TableDefinition, points: Sequence[Point]) -> Iterator[Line]:
    """A line for each row of the table, then for the variants and scalings that it does not list; one more for each
    further factor that a row was scaled by."""
    for row in definition.rows:
        in_row = [point for point in points if point.key == row.key and point.scaling == row.scaling]
        yield from by_factor(row.label, row, in_row)
    listed = {(row.key, row.scaling) for row in definition.rows}
    others: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        if (point.key, point.scaling) not in listed:
            others.setdefault((point.key, point.scaling), []).append(point)
    for (_, scaling), of_design in others.items():
        name = of_design[0].entry.cell.variant + ("" if scaling == "none" else f"+{scaling}")
        yield from by_factor(name, Row(name), of_design)


def by_factor(base: str, row: Row, points: Sequence[Point]) -> Iterator[Line]:
    """A row, named with the factor that stands behind its numbers."""
    factors: dict[str, list[BenchmarkResult]] = {}
    for point in points:
        factors.setdefault(point.factor, []).append(point.entry)
    for factor, entries in (factors or {"": []}).items():
        label = f"{base} ({factor})" if factor else base
        yield Line(replace(row, label=label), entries, base)


def remarks(points: Sequence[Point], context: int) -> Iterator[str]:
    """What was really asked in this context, and what the factors mean."""
    frames = max(int(point.values["frames"]) for point in points)
    tokens = [point.values.get("tokens_median") for point in points]
    median = [float(number) for number in tokens if number is not None and not pd.isna(number)]
    low, high = (f"{end(median):,.0f}" if median else "" for end in (min, max))
    reached = f", the median prompt has {low if low == high else f'{low} to {high}'} tokens" if median else ""
    yield f"A context of {context:,} tokens: up to {frames:,} frames{reached}."
    if any(point.factor for point in points):
        yield ("xF: the factor of the scaling. By context it is how much longer the context is than the trained one, "
               "by reach how much further the variant's own positions reach; x1 is no scaling.")
