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
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.aggregate import AGGREGATES, Item, Summary
from mmrope_eval.record.files import AGAIN, ANEW, Stored, read_record, read_samples, samples_path, seal_holds
from mmrope_eval.record.schema import (
    MANIFEST,
    SAMPLES,
    SCORES,
    STDERR_OVER,
    Manifest,
    SampleLine,
    Scores,
    TaskScores,
)  # fmt: skip
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

    @cached_property
    def scores(self) -> Scores:
        """scores.json."""
        return self.stored_scores.record

    @cached_property
    def manifest(self) -> Manifest:
        """manifest.json."""
        return self.stored_manifest.record

    def samples(self, task: str) -> Iterator[SampleLine]:
        """A task's samples in the order of the file. UserError where one is damaged."""
        return (sample for _, sample in read_samples(samples_path(self.folder, task)))


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
        repeated = (manifest.tasks or {}).get(task)
        pairs += [(f"tasks.{task}.{name}", getattr(entry, name), getattr(repeated, name, None)) for name in REPEATED]
    for name, scored, other in pairs:
        if scored is not None and other is not None and scored != other:
            raise UserError(f"{cell.folder / SCORES} and {cell.folder / MANIFEST} are not of the same run ({name} "
                            f"differs); {AGAIN}.")


def check_seal(cell: CellRecord) -> None:
    """UserError where a record is not as the run wrote it; records without a seal pass."""
    sums = cell.manifest.sha256
    if sums is None:
        return
    if not seal_holds(cell.stored_manifest.raw, MANIFEST):
        raise changed(cell.folder / MANIFEST, AGAIN)
    if sums.get(SCORES) != cell.stored_scores.sum:
        raise changed(cell.folder / SCORES, AGAIN)


def changed(path: Path, remedy: str) -> UserError:
    """The sentence on a file that the seal does not fit."""
    return UserError(f"{path} is not as the run wrote it (its sha256 is not the one in {MANIFEST}); {remedy}.")


# --------------------------------------------------------------------------------------------------------------


def check_samples(cell: CellRecord, task: str) -> float:
    """The clustered standard error of a task's score, 0 to 100. UserError where its samples are not those that its
    scores were made of."""
    path = samples_path(cell.folder, task)
    digest = hashlib.sha256()
    tally = Tally(cell.scores.tasks[task])
    for number, sample in read_samples(path, digest.update):
        tally.add(sample, f"{path} line {number}")
    for name, recorded, counted in tally.differences(f"{cell.folder / SCORES}, {task}"):
        raise UserError(f"{cell.folder / SCORES} and {path} do not fit: {task}.{name} is {recorded}, and the samples "
                        f"give {counted}; {ANEW}.")
    sums = cell.manifest.sha256
    if sums is not None and sums.get(f"{SAMPLES}/{task}.jsonl") != digest.hexdigest():
        raise changed(path, ANEW)
    return 100 * tally.summaries[tally.entry.main].stderr


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
        cluster = sample.together
        for name, items in self.items.items():
            if name not in sample.scores:
                raise UserError(f"{where} has no score '{name}', which {SCORES} has; {ANEW}.")
            items.append(Item.of(sample.scores[name], sample.target, cluster))
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
        if (entry.average or "micro") not in AGGREGATES:
            raise UserError(f"{where}: the average '{entry.average}' is unknown here; use the mmrope-eval that wrote "
                            "the run.")
        for metric, summary in self.summaries.items():
            value = entry.metrics[metric]
            recorded = {"value": value.value, "n": value.n}
            if entry.stderr_over == STDERR_OVER:  # others are as earlier versions had them
                recorded["stderr"] = value.stderr
            yield from differing(f"metrics.{metric}", recorded,
                                 {"value": summary.value, "stderr": summary.stderr, "n": summary.n})
            if metric == entry.main:
                yield from self.groups(summary)

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """By metric, what the average of the task makes of its items; once all samples are added."""
        average = AGGREGATES[self.entry.average or "micro"]
        return {metric: average(items) for metric, items in self.items.items()}

    def groups(self, summary: Summary) -> Iterator[tuple[str, str, str]]:
        """The groups of the main metric that differ; those that only one side has are another version's."""
        for name, part in summary.groups.items():
            recorded = self.entry.groups.get(name)
            if recorded is not None:
                yield from differing(f"groups.{name}", {"value": recorded.value, "n": recorded.n},
                                     {"value": part.value, "n": part.n})


def differing(name: str, recorded: Mapping[str, Any], made: Mapping[str, float]) -> Iterable[tuple[str, str, str]]:
    """(field, recorded, counted) where a recorded number, 0 to 100, is not the one made, 0 to 1, but for rounding."""
    for key, number in recorded.items():
        counted = made[key] if key == "n" else 100 * made[key]
        is_known = not math.isnan(counted)
        if (number is not None) != is_known or (is_known and abs(number - counted) > ROUNDING):
            was = "unknown" if number is None else f"{number:.9g}"
            yield f"{name}.{key}", was, f"{counted:.9g}" if is_known else "none"
