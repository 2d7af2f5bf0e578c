"""What a sweep measured, as a frame."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.record.files import read_record, seal_holds
from mmrope_eval.record.schema import SCORES, SWEEP, SweepPoint, SweepRecord
from mmrope_eval.report.runs import Cell, finite_or_none, load_cell, sample_rows
from mmrope_eval.util.row_names import RowName, row_labels
from mmrope_eval.words import shown

AGAIN: Final = "start the sweep's command again"


@dataclass(frozen=True)
class SweepResult:
    """A sweep's points and needle depths.

    `points`: one row per point with model, variant, scaling, task, column, context, frames, factor, status, cause,
    score, chance, n, failed; achieved tokens (least, median, most) and the largest position id. `depths`: one row per
    needle point and depth with its score. Scores are on a 0-100 scale.
    """

    title: str
    train_context: int
    points: pd.DataFrame
    depths: pd.DataFrame
    empty: tuple[str, ...] = ()
    """Variants that the sweep's file names as rows and no checkpoint is of."""


def load_sweep(folder: str | Path) -> SweepResult:
    """The sweep in a folder. UserError when there is none, or a record of it is damaged or does not fit the others."""
    path = Path(folder) / SWEEP
    if not os.path.lexists(path):
        raise UserError(f"{folder} holds no {SWEEP}; name the --output of a sweep.")
    stored = read_record(path, SweepRecord, AGAIN)
    record = stored.record
    if record.sha256 is not None and not seal_holds(stored.raw, SWEEP):
        raise UserError(f"{path} is not as the sweep wrote it (its own sha256 differs); {AGAIN}.")
    if not record.points:
        raise UserError(f"{path} has no points yet; {AGAIN}.")
    cells = [cell_of(path, point) for point in record.points]
    rows = [point_row(list(fields), point, cell)
            for fields, point, cell in zip(stored.raw["points"], record.points, cells, strict=True)]
    depths = [row for point, cell in zip(record.points, cells, strict=True) for row in depth_rows(path, point, cell)]
    names = row_names(record.points)
    points = with_labels(pd.DataFrame(rows), names)
    return SweepResult(record.title, record.train_context, points,
                       with_labels(pd.DataFrame(depths), names) if depths else pd.DataFrame(), record.empty)


def cell_of(path: Path, point: SweepPoint) -> Cell | None:
    """The cell of a point that was measured. UserError where its records are damaged, or not of the point's task."""
    if point.status != "done" or point.folder is None:
        return None
    folder = path.parent / point.folder
    cell = load_cell(folder)
    if point.task not in cell.tasks:
        raise UserError(f"{path}: a point of {point.task} is said to be in {point.folder}, whose {SCORES} has "
                        f"{', '.join(cell.tasks) or 'no task'}; {AGAIN}.")
    return cell


def place_of(point: SweepPoint) -> str:
    """The checkpoint that a point is of; its folder's name in records that say no more."""
    return point.checkpoint or f"/{point.model}"


def row_names(points: Sequence[SweepPoint]) -> dict[tuple[str, str], str]:
    """What the rows of a sweep are called (`util.row_names`), by checkpoint and variant: as the sweep called them last,
    for another command may have found them beside others."""
    recorded = {(place_of(point), point.variant): point.label for point in points}
    labels = row_labels([RowName(Path(place), variant, label or None) for (place, variant), label in recorded.items()])
    return dict(zip(recorded, labels, strict=True))


def with_labels(points: pd.DataFrame, names: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """With `label`, the row's name, in place of its checkpoint, and `scaled`: the scaling and its rule."""
    labels = [names[row] for row in zip(points["place"], points["variant"], strict=True)]
    points = points.drop(columns="place")
    rules = points["factor_rule"] if "factor_rule" in points else [None] * len(points)
    scaled = [scaling_label(scaling, rule) for scaling, rule in zip(points["scaling"], rules, strict=True)]
    return points.assign(label=labels, scaled=scaled)


def scaling_label(scaling: str, rule: str | None) -> str:
    """A scaling with the rule of its factor: `yarn by context`, `yarn x4`."""
    if scaling == "none" or not isinstance(rule, str):
        return scaling if scaling == "none" else f"{scaling} by reach"  # the only rule that there once was
    return f"{scaling} {rule}" if rule.startswith("x") else f"{scaling} by {rule}"


def point_row(columns: list[str], point: SweepPoint, cell: Cell | None) -> dict[str, Any]:
    """One row of `SweepResult.points`, the point's own columns first and in their order."""
    values = point.model_dump()
    row = {"place": place_of(point), **{name: values[name] for name in columns if name != "label"}}
    if cell is None:
        return row
    row["assumed"] = cell.assumed
    entry = cell.record.scores.tasks[point.task]
    samples = pd.DataFrame(sample_rows(cell))
    tokens = samples["prompt_tokens"].dropna() if len(samples) else pd.Series(dtype=float)
    positions = samples["max_position"].dropna() if len(samples) else pd.Series(dtype=float)
    row |= {
        "metric": entry.main, "score": entry.metrics[entry.main].value,
        "stderr": finite_or_none(cell.record.errors[point.task]), "n": entry.n,
        **{name: getattr(entry, f"n_{name}") or 0 for name in ("failed", "unparsed", "truncated")},
    }
    if len(tokens):
        row |= {"tokens_min": int(tokens.min()), "tokens_median": int(tokens.median()), "tokens_max": int(tokens.max())}
    if len(positions):
        row["max_position"] = float(positions.max())
    return row


def depth_rows(path: Path, point: SweepPoint, cell: Cell | None) -> list[dict[str, Any]]:
    """The score at every depth of a needle point. UserError for a depth that is none."""
    if point.task != "needle" or cell is None:
        return []
    head = {"place": place_of(point), "model": point.model, "variant": point.variant, "scaling": point.scaling,
            "factor_rule": point.factor_rule, "context": point.context}
    groups = cell.record.scores.tasks["needle"].groups
    return [{**head, "depth": depth_of(path, depth), "score": part.value, "n": part.n}
            for depth, part in groups.items()]


def depth_of(path: Path, name: str) -> float:
    """A depth, 0 to 100 per cent, from the name of its group."""
    try:
        depth = float(name)
    except ValueError:
        depth = math.nan
    if not 0 <= depth <= 100:
        raise UserError(f"{path}: a needle's group is called {shown(name)}, which is no depth; {AGAIN}.")
    return depth
