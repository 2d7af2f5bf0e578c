"""Where the rows of a command go in a folder that holds others: to their own place, or to a new one beside them.

A folder may be written to by many commands. A row is a checkpoint under a variant; it has one folder, whatever other
rows are asked with it. What lies there of the same checkpoint, asked in the same way, stays and is added to
(`merging`); what would be lost, or mixed with what cannot be compared, is refused here, before anything is asked.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.read import read_record
from mmrope_eval.record.schema import MANIFEST, SAMPLES, SCORES, Manifest, Scores
from mmrope_eval.run.asked_again import reasons
from mmrope_eval.run.cells import FailedRow, Rows
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell
from mmrope_eval.run.manifest import plain
from mmrope_eval.store.answer_code import answer_code
from mmrope_eval.task.registry import TaskSpec
from mmrope_eval.util.console import say
from mmrope_eval.util.training_steps import checkpoint_name, numbered

BENEATH: Final = ("store", "weights", "variant", "media", "versions")
"""Parts of a context that the same command may find changed; all others are what a command says."""

COORDINATES: Final = "coordinates"
"""Of a family: how boxes in its answers are read."""


@dataclass(frozen=True)
class Row:
    """A row as it lies on disk, of a finished command or of one that was stopped."""

    folder: Path
    checkpoint: Mapping[str, Any]
    variant: Mapping[str, Any]
    manifest: Mapping[str, Any]
    """Empty where it cannot be read."""
    sizes: Mapping[str, int]
    """How many samples each task's score rests on."""

    @property
    def named(self) -> str:
        """The variant's name."""
        return str(self.variant.get("name") or (self.variant.get("definition") or {}).get("name"))

    def is_of(self, cell: Cell) -> bool:
        """Whether it holds the very checkpoint and variant."""
        return (self.checkpoint.get("fingerprint"), self.variant.get("fingerprint")) == (
            cell.checkpoint.fingerprint, cell.variant.fingerprint)  # fmt: skip

    def is_called(self, path: Path, variant: str, overrides: Mapping[str, Any]) -> bool:
        """Whether it is what a command calls so, perhaps with other content than then."""
        given = self.variant.get("set")
        return (str(Path(str(self.checkpoint.get("path"))).resolve()) == str(path.resolve()) and self.named == variant
                and (given is None or plain(given) == plain(overrides)))  # fmt: skip


