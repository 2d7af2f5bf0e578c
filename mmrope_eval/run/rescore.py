"""`mmrope-eval rescore`: stored runs scored anew, without an engine and without asking anything again.

A response is taken only for the very question it was given to: the manifest keeps what a response's identity was made
of, and the question is planned again from the data set. Strict scoring ends in the same code as `run` and writes the
same files; `--scorer stock` or `vlmevalkit` puts lmms-eval's or VLMEvalKit's own number beside ours and leaves the
run's scores alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from mmrope_eval.data.choice_of_rows import recorded_limit
from mmrope_eval.errors import UserError
from mmrope_eval.record.cell import CellRecord, check_samples, read_head
from mmrope_eval.record.files import write_manifest
from mmrope_eval.record.schema import MANIFEST, STORE
from mmrope_eval.run import outcome, results, side_by_side
from mmrope_eval.run.answer_limits import with_limits, with_temperature
from mmrope_eval.run.manifest import task_counts
from mmrope_eval.run.options import RescoreOptions
from mmrope_eval.run.outcome import Outcomes
from mmrope_eval.run.side_by_side import Second
from mmrope_eval.store.lock import read_lock, run_lock
from mmrope_eval.store.store import ResponseStore
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Family, Registry, open_registry
from mmrope_eval.task.sample import keys
from mmrope_eval.util.config import sentence
from mmrope_eval.util.console import say
from mmrope_eval.util.row_names import RecordedRow, recorded_labels

NEEDED_AGAIN = "run the same command once more, which asks nothing again and writes it"


@dataclass(frozen=True)
class StoredRun:
    """One row of a result as it lies on disk."""

    cell: CellRecord
    label: str
    """What the row is called."""
    tasks_dirs: tuple[Path, ...] = ()
    """Where files of tasks are that have moved since."""

    @property
    def folder(self) -> Path:
        """The folder that the row lies in."""
        return self.cell.folder

    @property
    def manifest(self) -> Mapping[str, Any]:
        """manifest.json, with what this version does not know."""
        return self.cell.stored_manifest.raw

    @property
    def scores(self) -> Mapping[str, Any]:
        """scores.json, with what this version does not know."""
        return self.cell.stored_scores.raw

    @property
    def family(self) -> Family:
        """How the checkpoint was asked. UserError where the manifest does not say all of it."""
        try:
            return TypeAdapter(Family).validate_json(json.dumps(self.cell.manifest.family), strict=True)
        except ValidationError as error:
            raise UserError(f"{self.folder / MANIFEST}: family is not what it should be ({sentence(error)}); "
                            f"{NEEDED_AGAIN}.") from error

    def asked_otherwise(self, setting: Literal["max_tokens", "temperature"]) -> dict[str, Any]:
        """A setting of the run's answers by task, where it was not the task's own."""
        tasks = self.cell.manifest.tasks or {}
        values = {name: getattr(task.generation, setting, None) for name, task in tasks.items()}
        return {name: value for name, value in values.items()
                if value is not None and getattr(tasks[name], f"own_{setting}") not in (None, value)}


def main(args: RescoreOptions) -> int:
    """The command: exit code 0, 1 when samples had failed or the other harness' scoring failed."""
    second = side_by_side.second_of(args.scorer)
    stored_runs = find_runs(args.run, apart=args.output is not None)
    runs = [replace(run, tasks_dirs=tuple(args.tasks_dir)) for run in stored_runs]
    data_root = args.data_root
    # New files go to the runs' own folders, or to their places below the output.
    targets = {run.folder: run.folder if args.output is None else args.output / run.folder.relative_to(args.run)
               for run in runs}  # fmt: skip
    for place in targets.values() if args.output else ():
        outcome.require_places(place)
    with run_lock(args.output or args.run), read_lock(args.run) if args.output else nullcontext():
        if second is not None:
            return compare_runs(second, runs, data_root, targets)
        return rescore_runs(runs, data_root, targets)


def find_runs(folder: Path, *, apart: bool = False) -> list[StoredRun]:
    """The run in a folder, or the runs in its subfolders. UserError when there is none, or one cannot be read."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the --output of a run.")
    folders = sorted(path.parent for path in folder.glob(f"**/{STORE}"))
    if not folders:
        raise UserError(f"{folder} holds no {STORE}; name the --output of a run.")
    runs = [read_run(path, apart=apart) for path in folders]
    labels = recorded_labels([recorded_row(run.cell) for run in runs], folder)
    return [replace(run, label=label) for run, label in zip(runs, labels, strict=True)]


def recorded_row(cell: CellRecord) -> RecordedRow:
    """What a row's name is made of."""
    return RecordedRow(cell.folder, cell.scores.variant.name, cell.scores.label)


def read_run(folder: Path, *, apart: bool = False) -> StoredRun:
    """A finished run's records. UserError when one is missing, damaged, or of a version without what is needed, and
    when its samples do not fit its scores: what they were is not overwritten. `apart`: the new ones go elsewhere. Then
    samples that do not fit are only said, as the stored answers are enough."""
    cell = read_head(folder)
    manifest = cell.stored_manifest.raw
    if any(manifest.get(name) is None for name in ("context", "seed", "family", "tasks")):
        raise UserError(f"{folder / MANIFEST} does not say what its responses depend on; {NEEDED_AGAIN}.")
    try:
        for task in cell.scores.tasks:
            check_samples(cell, task)
    except UserError as error:
        if not apart:
            raise
        say(f"mmrope-eval: {error} The new ones are made from the stored answers alone.", file=sys.stderr)
    (label,) = recorded_labels([recorded_row(cell)], folder)
    return StoredRun(cell, label)


