"""`mmrope-eval run`: plan, ask, score. Starting the same command again continues where the last one stopped."""

from __future__ import annotations

import argparse
import collections
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mmrope_eval.console import say
from mmrope_eval.engine.media_policy import MediaPolicy, largest_item
from mmrope_eval.engine.types import Failure
from mmrope_eval.errors import kind
from mmrope_eval.models.variant_choice import video_time
from mmrope_eval.record.schema import FAILED_ROW, MANIFEST, STORE
from mmrope_eval.record.write import write_json, write_manifest
from mmrope_eval.suite import engines, held_to, merging, outcome, results, side_by_side
from mmrope_eval.suite.answer_limits import Room, described, given_limits, row_limits, warnings, with_limits
from mmrope_eval.suite.asked_again import described_context
from mmrope_eval.suite.asking import Asking
from mmrope_eval.suite.cells import FailedRow, make_cells
from mmrope_eval.suite.datacheck import check_before_run
from mmrope_eval.suite.errorlog import ErrorLog
from mmrope_eval.suite.execute import (
    Cell,
    EngineHolder,
    RowError,
    StartEngine,
    Timings,
    TooManyFailuresError,
)
from mmrope_eval.suite.kept import Kept, begin, end
from mmrope_eval.suite.lock import run_lock
from mmrope_eval.suite.manifest import manifest, scores_file
from mmrope_eval.suite.options import RunConfig, config_from_args
from mmrope_eval.suite.placing import place, refuse_fewer, sizes
from mmrope_eval.suite.plan import TaskPlan
from mmrope_eval.suite.plans import Plans
from mmrope_eval.suite.progress import Progress
from mmrope_eval.suite.registry import TaskSpec, open_registry
from mmrope_eval.suite.rescore import compare_runs, read_run
from mmrope_eval.suite.runlog import run_log
from mmrope_eval.suite.staging import Staging
from mmrope_eval.suite.store import ResponseStore
from mmrope_eval.words import visible

if TYPE_CHECKING:
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant

SHOWN_CAUSES = 3


@dataclass(frozen=True)
class RunResult:
    """Scores by row label (the `tasks` of each scores.json), and whether all samples got an answer."""

    rows: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, Path]
    failed: int
    asked: int
    broken: Mapping[str, str] = field(default_factory=dict)
    """Rows that could not be evaluated at all, each with its cause."""
    failed_tasks: Mapping[str, str] = field(default_factory=dict)
    """Tasks whose rows could not be read, each with its cause."""
    notes: tuple[str, ...] = ()
    """What a reader of the scores must know of how the rows were made."""


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples or whole rows failed."""
    second = side_by_side.second_of(args.scorer)
    try:
        result = run(config_from_args(args))
    except TooManyFailuresError as stop:
        say(
            f"mmrope-eval: stopped: {stop} The same command continues; failed samples are tried twice in all.",
            file=sys.stderr,
        )
        return 1
    report(result)
    code = 1 if result.failed or result.broken or result.failed_tasks else 0
    if second is not None:
        folders = [folder for label, folder in result.folders.items() if label in result.rows]
        runs = [read_run(folder) for folder in folders]
        code = max(code, compare_runs(second, runs, args.data_root, {folder: folder for folder in folders}))
    return code


def report(result: RunResult) -> None:
    """Print the table, what must be known about it, and where the files are."""
    say()
    if result.rows:
        shown = {label: result.rows.get(label, {}) for label in result.folders}
        say(
            results.table(
                {f"{label} (failed)" if label in result.broken else label: row for label, row in shown.items()}
            )
        )
    for label, cause in result.broken.items():
        say(f"{label} failed: {visible(cause)}")
    for task, cause in result.failed_tasks.items():
        say(f"{task} was not asked: {visible(cause)}")
    finished = [folder for label, folder in result.folders.items() if label in result.rows]
    for line in (
        *results.remarks(result.rows),
        *(cause for folder in finished for cause in causes(folder)),
        *result.notes,
    ):
        say(line)
    say()
    say(f"{'scores.json, samples/, responses.sqlite and manifest.json' if finished else FAILED_ROW}: "
        f"{where(finished or list(result.folders.values()))}")  # fmt: skip


def where(folders: Sequence[Path]) -> str:
    """The folders of rows in a few words."""
    parents = {folder.parent for folder in folders}
    if len(folders) > 1 and len(parents) == 1:
        return str(folders[0].parent / "ROW")
    return ", ".join(map(str, folders))


def causes(folder: Path) -> list[str]:
    """The most frequent causes of a row's failures, each with its number and the first sample it befell."""
    path = folder / "failures.jsonl"
    first: dict[str, str] = {}
    counts: collections.Counter[str] = collections.Counter()
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        failure = json.loads(line)
        cause = visible(without_path(failure["cause"]))
        counts[kind(cause)] += 1
        first.setdefault(kind(cause), f"{visible(failure['id'])}: {cause}")
    shown = [f"  {n} x {first[same]}" for same, n in counts.most_common(SHOWN_CAUSES)]
    return [*shown, f"  all {counts.total()} in {path}"] if shown else []