def rows_in(output: Path) -> list[Row]:
    """The rows that a folder holds: its own, and those of the folders in it."""
    if not output.exists():  # a study's folder for one of its runs
        return []
    inside = sorted(path for path in output.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [row for folder in (output, *inside) if (row := read_row(folder)) is not None]


def read_row(folder: Path) -> Row | None:
    """The row in a folder; None where there is none that its records name."""
    manifest, scores = _raw(folder / MANIFEST, Manifest), _raw(folder / SCORES, Scores)
    records = [record for record in (manifest, scores) if record.get("checkpoint") and record.get("variant")]
    if not records:
        return None
    tasks = scores.get("tasks") or {}
    return Row(folder, records[0]["checkpoint"], {**records[-1]["variant"], **records[0]["variant"]}, manifest,
               {name: int(entry["n"]) for name, entry in tasks.items()})  # fmt: skip


def _raw(path: Path, kind: Any) -> Mapping[str, Any]:
    try:
        return read_record(path, kind).raw
    except UserError:  # none, or a damaged one
        return {}


# ------------------------------------------------------------------------------------------------------------- placing


def place(config: RunConfig, rows: Rows, specs: Sequence[TaskSpec]) -> Rows:
    """The rows with the folders that they go to. UserError where something that lies there would be lost or mixed."""
    existing = rows_in(config.output)
    homes = _homes(rows.cells, existing, config)
    alone = len(rows.folders) == 1
    taken = [SAMPLES, *(row.folder.name for row in existing), *(row.named for row in existing if alone)]
    folders: dict[str, Path] = {}
    for cell in rows.cells:
        home = homes.get(cell.label)
        if home is not None:
            for remark in refuse(cell, home, config, specs):
                say(f"{cell.label}: {remark}", file=sys.stderr)
            folders[cell.label] = home.folder
        elif alone and not existing and not config.own_folders:
            folders[cell.label] = config.output
        else:
            folders[cell.label] = config.output / _free(cell, taken)
            taken.append(folders[cell.label].name)
    failed = [dataclasses.replace(row, folder=_failed_home(row, existing, config, taken)) for row in rows.failed]
    folders |= {row.label: row.folder for row in failed}
    # A row is called as its command calls it, but after its folder where that had to have another name.
    own_places = {cell.label: (config.output, config.output / cell.label) for cell in rows.cells}
    renamed = {label: label if folders[label] in places else folders[label].name
               for label, places in own_places.items()}  # fmt: skip
    cells = tuple(dataclasses.replace(cell, label=renamed[cell.label], folder=folders[cell.label])
                  for cell in rows.cells)  # fmt: skip
    shown = {**{cell.label: cell.folder for cell in cells}, **{row.label: row.folder for row in failed}}
    order = [renamed.get(label, label) for label in rows.folders]
    return Rows(cells, tuple(failed), {label: shown[label] for label in order})


def _homes(cells: Sequence[Cell], existing: Sequence[Row], config: RunConfig) -> dict[str, Row]:
    """The row on disk that each cell is, by label; no row is two cells."""
    homes: dict[str, Row] = {}
    matchers: tuple[Callable[[Cell, Row], bool], ...] = (
        lambda cell, row: row.is_of(cell) and row.folder.name == cell.label,  # it may be asked under two labels
        lambda cell, row: row.is_of(cell),
        lambda cell, row: row.is_called(cell.checkpoint.path, cell.variant.name, config.overrides),
    )
    for matches in matchers:
        for cell in cells:
            free = [row for row in existing if row not in homes.values() and matches(cell, row)]
            if cell.label not in homes and free:
                homes[cell.label] = free[0]
    return homes


def _free(cell: Cell, taken: Sequence[str]) -> str:
    """A name for a new row's folder beside others: its label, else with its checkpoint's name, else with a number."""
    longer = f"{checkpoint_name(cell.checkpoint.path)}--{cell.variant.name}"
    return cell.label if cell.label not in taken else numbered([longer], taken)[0]


def _failed_home(row: FailedRow, existing: Sequence[Row], config: RunConfig, taken: Sequence[str]) -> Path:
    """Where to say that a row failed: where it lies, or where none of another checkpoint does."""
    matching = [placed for placed in existing if row.path is not None
             and placed.is_called(row.path, row.variant or placed.named, config.overrides)]  # fmt: skip
    if len(matching) == 1 or (matching and row.variant):
        return matching[0].folder
    return row.folder if row.folder == config.output else config.output / numbered([row.folder.name], taken)[0]


# ------------------------------------------------------------------------------------------------------------- refusing


def refuse(cell: Cell, row: Row, config: RunConfig, specs: Sequence[TaskSpec]) -> list[str]:
    """What must be said of the scores that lie in a row's folder. UserError where they would be lost, or mixed with
    what cannot be compared."""
    limits = {spec.name: config.limit_of(spec.name) for spec in specs}
    refuse_fewer(row.folder, row.sizes, {name: limit.count for name, limit in limits.items() if limit is not None},
                 f"--limit {config.limit_words}")  # fmt: skip
    if not row.sizes or not row.manifest:
        return []
    settings, beneath = differences(cell, row)
    if settings:
        raise UserError(f"{row.folder} holds scores of {cell.label} that were made with other settings "
                        f"({'; '.join(settings)}): choose another --output.")  # fmt: skip
    lost = [name for name in row.sizes if name not in {spec.name for spec in specs}]
    if lost and beneath:
        raise UserError(f"{row.folder} holds scores of {', '.join(lost)}, which cannot stand beside new ones: "
                        f"{'; '.join(beneath)}. Choose another --output, or add {','.join(lost)} to --tasks, so that "
                        "all are made anew.")  # fmt: skip
    read = [text for text in beneath if text.startswith(COORDINATES)]  # all else makes other answers, which is said
    return [f"the kept answers are read in another way than for {row.folder / SCORES}: {read[0]}"] if read else []


def refuse_fewer(folder: Path, sizes: Mapping[str, int], asked: Mapping[str, int], how: str) -> None:
    """UserError where a task's score would be replaced by one over fewer samples."""
    for name, count in asked.items():
        if count < sizes.get(name, 0):
            raise UserError(f"{folder} holds {name} over {sizes[name]:,} samples; {how} would replace that score by "
                            f"one over {count:,} at most: choose another --output.")  # fmt: skip


def sizes(folder: Path) -> Mapping[str, int]:
    """How many samples the scores in a folder rest on, by task."""
    row = read_row(folder)
    return {} if row is None else row.sizes


def differences(cell: Cell, row: Row) -> tuple[list[str], list[str]]:
    """In what a cell is asked differently from a row on disk, in words: by what the command says, and beneath it."""
    before = row.manifest.get("context")
    if not isinstance(before, Mapping):
        return [], []
    code = answer_code()
    changed = {}
    for part, beneath in (("beneath", True), ("said", False)):
        was, now = ({name: value for name, value in context.items() if (name in BENEATH) is beneath}
                    for context in (before, cell.context))  # fmt: skip
        changed[part] = reasons({"context": was, "code": row.manifest.get("code")}, now, code)
    family = row.manifest.get("family")
    if not isinstance(family, Mapping):
        return changed["said"], changed["beneath"]
    for name, now in dataclasses.asdict(cell.family).items():
        if name != "name" and name not in cell.context and family.get(name) != now:
            # The same answers are read with other coordinates; another wording makes other questions.
            changed["beneath" if name == COORDINATES else "said"].append(f"{name} is {now}, was {family.get(name)}")
    return changed["said"], changed["beneath"]