def plans_of(run: StoredRun, data_root: Path | None) -> Mapping[str, TaskPlan]:
    """The questions of a run, planned again. UserError when a task or its data are gone."""
    plans: dict[str, TaskPlan] = {}
    registry = registry_of(run)
    for (recorded, limit, seed), names in commands_of(run).items():
        root = data_root or (Path(recorded) if recorded is not None else None)
        if root is not None and not root.is_dir():
            raise UserError(f"The data of {run.folder} lay in {root}, which is not a folder; name it with --data-root.")
        family_plans = Plans(registry.select(names), root, recorded_limit(limit), seed).of(run.family)
        plans |= with_temperature(family_plans, run.asked_otherwise("temperature"), seed)
    asked = {name: plans[name] for name in run.manifest["tasks"] if name in plans}
    return with_limits(asked, run.asked_otherwise("max_tokens"))


def commands_of(run: StoredRun) -> dict[tuple[Any, Any, Any], list[str]]:
    """The tasks of a run by data root, limit and seed: each task's own, or the run's, where all had one command."""
    tasks: dict[tuple[Any, Any, Any], list[str]] = {}
    for name, task in run.manifest["tasks"].items():
        entry = {**run.manifest, **task}
        tasks.setdefault((entry.get("data_root"), entry.get("limit"), entry["seed"]), []).append(name)
    return tasks


def registry_of(run: StoredRun) -> Registry:
    """The tasks as they are now, with the files of one's own that the run recorded, or those in its `tasks_dirs`. A
    file that changed since is named on stderr: its target and average count as they are now. UserError for one that is
    gone."""
    files = {name: task.file for name, task in (run.cell.manifest.tasks or {}).items() if task.file is not None}
    moved = open_registry(folders=run.tasks_dirs)
    paths = [file.path for name, file in files.items() if name not in moved.tasks]
    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"{run.folder}: the task file {path} is gone; name the folder that it is in now with "
                            "--tasks-dir.")  # fmt: skip
    registry = open_registry(paths, run.tasks_dirs)
    for name, file in files.items():
        spec = registry.tasks.get(name)
        if spec is None:
            raise UserError(f"{run.folder}: {file.path} is no longer the file of a task '{name}'; name the folder "
                            "of the file that is with --tasks-dir.")  # fmt: skip
        if spec.fingerprint() != file.sha256:
            say(f"mmrope-eval: {run.folder}: the task file {spec.path} has changed since the run; answers to "
                "questions that are the same are scored as it says now.", file=sys.stderr)  # fmt: skip
    return registry


def stored_outcomes(run: StoredRun, plans: Mapping[str, TaskPlan]) -> Outcomes:
    """The run's outcome of every planned sample. UserError when a question is not the one that was asked."""
    context = run.manifest["context"]
    keys_of_samples = keys((sample for plan in plans.values() for sample in plan.samples), context)
    with ResponseStore(run.folder / STORE, read_only=True) as store:
        for note in store.notes:
            say(f"mmrope-eval: {note}", file=sys.stderr)
        kept = store.get((key.identity, sample) for sample, key in keys_of_samples.items())
    for name, plan in plans.items():
        lost = [sample.id for sample in plan.samples if sample.id not in kept]
        if lost:
            raise UserError(f"{run.folder} holds no response to {len(lost)} of the {len(plan.samples)} questions of "
                            f"{name} as they are asked now (the first is {lost[0]}): the task file or the data changed "
                            "since; point --data-root at the data of the run, or run it again.")
    return kept


def rescore_runs(runs: Sequence[StoredRun], data_root: Path | None, targets: Mapping[Path, Path]) -> int:
    """Score every run and write its files; prints the table."""
    rows: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        plans = plans_of(run, data_root)
        folder = targets[run.folder]
        with outcome.settled(), ExitStack() as staging:
            entry, failures = outcome.make_samples(staging, folder, plans, stored_outcomes(run, plans))
            anew = {**run.scores, "tasks": entry}
            outcome.write_cell(staging, folder, anew, failures)
        tasks = {name: {**run.manifest["tasks"][name], **task_counts(entry[name])} for name in plans}
        write_manifest(folder, {**run.manifest, "tasks": tasks}, anew)
        rows[run.label] = entry
        say(f"{run.folder}: {changes(run.scores['tasks'], entry)}; wrote {folder}/scores.json", file=sys.stderr)
    say(results.table(rows))
    for line in results.remarks(rows):
        say(line)
    return 1 if any(task["n_failed"] for tasks in rows.values() for task in tasks.values()) else 0


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """One clause on what rescoring changed."""
    changed = [name for name in after if before.get(name, {}).get("metrics") != after[name]["metrics"]]
    return f"{len(changed)} of {len(after)} tasks changed ({', '.join(changed)})" if changed else "nothing changed"


def compare_runs(second: Second, runs: Sequence[StoredRun], data_root: Path | None,
                 targets: Mapping[Path, Path]) -> int:
    """Print and write the other harness' numbers beside ours; 1 when its scoring failed on a task."""
    code = 0
    for run in runs:
        plans = plans_of(run, data_root)
        outcomes = stored_outcomes(run, plans)
        comparisons = []
        for plan in plans.values():
            scored = list(results.scores(plan, outcomes))
            comparisons.append(side_by_side.compare_task(second, plan, scored, results.summarize(plan, scored)))
        side_by_side.write(targets[run.folder], second, comparisons)
        say(f"\n{run.label}: ours and {second.title}'s, from the same responses")
        say(side_by_side.table(second, comparisons))
        say(f"samples that differ: {targets[run.folder]}/samples_{second.key}")
        code = max(code, int(any(comparison.broken for comparison in comparisons)))
    return code
