"""Finished runs as pandas frames.

run = load_run("runs/mine")
run.scores.pivot(index="label", columns="column", values="score")
run.samples.query("task == 'chartqa' and score == 0")
"""

from __future__ import annotations

import functools
import html
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pandas as pd

from mmrope_eval.errors import UserError
from mmrope_eval.record.cell import CellRecord, read_cell
from mmrope_eval.record.files import AGAIN, read_record
from mmrope_eval.record.schema import FAILED_ROW, MANIFEST, SCORES, STORE, FailedRow
from mmrope_eval.rope import Variant, VariantError
from mmrope_eval.util.row_names import checkpoint_name, told_apart, training_run, training_step
from mmrope_eval.words import counted, visible

SCORE_COLUMNS: Final[Mapping[str, str]] = MappingProxyType({
    **dict.fromkeys(("label", "model", "variant", "task", "column", "category", "metric"), "object"),
    **dict.fromkeys(("score", "stderr", "chance"), "float64"),
    **dict.fromkeys(("n", "expected", "failed", "truncated", "unparsed"), "Int64"),
    "limited": "bool",
    **dict.fromkeys(("max_tokens", "own_max_tokens"), "Int64"),
    **dict.fromkeys(("temperature", "own_temperature"), "float64"),
    **dict.fromkeys(("average", "scorer"), "object"),
    **dict.fromkeys(("scorer_version", "task_version"), "Int64"),
    **dict.fromkeys(("prompt_hash", "data_fingerprint", "variant_fingerprint", "model_fingerprint"), "object"),
    "step": "Int64",
    **dict.fromkeys(("training_run", "cell"), "object"),
})
"""Columns of `Run.scores` and their types."""

SAMPLE_COLUMNS: Final[Mapping[str, str]] = MappingProxyType({
    **dict.fromkeys(("label", "model", "variant", "task", "id", "group"), "object"),
    "score": "float64",
    **dict.fromkeys(("failed", "truncated"), "bool"),
    **dict.fromkeys(("parsed", "prediction", "target"), "object"),
    "prompt_tokens": "Int64",
    "max_position": "float64",
    "step": "Int64",
    **dict.fromkeys(("training_run", "cell"), "object"),
})
"""Columns of `Run.samples` and their types; a column `score_<metric>` for each metric follows."""
NAMED: Final = 8
"""Names that a line holds."""


@dataclass(frozen=True)
class Cell:
    """One checkpoint under one variant: a folder with scores.json, manifest.json and samples/<task>.jsonl."""

    path: Path
    record: CellRecord = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    """manifest.json as it lies on disk, with what this version does not know."""
    recorded: Variant | None = field(repr=False)
    """The variant as it was recorded; None where no definition was, or one of a later version."""
    model: str
    """The name of the checkpoint's folder, or of its repository in the hub's cache."""
    step: int | None
    """The training step of the checkpoint; None where it has none. Before 0.3 the path alone says it."""
    run: str | None
    """The training that the step is of, by its folder; None where there is no step."""
    model_fingerprint: str | None
    """sha256 of the checkpoint; tells two folders of the same name apart."""
    variant: str
    """The variant's name."""
    variant_fingerprint: str | None
    """sha256 of the variant's definition: equal for two names of one definition."""
    assumed: bool
    """Whether nothing named the variant, so that it was taken from the model type."""
    tasks: tuple[str, ...]
    """Names of the tasks, in the run's order."""

    @classmethod
    def of(cls, record: CellRecord) -> Cell:
        """A cell from its records."""
        scores, manifest = record.scores, record.manifest
        checkpoint, variant = scores.checkpoint, manifest.variant
        try:
            recorded = Variant.from_dict(variant.definition) if variant and variant.definition else None
        except VariantError:  # known by its fingerprint
            recorded = None
        assumed = variant is not None and (
            variant.how.startswith("model type") if variant.assumed is None else variant.assumed)
        return cls(
            record.folder, record, record.stored_manifest.raw, recorded, checkpoint_name(checkpoint.path),
            checkpoint.step if "step" in checkpoint.model_fields_set else training_step(checkpoint.path),
            checkpoint.run if "run" in checkpoint.model_fields_set else training_run(checkpoint.path),
            checkpoint.fingerprint, scores.variant.name, scores.variant.fingerprint, assumed, tuple(scores.tasks),
        )

    def limited(self, task: str) -> bool:
        """Whether `--limit` cut a task short."""
        manifest = self.record.manifest
        asked = (manifest.tasks or {}).get(task)
        return (asked if asked is not None and "limit" in asked.model_fields_set else manifest).limit is not None


