"""What other commands measured in a sweep's folder: kept beside what this one measures."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.files import read_record
from mmrope_eval.record.schema import SWEEP, SweepRecord
from mmrope_eval.run.execute import Cell
from mmrope_eval.run.manifest import plain
from mmrope_eval.sweep.config import SweepConfig
from mmrope_eval.util.console import say

SETTINGS: Final = ("train_context", "frames", "needle", "limit", "temperature")
"""Of sweep.json: points that differ in them are no points of one sweep."""


def earlier_points(output: Path, settings: Mapping[str, Any], config: SweepConfig, cells: Sequence[Cell],
                   tasks: Collection[str]) -> list[Mapping[str, Any]]:
    """The points in a folder that this sweep leaves as they are. UserError where its own cannot stand beside them."""
    path = output / SWEEP
    if not path.exists():
        return []
    try:
        record = read_record(path, SweepRecord).raw
    except UserError as error:
        say(f"what other commands measured is not kept in {SWEEP}, start them again: {error}", file=sys.stderr)
        return []
    kept = [point for point in record["points"] if not any(_measures(cell, config, tasks, point) for cell in cells)]
    for point in kept:
        refuse_other(output, point, cells)
    differing = [name for name in SETTINGS if plain(record.get(name)) != plain(settings[name])]
    if kept and differing:
        words = ", ".join(f"{name} is {settings[name]}, was {record.get(name)}" for name in differing)
        raise UserError(f"{output} holds {len(kept)} points of a sweep with other settings ({words}): choose another "
                        "--output.")  # fmt: skip
    return kept


def _measures(cell: Cell, config: SweepConfig, tasks: Collection[str], point: Mapping[str, Any]) -> bool:
    """Whether a point is one of this sweep's under a checkpoint and variant."""
    rule = config.factor if isinstance(config.factor, str) else f"x{config.factor:g}"
    scaled = None if point["scaling"] == "none" else point.get("factor_rule", "reach")  # the only one that there was
    return (
        point.get("checkpoint") == str(cell.checkpoint.path)
        and point["variant"] == cell.variant.name
        and point["context"] in config.contexts
        and point["scaling"] in config.scaling
        and point["task"] in tasks
        and scaled in (None, rule)
    )


def refuse_other(output: Path, point: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    """UserError where another checkpoint's point lies in the place of one of this sweep's."""
    name = PurePosixPath(str(point.get("folder") or "")).name
    for cell in cells:
        taken = name == cell.label or name.startswith(f"{cell.label}--")
        if taken and point.get("checkpoint") != str(cell.checkpoint.path):
            raise UserError(f"{output} holds points of {point.get('checkpoint')} as {name}, where those of "
                            f"{cell.checkpoint.path} would go: choose another --output, or give this checkpoint a "
                            "label (--models FILE).")  # fmt: skip
