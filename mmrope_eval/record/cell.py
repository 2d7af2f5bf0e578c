"""One cell of a run: scores.json, manifest.json and samples/, which must fit each other.

Read here by every command that shows or compares scores, and by `rescore`. What is checked: types, ranges and finite
numbers (`schema`); the seal; that both records are of one checkpoint, variant and set of questions; and that the
samples of every task are those that its scores were made of: as many, each once, with the counts, the values, the
errors and the groups that the average named by the record makes of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.aggregate import AGGREGATES, Item, Summary
from mmrope_eval.record.read import AGAIN, ANEW, Stored, read_bytes, read_lines, read_record, read_sample, samples_path
from mmrope_eval.record.schema import MANIFEST, SAMPLES, SCORES, Manifest, SampleLine, Scores, TaskScores
from mmrope_eval.record.seal import seal_holds, sum_of
from mmrope_eval.words import shortened, visible

ROUNDING: Final = 1e-6
"""Points by which a score may differ from its samples': files hold nine decimals."""
REPEATED: Final = ("n", "n_failed", "n_truncated", "n_unparsed", "data_fingerprint", "prompt_hash", "scorer_version",
                   "task_version")  # fmt: skip
"""What manifest.json repeats of a task's entry in scores.json."""


@dataclass(frozen=True)
class CellRecord:
    """A cell's two records; its samples are read from disk when they are asked for."""

    folder: Path
    stored_scores: Stored[Scores] = field(repr=False)
    stored_manifest: Stored[Manifest] = field(repr=False)
    errors: Mapping[str, float] = field(default_factory=dict, repr=False)
    """The clustered standard error of each task's score, 0 to 100, from its samples, whatever scores.json says; not a
    number where there is none. Empty while the samples are unread."""

    @property
    def scores(self) -> Scores:
        """scores.json."""
        return self.stored_scores.record

    @property
    def manifest(self) -> Manifest:
        """manifest.json."""
        return self.stored_manifest.record

    def samples(self, task: str) -> Iterator[SampleLine]:
        """A task's samples in the order of the file. UserError where one is damaged."""
        path = samples_path(self.folder, task)
        for number, line in enumerate(read_lines(path), 1):
            if line.strip():
                yield read_sample(path, number, line)


def read_cell(folder: Path) -> CellRecord:
    """A cell's records, checked, its samples too. UserError in one sentence where something is wrong."""
    cell = read_head(folder)
    return replace(cell, errors={task: check_samples(cell, task) for task in cell.scores.tasks})


def read_head(folder: Path) -> CellRecord:
    """A cell's records, its samples unread. UserError when they are missing, damaged or do not fit each other."""
    scores = read_record(folder / SCORES, Scores)
    cell = CellRecord(folder, scores, read_record(folder / MANIFEST, Manifest))
    check_heads(cell)
    check_seal(cell)
    return cell


def check_heads(cell: CellRecord) -> None:
    """UserError where the two records are of different runs."""
    scores, manifest = cell.scores, cell.manifest
    family, variant, checkpoint = manifest.family or {}, manifest.variant, manifest.checkpoint
    definition = (variant.definition if variant else None) or {}
    pairs = [("variant.fingerprint", scores.variant.fingerprint, variant and variant.fingerprint),
             ("variant.name", scores.variant.name, visible(str(definition.get("name", scores.variant.name)))),
             ("checkpoint.fingerprint", scores.checkpoint.fingerprint, checkpoint and checkpoint.fingerprint),
             ("coordinates", scores.coordinates, family.get("coordinates")),
             ("prompts", scores.prompts, family.get("prompts")),
             ("system", scores.system, family.get("system"))]
    for task, entry in scores.tasks.items():
        told = (manifest.tasks or {}).get(task)
        pairs += [(f"tasks.{task}.{name}", getattr(entry, name), getattr(told, name, None)) for name in REPEATED]
    for name, one, other in pairs:
        if one is not None and other is not None and one != other:
            raise UserError(f"{cell.folder / SCORES} and {cell.folder / MANIFEST} are not of the same run ({name} "
                            f"differs); {AGAIN}.")


def check_seal(cell: CellRecord) -> None:
    """UserError where a record is not as the run wrote it; records without a seal pass."""
    sums = cell.manifest.sha256
    if sums is None:
        return
    if not seal_holds(cell.stored_manifest.raw, MANIFEST):
        raise changed(cell.folder / MANIFEST, AGAIN)
    if sums.get(SCORES) != sum_of([read_bytes(cell.folder / SCORES)]):
        raise changed(cell.folder / SCORES, AGAIN)


