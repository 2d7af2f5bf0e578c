"""Made-up scores of runs, and tables of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmrope_eval.report.definitions import Row, TableDefinition, load_definition
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.report.table.notes import Note, footnotes
from mmrope_eval.rope import load_variant

CATEGORIES = {"Image": ("ChartQA", "DocVQA"), "Video": ("MVBench",), "Grounding": ("RefCOCO val",),
              "Overall": ("Image", "Video", "Grounding")}

TASKS = {"chartqa": [1, 0, 1, 1], "docvqa": [1, 0, 0, 0], "mvbench": [1, 0], "refcoco_val": [1, 1, 1, 1, 0]}
"""75, 25, 50, 80: Image is 50, Overall is 60, the mean of all four is 57.5."""


def definition(*rows: str, table: str = "frequency") -> TableDefinition:
    """The columns of the table of frequencies over four benchmarks instead of 25, with rows of our choice."""
    chosen = tuple(Row(name, load_variant(name)) for name in rows)
    return replace(load_definition(table), rows=chosen or load_definition(table).rows, averages=CATEGORIES)


def filled(folder: Path, *rows: str, columns: tuple[str, ...] | None = None, trim: bool = False,
           **options: Any) -> Table:
    table = definition(*rows)
    return build(replace(table, columns=columns) if columns else table, [load_run(folder)],
                 Options(trim=trim, **options))


def scores(table: Table) -> dict[tuple[str, str], float | None]:
    keys = zip(table.cells["row"], table.cells["column"], table.cells["score"], strict=True)
    return {(row, column): None if np.isnan(value) else round(value, 6) for row, column, value in keys}


def note(table: Table, kind: str) -> Note:
    return next(footnote for footnote in footnotes(table) if footnote.kind == kind)