@dataclass(frozen=True)
class Run:
    """A run's cells; the frames are read when they are first asked for."""

    path: Path
    cells: tuple[Cell, ...]
    unfinished: tuple[Path, ...] = ()
    """Folders that hold responses but no scores: their run was stopped."""
    failed: Mapping[Path, str] = field(default_factory=dict)
    """Folders of rows that could not be evaluated, each with its cause."""

    def __repr__(self) -> str:
        """Three lines at most: where, how many rows and tasks, and their names."""
        tasks = list(dict.fromkeys(task for cell in self.cells for task in cell.tasks))
        counts = f"{counted(len(self.cells), 'row')} x {counted(len(tasks), 'task')}"
        lines = [f"Run({self.path}: {counts}: {some(self.labels)}", f"    tasks: {some(tasks)}"]
        lost = [f"{len(cells)} {word}" for cells, word in ((self.failed, "failed"), (self.unfinished, "not finished"))
                if cells]  # fmt: skip
        return "\n".join([*lines, *([f"    rows without scores: {', '.join(lost)}"] if lost else [])]) + ")"

    def _repr_html_(self) -> str:
        """The scores as a table, for notebooks."""
        if self.scores.empty:
            return f"<pre>{html.escape(repr(self))}</pre>"
        wide = self.scores.pivot(index="label", columns="column", values="score")
        columns = list(dict.fromkeys(self.scores["column"]))
        rows = [label for label in self.labels if label in wide.index]
        return str(wide.loc[rows, columns].to_html(float_format="{:.2f}".format, na_rep="—"))

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """The name of every cell: as its run called it, or its folder where that repeats."""
        places = [cell.variant if cell.path == self.path else os.path.relpath(cell.path, self.path)
                  for cell in self.cells]
        return tuple(told_apart([cell.record.scores.label for cell in self.cells], places))

    def label(self, cell: Cell) -> str:
        """The name of one of the cells."""
        return self.labels[self.cells.index(cell)]

    def assumptions(self) -> list[str]:
        """One sentence on the cells whose variant nobody named."""
        names = list(dict.fromkeys(f"{cell.model} ({cell.variant})" for cell in self.cells if cell.assumed))
        return [f"{self.path}: the variant of {', '.join(names)} is assumed from the model type, as no config.json "
                "names one"] if names else []  # fmt: skip

    def left_out(self) -> list[str]:
        """One sentence for each folder that has no scores, and for each task that could not be asked."""
        stopped = [f"{folder} is a run that did not finish" for folder in self.unfinished]
        lost = [f"{cell.path}: {task} was not asked ({cause.rstrip('.')})"
                for cell in self.cells for task, cause in cell.record.scores.failed_tasks.items()]  # fmt: skip
        rows = [f"{folder} is a row that failed ({cause})" for folder, cause in self.failed.items()]
        return [*stopped, *lost, *rows]

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """One row per cell and task; `label` is the cell's name, and no two have one.

        `score`, `stderr` and `chance` are on a 0-100 scale and missing where unknown; `stderr` is clustered by
        `Run.samples.group`, and never below that of independent samples, of older runs too; `n` counts samples asked,
        `expected` those of the whole benchmark;
        `failed` are counted wrong; `max_tokens` is the answer limit, `own_max_tokens` the task's own; so with
        `temperature` and `own_temperature`; `average` names how samples become the score (see
        mmrope_eval.record.aggregate); `step` and `training_run` are the checkpoint's, where it is a step of a training;
        `cell` is the folder.
        """
        cells = zip(self.cells, self.labels, strict=True)
        return frame((score_row(cell, task, label) for cell, label in cells for task in cell.tasks), SCORE_COLUMNS)

    @functools.cached_property
    def samples(self) -> pd.DataFrame:
        """One row per cell, task and sample.

        `group` is what samples stand or fall with: the content of their images or videos, or what else their task file
        names (`metadata: cluster`), else the sample's id. `score` is the primary metric in [0, 1] (wrong and failed: 0;
        missing: does not apply), each metric is a column `score_<metric>`; `target` is the mapping that the scorer
        read, whose `group` names the sample's sub-tasks.
        """
        cells = zip(self.cells, self.labels, strict=True)
        return frame((row for cell, label in cells for row in sample_rows(cell, label)), SAMPLE_COLUMNS)