def changed(path: Path, remedy: str) -> UserError:
    """The sentence on a file that the seal does not fit."""
    return UserError(f"{path} is not as the run wrote it (its sha256 is not the one in {MANIFEST}); {remedy}.")


# --------------------------------------------------------------------------------------------------------------


def check_samples(cell: CellRecord, task: str) -> float:
    """The clustered standard error of a task's score, 0 to 100. UserError where its samples are not those that its
    scores were made of."""
    path = samples_path(cell.folder, task)
    found = hashlib.sha256()
    tally = Tally(cell.scores.tasks[task])
    for number, line in enumerate(read_lines(path), 1):
        found.update(line)
        if line.strip():
            tally.add(read_sample(path, number, line), f"{path} line {number}")
    for name, recorded, counted in tally.differences(f"{cell.folder / SCORES}, {task}"):
        raise UserError(f"{cell.folder / SCORES} and {path} do not fit: {task}.{name} is {recorded}, and the samples "
                        f"give {counted}; {ANEW}.")
    sums = cell.manifest.sha256
    if sums is not None and sums.get(f"{SAMPLES}/{task}.jsonl") != found.hexdigest():
        raise changed(path, ANEW)
    return 100 * tally.clustered_error()


class Tally:
    """The samples of a task as they are read, and what they come to."""

    def __init__(self, entry: TaskScores) -> None:
        self.entry = entry
        self.ids: set[str] = set()
        self.items: dict[str, list[Item]] = {name: [] for name in entry.metrics}
        self.failed = self.truncated = self.unparsed = 0

    def add(self, sample: SampleLine, where: str) -> None:
        """One more sample. UserError where it came already, or lacks a metric."""
        if sample.id in self.ids:
            raise UserError(f"{where} is a second line of the sample '{shortened(sample.id, 60)}'; {ANEW}.")
        self.ids.add(sample.id)
        for name, items in self.items.items():
            if name not in sample.scores:
                raise UserError(f"{where} has no score '{name}', which {SCORES} has; {ANEW}.")
            items.append(Item.of(sample.scores[name], sample.target, sample.together))
        failed = sample.failure is not None
        self.failed += failed
        self.truncated += sample.truncated
        self.unparsed += not failed and sample.parsed is None

    def differences(self, where: str) -> Iterator[tuple[str, str, str]]:
        """(field, recorded, counted) for everything that differs. UserError for an average that is unknown here."""
        entry = self.entry
        counts = {"n": (entry.n, len(self.ids)), "n_failed": (entry.n_failed, self.failed),
                  "n_truncated": (entry.n_truncated, self.truncated),
                  "n_unparsed": (entry.n_unparsed, self.unparsed)}
        yield from ((name, f"{recorded:,}", f"{counted:,}") for name, (recorded, counted) in counts.items()
                    if recorded is not None and recorded != counted)
        average = AGGREGATES.get(entry.average or "micro")
        if average is None:
            raise UserError(f"{where}: the average '{entry.average}' is unknown here; use the mmrope-eval that wrote "
                            "the run.")
        for metric, items in self.items.items():
            made = average(items if entry.stderr_over else [replace(one, cluster=None) for one in items])
            value = entry.metrics[metric]
            yield from differing(f"metrics.{metric}", {"value": value.value, "stderr": value.stderr, "n": value.n},
                                 {"value": made.value, "stderr": made.stderr, "n": made.n})
            if metric == entry.main:
                yield from self.groups(made)

    def clustered_error(self) -> float:
        """Of the main metric, 0 to 1."""
        return AGGREGATES[self.entry.average or "micro"](self.items[self.entry.main]).stderr

    def groups(self, made: Summary) -> Iterator[tuple[str, str, str]]:
        """The groups of the main metric that differ; those that only one side has are another version's."""
        for name, part in made.groups.items():
            recorded = self.entry.groups.get(name)
            if recorded is not None:
                yield from differing(f"groups.{name}", {"value": recorded.value, "n": recorded.n},
                                     {"value": part.value, "n": part.n})


def differing(name: str, recorded: Mapping[str, Any], made: Mapping[str, float]) -> Iterable[tuple[str, str, str]]:
    """(field, recorded, counted) where a recorded number, 0 to 100, is not the one made, 0 to 1, but for rounding."""
    for key, told in recorded.items():
        found = made[key] if key == "n" else 100 * made[key]
        known = not math.isnan(found)
        if (told is not None) != known or (known and abs(told - found) > ROUNDING):
            yield f"{name}.{key}", "unknown" if told is None else f"{told:.9g}", f"{found:.9g}" if known else "none"
