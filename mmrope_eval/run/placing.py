"""Where the rows of a command go in a folder that holds others: to their own place, or to a new one beside them.

A folder may be written to by many commands. A row is a checkpoint under a variant; it has one folder, whatever other
rows are asked with it. What lies there of the same checkpoint, asked in the same way, stays and is added to
(`merging`); what would be lost, or mixed with what cannot be compared, is refused here, before anything is asked.

Where questions are asked that have kept answers, it says what of an answer's identity is not what it was.
"""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.files import raw_record
from mmrope_eval.record.schema import MANIFEST, SAMPLES, SCORES, Manifest, Scores
from mmrope_eval.run.cells import FailedRow, Rows
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell, PendingWork
from mmrope_eval.run.manifest import helpers, plain
from mmrope_eval.store.answer_code import AnswerCode, answer_code, what_changed
from mmrope_eval.store.store import ResponseStore
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.registry import TaskSpec
from mmrope_eval.task.sample import Key, keys
from mmrope_eval.util.console import say
from mmrope_eval.util.row_names import checkpoint_name, numbered

PAGE = "docs/same-answer.md"
UNKNOWN = "an earlier version kept them, which did not record what they depend on"
OTHER_QUESTION = "the question, its media, its answer limit or its temperature changed"
NAMED: Mapping[str, str] = {
    "weights": "they are of other checkpoint files",
    "variant": "they are of another definition of the variant",
    "media": "this version prepares pictures and videos in another way",
    "store": "this version keeps answers in another way",
}
"""Parts of a context whose values say nothing to a reader."""