def without_path(cause: str) -> str:
    """A cause without the file that it begins with, so that one fault of many files is one line."""
    return cause.partition(": ")[2] or cause if cause.startswith("/") else cause


def run(config: RunConfig, start_engine: StartEngine | None = None) -> RunResult:
    """Evaluate every checkpoint under every variant on every task. UserError for bad input, before anything starts.

    A checkpoint that cannot be evaluated is a failed row, and the others go on. `start_engine` replaces the live engine
    in tests.
    """
    registry = open_registry(config.tasks, config.tasks_dirs)
    specs = registry.select(config.tasks)
    given = given_limits(config.answer_limits, specs, registry)
    rows = make_cells(config, registry)
    limits = [cell_limits(config, cell, specs, given) for cell in rows.cells]
    room = max(largest_item(cell.policy, cell.checkpoint.geometry) for cell in rows.cells)
    config = replace(config, options=replace(config.options, room=room))
    entries: dict[str, Mapping[str, Any]] = {}
    broken: dict[str, str] = {}
    failed = asked = 0
    with (
        run_lock(config.output),
        run_log(config.output, config.command) as log,
        EngineHolder(start_engine or _starter(logged(config, log))) as holder,
    ):
        errors = ErrorLog(config.output)
        rows = place(config, rows, specs)
        for folder in rows.folders.values():
            outcome.require_places(folder)
        for row in rows.failed:
            outcome.write_failures(row.folder, [])
            broken[row.label] = _failed(row)
        plans = Plans(specs, config.data_root, config.limit, config.seed)
        for number, (cell, (own, remarks)) in enumerate(zip(rows.cells, limits, strict=True), 1):
            say(f"[{number}/{len(rows.cells)}] {cell.label}: {announcement(cell)}", file=sys.stderr)
            for remark in (*remarks, *warnings(cell.thinking, specs, given)):
                say(f"{cell.label}: {remark}", file=sys.stderr)
            try:
                planned = with_limits(plans.of(cell.family), own)
                for task, cause in plans.failed.items():
                    say(f"{cell.label}: {task} is not asked: {cause}", file=sys.stderr)
                entry, bad, new = run_cell(config, cell, planned, holder, errors, plans.failed)
            except RowError as error:
                holder.close()
                row = FailedRow(cell.label, cell.folder, str(error))
                broken[cell.label] = _failed(row, error, keep=merging.stands(cell))
                continue
            entries[cell.label] = entry
            failed, asked = failed + bad, asked + new
    said = [held_to.remark(config, cell, specs, own) for cell, (own, _) in zip(rows.cells, limits, strict=True)]
    return RunResult(entries, rows.folders, failed, asked, broken, plans.failed, notes(rows.cells, said))


def announcement(cell: Cell) -> str:
    """The variant of a row and how it was chosen, in one line."""
    text = f"variant {cell.variant.name} ({cell.chosen.how})"
    if cell.chosen.assumed:
        text += (
            f": nothing in config.json names one, so it is taken for stock {cell.checkpoint.family.title}; if it was "
            "trained otherwise, say --variant"
        )
    time = video_time(cell.variant, cell.checkpoint.tokens_per_second)
    frames = f"frames {time}" if time else None
    return "; ".join(filter(None, [text, frames, described(cell.thinking), *cell.checkpoint.remarks]))


def cell_limits(
    config: RunConfig, cell: Cell, specs: Sequence[TaskSpec], given: Mapping[str, int]
) -> tuple[dict[str, int], list[str]]:
    """A row's answer limits that are not the tasks' own, and remarks. UserError where its context has no room."""
    room = Room.of(cell, config.options.max_model_len)
    room.check(cell.thinking, given)
    limits = row_limits(cell.thinking, specs, given, room.thinking)
    protocol = held_to.remark(config, cell, specs, limits)
    return limits, [*([protocol] if protocol else []), *room.remarks(cell.thinking, given)]