def load_run(path: str | Path) -> Run:
    """The run in a folder: its one cell, or all cells of its subfolders, records and samples checked.

    Raises UserError where the folder holds no finished run, or a file of it is missing, damaged, changed since it was
    written, or does not fit the others.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the --output of a run.")
    finished = cell_folders(folder, SCORES)
    failed = {place: read_record(place / FAILED_ROW, FailedRow).record.cause
              for place in cell_folders(folder, FAILED_ROW)}
    stopped = tuple(place for place in cell_folders(folder, STORE) if place not in finished and place not in failed)
    if not finished and failed:
        raise UserError(f"{folder} holds no scores, for its checkpoints failed: {'; '.join(failed.values())}")
    if not finished and stopped:
        raise UserError(f"{folder} holds a run that did not finish; start its command again.")
    if not finished:
        raise UserError(f"{folder} holds no {SCORES}; name the --output of a run.")
    cells = tuple(map(load_cell, finished))
    if cells[0].path == folder:  # what `rescore --output` writes below a row is that row again
        rows = [(cell.model_fingerprint, cell.variant_fingerprint) for cell in cells]
        cells = (cells[0], *(cell for cell, row in zip(cells, rows, strict=True) if row != rows[0]))
    return Run(folder, cells, stopped, failed)


def load_cell(folder: Path) -> Cell:
    """One cell, checked. UserError where a file of it is damaged, or its variant is not the one it was run under."""
    cell = Cell.of(read_cell(folder))
    fingerprint = None if cell.recorded is None else cell.recorded.fingerprint
    if None not in (fingerprint, cell.variant_fingerprint) and fingerprint != cell.variant_fingerprint:
        raise UserError(f"{folder / MANIFEST} is not of this run: its variant.definition does not have the fingerprint "
                        f"that {SCORES} has; {AGAIN}.")
    return cell


def cell_folders(folder: Path, name: str) -> list[Path]:
    """The folder itself where it holds the file, and every one below that does, in the order of their names."""
    itself = [folder] if os.path.lexists(folder / name) else []
    return [*itself, *sorted(path.parent for path in folder.glob(f"*/**/{name}"))]


def score_row(cell: Cell, task: str, label: str) -> dict[str, Any]:
    """One row of `Run.scores`, of the cell that is called so; what an older run did not record is None."""
    entry = cell.record.scores.tasks[task]
    value = entry.metrics[entry.main]
    return {
        **origin(cell, task, label), **generation(cell, task), "metric": entry.main, "score": value.value,
        "stderr": finite_or_none(cell.record.errors[task]), "limited": cell.limited(task),
        "variant_fingerprint": cell.variant_fingerprint, "model_fingerprint": cell.model_fingerprint,
        **{name: getattr(entry, f"n_{name}") for name in ("failed", "truncated", "unparsed")},
        **{name: getattr(entry, name) for name in (
            "column", "category", "chance", "n", "expected", "average", "scorer", "scorer_version", "task_version",
            "prompt_hash", "data_fingerprint")},
    }


def origin(cell: Cell, task: str, label: str) -> dict[str, Any]:
    """What both frames say of where a row is from."""
    return {"label": label, "model": cell.model, "variant": cell.variant, "task": task, "step": cell.step,
            "training_run": cell.run, "cell": str(cell.path)}


def generation(cell: Cell, task: str) -> dict[str, float | None]:
    """The tokens that an answer could have and the temperature at which it was drawn, and what the task's file says of
    both; older records had nothing else."""
    asked = (cell.record.manifest.tasks or {}).get(task)
    if asked is None:
        return dict.fromkeys(("max_tokens", "own_max_tokens", "temperature", "own_temperature"))
    limit, heat = (None, None) if asked.generation is None else (asked.generation.max_tokens,
                                                                 asked.generation.temperature)
    return {"max_tokens": limit, "own_max_tokens": limit if asked.own_max_tokens is None else asked.own_max_tokens,
            "temperature": heat, "own_temperature": heat if asked.own_temperature is None else asked.own_temperature}


def sample_rows(cell: Cell, label: str = "") -> Iterator[dict[str, Any]]:
    """The rows of `Run.samples` of the cell that is called so. UserError when a file of samples is missing or
    damaged."""
    for task in cell.tasks:
        main = cell.record.scores.tasks[task].main
        place = origin(cell, task, label)
        for sample in cell.record.samples(task):
            yield {
                **place, "group": sample.together, "score": sample.scores[main], "failed": sample.failure is not None,
                **{name: getattr(sample, name) for name in (
                    "id", "truncated", "parsed", "prediction", "target", "prompt_tokens")},
                "max_position": sample.positions.max_position if sample.positions else None,
                **{f"score_{name}": value for name, value in sample.scores.items()},
            }


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = len(names) - NAMED
    return ", ".join(map(visible, names[:NAMED])) + (f" and {more} more" if more > 0 else "")


def finite_or_none(value: Any) -> Any:
    """None for what is no finite number; all else as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def frame(rows: Iterator[dict[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a frame with these columns first, all of them present even in an empty one."""
    lines = pd.DataFrame(list(rows))
    metrics = {name: "float64" for name in lines.columns if name not in types}
    return lines.reindex(columns=[*types, *metrics]).astype({**types, **metrics})