def described_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a store keeps to say later what its answers depend on."""
    return {"context": dict(context), "code": answer_code().record(), "helpers": helpers()}


def moved_helpers(cell: Cell, work: PendingWork, store: ResponseStore) -> list[str]:
    """Sentences where answers are kept that were given with other versions of what decodes media and writes prompts."""
    kept = store.contexts_of({name: work.keys[name].identity for name in work.kept})
    contexts, now = store.contexts() if kept else {}, helpers()
    counts: collections.Counter[str] = collections.Counter()
    for key, n in kept.items():
        before = contexts.get(key, {}).get("helpers")
        moved = [f"{name} is {now.get(name)}, was {was}" for name, was in before.items() if was != now.get(name)
                 ] if isinstance(before, Mapping) else []  # fmt: skip
        if moved:
            counts[", and ".join(moved)] += n
    return [f"{cell.label}: {n} kept answer{'s' if n > 1 else ''} count{'' if n > 1 else 's'} although {why}; --fresh "
            f"asks again; see {PAGE}." for why, n in counts.most_common()]  # fmt: skip


def lost_answers(cell: Cell, plans: Mapping[str, TaskPlan], work: PendingWork, store: ResponseStore,
                 manifest: Mapping[str, Any]) -> list[str]:
    """A sentence where the store lacks answers that an earlier command had when it wrote its scores. A sample with
    another kept outcome is none of these: `explanations` says why that one is not used."""
    missing = 0
    if plain(manifest.get("context")) == plain(cell.context):
        tasks = manifest.get("tasks")
        kept = {*work.kept, *(row[0] for row in store.others({name: key.identity for name, key in work.keys.items()}))}
        for name, plan in plans.items():
            entry = tasks.get(name) if isinstance(tasks, Mapping) else None
            lacking = sum(sample.id not in kept for sample in plan.samples)
            if lacking and isinstance(entry, Mapping) and entry.get("data_fingerprint") == plan.fingerprint():
                missing += lacking
    if not missing:
        return []
    answers, are = ("answer", "is") if missing == 1 else ("answers", "are")
    return [f"{cell.label}: {missing} {answers} that the scores were made of {are} not in responses.sqlite any more "
            "(it was removed, replaced or damaged): asked again."]  # fmt: skip


def explanations(cell: Cell, work: PendingWork, store: ResponseStore, manifest: Mapping[str, Any]) -> list[str]:
    """One sentence for each reason, with the number of kept answers that it puts out of use. `manifest` is what an
    earlier run left, which stores of versions up to 0.3 need to be understood."""
    pending = {sample.id: work.keys[sample.id] for sample in work.pending if sample.id not in work.kept}
    if not pending:
        return []
    rows: dict[str, list[tuple[str, str | None, str | None]]] = collections.defaultdict(list)
    for sample, identity, question, context in store.others({name: key.identity for name, key in pending.items()}):
        rows[sample].append((identity, question, context))
    if not rows:
        return []
    code = answer_code()
    whys = {key: reasons(content, cell.context, code) for key, content in store.contexts().items()}
    earlier = manifest.get("context")
    before = earlier if isinstance(earlier, Mapping) else {}
    old_keys = keys((sample for sample in work.pending if sample.id in rows), before)
    why_old = reasons({"context": before}, cell.context, code)
    counts = collections.Counter(_why(pending[sample], kept, whys, old_keys[sample], why_old)
                                 for sample, kept in rows.items())  # fmt: skip
    return [f"{cell.label}: {n} kept answer{'s are' if n > 1 else ' is'} asked again, as {why}; see {PAGE}."
            for why, n in counts.most_common()]  # fmt: skip


def _why(key: Key, rows: Iterable[tuple[str, str | None, str | None]], reasons_of: Mapping[str, list[str]],
         old_key: Key, why_old: list[str]) -> str:
    """The reason that the nearest of a sample's kept outcomes gives. `old_key` and `why_old` are by the manifest, for
    outcomes that are kept without their context."""
    candidates: list[list[str]] = []
    for identity, question, context in rows:
        if question is None:  # kept by version 0.3 or older
            candidates.append(why_old if identity == old_key.identity else [UNKNOWN])
        elif question == key.question:
            candidates.append(reasons_of.get(context or "") or [UNKNOWN])
        else:
            candidates.append([OTHER_QUESTION])
    nearest: list[str] = min(candidates, key=_distance)
    return ", and ".join(nearest)


def _distance(reasons: list[str]) -> tuple[bool, bool, int, int]:
    return reasons == [UNKNOWN], reasons == [OTHER_QUESTION], len(reasons), len("".join(reasons))


def reasons(before: Mapping[str, Any], context: Mapping[str, Any], code: AnswerCode) -> list[str]:
    """In what a recorded context differs from another one, in words; empty where it does not."""
    old = before.get("context")
    if not isinstance(old, Mapping):
        return [UNKNOWN]
    differences = []
    for name in dict.fromkeys([*context, *old]):
        was, value = old.get(name), context.get(name)
        if plain(was) == plain(value):
            continue
        if name == "versions" and isinstance(was, Mapping) and isinstance(value, Mapping):
            differences += _versions(was, value, before.get("code"), code)
        elif isinstance(was, Mapping) and isinstance(value, Mapping):
            differences += [f"{key} is {value.get(key)}, was {was.get(key)}" for key in dict.fromkeys([*value, *was])
                      if plain(was.get(key)) != plain(value.get(key))]  # fmt: skip
        else:
            differences.append(NAMED.get(name, f"{name} is {value}, was {was}"))
    return differences


def _versions(before: Mapping[str, Any], now: Mapping[str, Any], record: Mapping[str, Any] | None,
              code: AnswerCode) -> list[str]:
    differences = []
    if before.get("mmrope-eval") != now.get("mmrope-eval"):
        where = what_changed(str(before.get("mmrope-eval")), record, code)
        differences.append("other code gave them" + (f" (what differs: {where})" if where else ""))
    packages = [name for name in dict.fromkeys([*now, *before]) if name != "mmrope-eval"]
    return differences + [f"{name} is {now.get(name)}, was {before.get(name)}" for name in packages
                          if before.get(name) != now.get(name)]  # fmt: skip


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
    label: str
    """As its run called it; "" where it has no scores."""

    @property
    def named(self) -> str:
        """The variant's name."""
        return str(self.variant.get("name") or (self.variant.get("definition") or {}).get("name"))

    @property
    def fingerprints(self) -> tuple[Any, Any]:
        """The checkpoint's and the variant's."""
        return self.checkpoint.get("fingerprint"), self.variant.get("fingerprint")

    def is_of(self, cell: Cell) -> bool:
        """Whether it holds the very checkpoint and variant."""
        return self.fingerprints == (cell.checkpoint.fingerprint, cell.variant.fingerprint)

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
    manifest, scores = raw_record(folder / MANIFEST, Manifest), raw_record(folder / SCORES, Scores)
    records = [record for record in (manifest, scores) if record.get("checkpoint") and record.get("variant")]
    if not records:
        return None
    tasks = scores.get("tasks") or {}
    return Row(folder, records[0]["checkpoint"], {**records[-1]["variant"], **records[0]["variant"]}, manifest,
               {name: int(entry["n"]) for name, entry in tasks.items()}, scores.get("label") or "")  # fmt: skip


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