def notes(cells: Sequence[Cell], protocols: Sequence[str | None]) -> tuple[str, ...]:
    """One line on the rows whose variant nobody named, and one on every protocol, with its departures."""
    assumed = [f"{cell.label}: {cell.variant.name}" for cell in cells if cell.chosen.assumed]
    text = f"variant assumed from the model type, as no config.json names one ({', '.join(assumed)})"
    under: dict[str, list[str]] = {}
    for cell, said in zip(cells, protocols, strict=True):
        if said is not None:
            under.setdefault(said, []).append(cell.label)
    lines = [said if len(under) == 1 else f"{said} ({', '.join(labels)})" for said, labels in under.items()]
    return (*((text,) if assumed else ()), *lines)


def _failed(row: FailedRow, error: BaseException | None = None, *, keep: bool = False) -> str:
    """Write and print what befell a row; its cause. `keep`: the scores in its folder are its own."""
    outcome.write_failed_row(row.folder, row.cause, error, keep=keep)
    say(f"{row.label} failed: {visible(row.cause)}", file=sys.stderr)
    return row.cause


def run_cell(
    config: RunConfig,
    cell: Cell,
    plans: Mapping[str, TaskPlan],
    holder: EngineHolder,
    errors: ErrorLog,
    failed_tasks: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Mapping[str, Any], int, int]:
    """Ask what is missing, then score and write one cell: its scores by task, failed samples, samples asked now.

    `failed_tasks`, whose rows could not be read, are recorded with their causes. Of a row that cannot or should not be
    finished (`RowError`, `TooManyFailuresError`) the failures are written and the most frequent causes printed.
    """
    timings = Timings()
    outcome.require_places(cell.folder)
    asked_of = {name: len(plan.samples) for name, plan in plans.items()}
    refuse_fewer(cell.folder, sizes(cell.folder), asked_of, "this command")
    claim(config, cell)
    with ResponseStore(cell.folder / STORE) as store:
        work = begin(config, cell, plans, store)
        done = len(work.keys) - len(work.pending)
        progress = Progress(cell.label, len(work.keys), done)
        context = store.describe(described_context(cell.context)) if work.pending else ""
        asking = Asking(cell, plans, store, work, progress, config.max_failures, timings, errors, context)
        final = sum(known.failed and known.final for known in work.kept.values())
        with failures_written(asking):
            config.max_failures.check(final, len(work.keys))  # known before an engine starts
            if work.pending:
                asked = {sample.task for sample in work.pending}
                for sentence in check_before_run(plan for name, plan in plans.items() if name in asked):
                    say(sentence, file=sys.stderr)
                with progress:
                    asking.run(holder)
        with Staging() as staging:
            made = outcome.make_samples(staging, cell.folder, plans, Kept(store, work.keys))
            store.require_place()
            before = merging.earlier(cell, plans)
            scores = merging.with_scores(scores_file(cell, made.tasks, failed_tasks), before)
            outcome.write_cell(staging, cell.folder, scores, [*before.failures, *made.failures])
        record = manifest(config, cell, plans, made.tasks, timings)
        write_manifest(cell.folder, merging.with_manifest(record, before), scores)
        end(cell, work, store, before)
    return made.tasks, len(made.failures), len(work.pending)


def claim(config: RunConfig, cell: Cell) -> None:
    """Say in a new row's folder whose it is, so that another row's command leaves it alone if this one is stopped."""
    if not (cell.folder / MANIFEST).is_file():
        write_json(cell.folder / MANIFEST, manifest(config, cell, {}, {}, Timings()))


@contextmanager
def failures_written(asking: Asking) -> Iterator[None]:
    """Of a row that ends early: write what failed, and say the most frequent causes."""
    try:
        yield
    except (RowError, TooManyFailuresError) as error:
        folder, kept = asking.cell.folder, Kept(asking.store, asking.work.keys)
        earlier = {name: kept[name] for name, known in asking.work.kept.items() if known.failed and known.final}
        found = {name: result for name, result in earlier.items() if isinstance(result, Failure)}
        failed = {**found, **asking.failures}
        outcome.write_failures(folder, [failed[name] for name in asking.work.keys if name in failed])
        if error.__cause__ is not None:
            asking.errors.note(asking.cell.label, error)
        say(*causes(folder), *asking.errors.where(), file=sys.stderr)
        raise


def logged(config: RunConfig, log: Path | None) -> RunConfig:
    """With an engine whose words go to a log, and which may end this process where it is stuck in it."""
    return replace(config, options=replace(config.options, log=log, may_leave=True))


def _starter(config: RunConfig) -> StartEngine:
    """Start the live engine. MachinesError at once where it cannot be reached."""
    engines.require(config.options)

    def start(checkpoint: Checkpoint, variant: Variant, policy: MediaPolicy) -> Any:
        return engines.start_engine(checkpoint, variant, replace(config.options, policy=policy))

    return start
