"""The table of attention on visual tokens, from what `mmrope-eval analyze --tasks ... --format json` wrote."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import pandas as pd
from pydantic import Field

from mmrope_eval.errors import UserError
from mmrope_eval.record.files import read_record
from mmrope_eval.record.schema import Count, Name, Record, Share, Words
from mmrope_eval.report.candidates import Line
from mmrope_eval.report.definitions import Row, TableDefinition, variant_key
from mmrope_eval.report.table import build
from mmrope_eval.rope import Variant, VariantError, load_variant, variant_names

TASK: Final = "docvqa"
"""Whose pages the paper measured on."""
AGAIN: Final = "write it anew: mmrope-eval analyze VARIANT --model CKPT --tasks docvqa --format json --output FILE"
LAYER: Final = "Layer "


class LayerShare(Record):
    """The attention of one layer, or of all, under one variant."""

    variant: Name
    task: Name
    layer: Annotated[int, Field(ge=1)] | Literal["all"]
    samples: Count
    text: Share
    """Of the text tokens behind the first visual one, mean over them, heads and samples."""


class Shares(Record):
    """`attention` of the file."""

    rows: tuple[LayerShare, ...]


class AttentionFile(Record):
    """The whole file."""

    kind: ClassVar[str] = "an analysis of attention"

    model: Words
    definitions: dict[Name, dict[str, Any]] = {}
    """By name, what the variants decide."""
    attention: Shares


@dataclass(frozen=True)
class Measured:
    """One variant on one model."""

    file: Path
    model: str
    variant: str
    key: str | None
    shares: Mapping[int, LayerShare]
    """By layer, counted from 1."""


def attention_table(definition: TableDefinition, files: Sequence[Path], options: build.Options) -> build.Table:
    """The table. UserError for a file that is no such analysis, and where two hold one row."""
    measured = [measurement for file in files for measurement in read_file(file)]
    layers = sorted({layer for measurement in measured for layer in measurement.shares})
    columns = definition.columns
    if not any(int(column.removeprefix(LAYER)) in layers for column in columns):  # no model is that deep
        columns = tuple(f"{LAYER}{layer}" for layer in layers)
    definition = replace(definition, columns=columns)
    listed = {row.key for row in definition.rows}
    others = [measurement for measurement in measured if measurement.key not in listed]
    rows = (*definition.rows, *(Row(measurement.variant) for measurement in others))
    lines = [Line(row, (), row.label) for row in rows]
    by_label: dict[str, list[Measured]] = {
        row.label: [measurement for measurement in measured if measurement.key == row.key] for row in definition.rows}
    for measurement in others:
        by_label.setdefault(measurement.variant, []).append(measurement)
    for label, several in by_label.items():
        if len(several) > 1:
            where = " and ".join(str(measurement.file) for measurement in several)
            raise UserError(f"{label}: {where} both have it; name one of them.")
    values = [cell(label, column, measurements[0] if measurements else None) for label, measurements in by_label.items()
              for column in columns]
    cells = pd.DataFrame(values).reindex(columns=list(build.CELL_TYPES)).astype(build.CELL_TYPES)
    baseline = build.baseline_row(lines, options.baseline)
    cells = build.with_ranks(build.with_differences(cells, definition, lines, baseline, options.reported, {}))
    table = build.Table(replace(definition, rows=tuple(line.row for line in lines)), replace(options, chance=False),
                  tuple(by_label), columns, cells, {label: {} for label in by_label}, (), {}, baseline,
                  extra_remarks=tuple(remarks(measured)))
    return build.trimmed(table)


def read_file(file: Path) -> Iterator[Measured]:
    """The variants of a file. UserError where it is none, or has no DocVQA among several tasks."""
    if not file.is_file():
        raise UserError(f"{file} is not a file; table attention takes what mmrope-eval analyze wrote: {AGAIN}.")
    analysis = read_record(file, AttentionFile, AGAIN).record
    tasks = list(dict.fromkeys(row.task for row in analysis.attention.rows))
    if not tasks or (TASK not in tasks and len(tasks) > 1):
        raise UserError(f"{file} has attention on {', '.join(tasks) or 'nothing'}, not on {TASK}; {AGAIN}.")
    task = TASK if TASK in tasks else tasks[0]
    for name in dict.fromkeys(row.variant for row in analysis.attention.rows):
        shares = {row.layer: row for row in analysis.attention.rows
                  if row.variant == name and row.task == task and isinstance(row.layer, int)}
        yield Measured(file, analysis.model, name, key_of(name, analysis.definitions.get(name)), shares)


def key_of(name: str, definition: Mapping[str, Any] | None) -> str | None:
    """The key of a variant, by its definition, else by its name; None where neither is known."""
    try:
        if definition:
            return variant_key(Variant.from_dict(definition))
        return variant_key(load_variant(name)) if name in variant_names() else None
    except VariantError:
        return None


def cell(row: str, column: str, measurement: Measured | None) -> dict[str, Any]:
    """One cell, in per cent."""
    share = None if measurement is None else measurement.shares.get(int(column.removeprefix(LAYER)))
    return {
        "row": row, "column": column, "benchmarks": (), "score": math.nan if share is None else 100 * share.text,
        "n": None if share is None else share.samples, "runs": int(share is not None),
        "variants": () if measurement is None else (measurement.variant,),
        "models": () if measurement is None else (measurement.model,),
        **dict.fromkeys(("steps", "cells", "data", "prompts", "scorers"), ()),
    }


def remarks(measured: Sequence[Measured]) -> Iterator[str]:
    """On what it was measured, and how."""
    shares = [share for measurement in measured for share in measurement.shares.values()]
    counts = sorted({share.samples for share in shares})
    tasks = ", ".join(dict.fromkeys(share.task for share in shares))
    samples = " or ".join(f"{count:,}" for count in counts)
    yield (f"On {samples} samples of {tasks}: mean over heads, samples and the text tokens behind the first visual "
           "one. Over which tokens the paper's mean is, it does not say.")
