"""Runs that hold what the paper printed, changed in known ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report_files import COLUMNS, write_cell

from mmrope_eval.report.definitions import load_averages
from mmrope_eval.rope import load_variant

AVERAGES, OPTIONAL = load_averages().over, load_averages().optional

TASKS = {column: task for task, (column, *_) in COLUMNS.items()}
"""column -> task"""


def every_column(folder: Path, variant: str, *, leave: tuple[str, ...] = (), **kwargs: Any) -> Path:
    tasks = {TASKS[column]: [1, 0] for name in ("Image", "Video", "Grounding") for column in AVERAGES[name]
             if column not in leave}
    return write_cell(folder, variant, tasks, **kwargs)


def change_variant(folder: Path, **changes: Any) -> None:
    import json

    variant = load_variant("mrope-i", **changes)
    for name in ("manifest.json", "scores.json"):
        record = json.loads((folder / name).read_text())
        record["variant"]["fingerprint"] = variant.fingerprint
        if name == "manifest.json":
            record["variant"]["definition"] = variant.to_dict()
            record.pop("sha256", None)
        (folder / name).write_text(json.dumps(record))
