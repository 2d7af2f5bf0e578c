"""What other commands have scored of the same row: kept beside what this command scores.

Only what is as it was written, and of the same checkpoint, variant and settings, is kept; `placing` has refused to
begin where that would leave something out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure
from mmrope_eval.record.cell import CellRecord, check_heads, check_samples
from mmrope_eval.record.files import read_record, seal_holds
from mmrope_eval.record.schema import MANIFEST, SAMPLES, SCORES, Manifest, Scores
from mmrope_eval.run.execute import Cell
from mmrope_eval.run.manifest import plain

ASIDE: Final = "earlier-"
"""How the records begin that a failed row has set aside."""
OF_A_COMMAND: Final = ("limit", "seed", "data_root")
"""What a command says for all its tasks, and manifest.json keeps with each."""


@dataclass(frozen=True)
class Earlier:
    """What other commands left in a row's folder."""

    order: Sequence[str] = ()
    """All tasks of scores.json as it was."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    """Tasks' entries in scores.json."""
    tasks: Mapping[str, Any] = field(default_factory=dict)
    """Their entries in manifest.json."""
    failures: Sequence[Failure] = ()
    commands: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    """What must be said of what could not be kept."""


def earlier(cell: Cell, asked: Collection[str]) -> Earlier:
    """What lies in a row's folder of other tasks than those that are asked now, as far as it is comparable."""
    record, notes = _read(cell.folder)
    if record is None:
        others = {path.name.split(".")[0] for path in (cell.folder / SAMPLES).glob("[!.]*.jsonl*")} - {*asked}
        return Earlier(notes=notes if others else ())
    manifest = record.stored_manifest.raw
    commands = [command for command in manifest.get("commands") or () if isinstance(command, dict)]
    if not commands and manifest.get("command"):  # of version 0.3
        first = {name: manifest.get(name) for name in ("command", "written")}
        commands = [{**first, "tasks": list(record.scores.tasks)}]
    if not comparable(cell, record):
        lost = [name for name in record.scores.tasks if name not in asked]
        if lost:  # of records that do not say how they were made; all others were refused before
            notes = [f"what was scored of {', '.join(lost)} is not kept in {SCORES}: it was made in another way"]
        return Earlier(commands=commands, notes=notes)
    scores, tasks, failures = {}, {}, []
    for name in record.scores.tasks:
        if name in asked:
            continue
        try:
            check_samples(record, name)
            failures += [Failure(sample.id, cast("Any", sample.failure.stage), sample.failure.cause)
                         for sample in record.samples(name) if sample.failure is not None]  # fmt: skip
        except UserError as error:
            notes = [*notes, f"what was scored of {name} is not kept in {SCORES}: {error}"]
            continue
        scores[name] = record.stored_scores.raw["tasks"][name]
        entry = (manifest.get("tasks") or {}).get(name) or {}
        tasks[name] = {**{key: manifest.get(key) for key in OF_A_COMMAND}, **entry}
    return Earlier(list(record.scores.tasks), scores, tasks, failures, commands, notes)


def _read(folder: Path) -> tuple[CellRecord | None, list[str]]:
    """A row's records, or those that were set aside when it failed."""
    for prefix in ("", ASIDE):
        if not (folder / f"{prefix}{SCORES}").is_file():
            continue
        try:
            scores = read_record(folder / f"{prefix}{SCORES}", Scores)
            record = CellRecord(folder, scores, read_record(folder / f"{prefix}{MANIFEST}", Manifest))
            if record.manifest.sha256 is not None and not seal_holds(record.stored_manifest.raw, MANIFEST):
                raise UserError(f"{folder / f'{prefix}{MANIFEST}'} is not as the run wrote it.")
            check_heads(record)
        except UserError as error:
            return None, [f"what other commands scored is not kept in {SCORES}, start them again: {error}"]
        return record, []
    return None, []


def stands(cell: Cell) -> bool:
    """Whether the scores in a row's folder are as good as new: of this very row, asked and read in the same way."""
    record, _ = _read(cell.folder)
    return record is not None and comparable(cell, record)


def comparable(cell: Cell, record: CellRecord) -> bool:
    """Whether a record is of the same checkpoint under the same variant, asked and read in the same way."""
    scores, manifest = record.scores, record.manifest
    before, now = manifest.family, dataclasses.asdict(cell.family)
    return (
        scores.checkpoint.fingerprint == cell.checkpoint.fingerprint
        and scores.variant.fingerprint == cell.variant.fingerprint
        and manifest.context == plain(cell.context)
        and before is not None
        and all(before.get(name) == now.get(name) for name in {*before, *now} - {"name"})
    )


def with_scores(scores: Mapping[str, Any], before: Earlier) -> dict[str, Any]:
    """scores.json with what other commands scored."""
    return {**scores, "tasks": _joined(before, before.scores, scores["tasks"])}


def with_manifest(manifest: Mapping[str, Any], before: Earlier) -> dict[str, Any]:
    """manifest.json with what other commands recorded, and every command that contributed: each once, as last."""
    asked = {**{name: manifest[name] for name in ("command", "written")}, "tasks": list(manifest["tasks"])}
    others = [dict(command) for command in before.commands
              if (command.get("command"), command.get("tasks")) != (asked["command"], asked["tasks"])]  # fmt: skip
    return {**manifest, "commands": [*others, asked], "tasks": _joined(before, before.tasks, manifest["tasks"])}


def _joined(before: Earlier, kept: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Tasks in the order in which they first came: a command that is started again changes nothing."""
    tasks = {**kept, **new}
    return {name: tasks[name] for name in dict.fromkeys([*before.order, *tasks]) if name in tasks}


def drop_aside(folder: Path) -> None:
    """Remove the records that a failed row had set aside, now that they are in the new ones."""
    for name in (SCORES, MANIFEST):
        (folder / f"{ASIDE}{name}").unlink(missing_ok=True)
