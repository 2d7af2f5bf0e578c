"""`mmrope-eval run`: plan, ask, score. Starting the same command again continues where the last one stopped."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmrope_eval.engine.backend import EngineHolder, RowError, StartEngine
from mmrope_eval.errors import MachinesError, PlaceError, UserError
from mmrope_eval.media.policy import largest_item
from mmrope_eval.models.variant_choice import video_time
from mmrope_eval.record.schema import FAILED_ROW
from mmrope_eval.rope import described as described_variant
from mmrope_eval.run import engines, merging, outcome, results, side_by_side
from mmrope_eval.run.answer_limits import described, warnings, with_limits, with_temperature
from mmrope_eval.run.asking import schedule
from mmrope_eval.run.cells import FailedRow
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell, TooManyFailuresError
from mmrope_eval.run.manifest import protocol_remark
from mmrope_eval.run.prepared import Prepared, by_seed, place_all, prepare
from mmrope_eval.run.progress import ProgressFile, RowProgress, RowWatch, Tally
from mmrope_eval.run.rescore import compare_runs, read_run
from mmrope_eval.run.row import causes, run_row
from mmrope_eval.run.runlog import ErrorLog, run_log
from mmrope_eval.store.answer_code import CodeChangedError, require_unedited
from mmrope_eval.store.lock import run_lock
from mmrope_eval.util.console import say
from mmrope_eval.util.paths import cache_at
from mmrope_eval.words import visible


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

    def joined(self, label: str, verdict: tuple[Mapping[str, Any], int, int] | str) -> RunResult:
        """With one more row: its scores, failed samples and samples asked now, or why it failed."""
        if isinstance(verdict, str):
            return replace(self, broken={**self.broken, label: verdict})
        entry, failed, asked = verdict
        rows = {**self.rows, label: entry}
        return replace(self, rows=rows, failed=self.failed + failed, asked=self.asked + asked)

    def beside(self, other: RunResult) -> RunResult:
        """With the rows of another run, whose labels are others."""
        return RunResult({**self.rows, **other.rows}, {**self.folders, **other.folders}, self.failed + other.failed,
                         self.asked + other.asked, {**self.broken, **other.broken},
                         {**self.failed_tasks, **other.failed_tasks}, tuple(dict.fromkeys((*self.notes, *other.notes))))

    @property
    def code(self) -> int:
        """The exit code: 1 when samples, rows or tasks failed."""
        return 1 if self.failed or self.broken or self.failed_tasks else 0


def compare_second(config: RunConfig, result: RunResult) -> int:
    """Print another harness' own numbers, where `scorer` asks for them; 1 when its scoring failed."""
    second = side_by_side.second_of(config.scorer)
    if second is None:
        return 0
    folders = [folder for label, folder in result.folders.items() if label in result.rows]
    runs = [read_run(folder) for folder in folders]
    return compare_runs(second, runs, config.data_root, {folder: folder for folder in folders})


def report(result: RunResult) -> None:
    """Print the table, what must be known about it, and where the files are."""
    say()
    if result.rows:
        shown = {label: result.rows.get(label, {}) for label in result.folders}
        say(results.table({f"{label} (failed)" if label in result.broken else label: row
                           for label, row in shown.items()}))
    for label, cause in result.broken.items():
        say(f"{label} failed: {visible(cause)}")
    for task, cause in result.failed_tasks.items():
        say(f"{task} was not asked: {visible(cause)}")
    finished = [folder for label, folder in result.folders.items() if label in result.rows]
    for line in (*results.remarks(result.rows), *(cause for folder in finished for cause in causes(folder)),
                 *result.notes):
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


def run(config: RunConfig, start_engine: StartEngine | None = None) -> RunResult:
    """Evaluate every checkpoint under every variant on every task. UserError for bad input, before anything starts. A
    checkpoint that cannot be evaluated is a failed row, and the others go on. `start_engine` replaces the live engine
    in tests."""
    side_by_side.second_of(config.scorer)  # one that is not installed is known before minutes are spent
    with cache_at(config.cache_dir):
        per_seed = run_all([prepare(seeded) for seeded in by_seed(config)], config.output, start_engine)
    return functools.reduce(RunResult.beside, per_seed)


def run_all(runs: Sequence[Prepared], output: Path, start_engine: StartEngine | None = None, *,
            go_on: bool = False) -> list[RunResult]:
    """Evaluate the rows of runs that go below one folder, with one engine; a result for each run.

    The order is `schedule`'s. All questions are planned before the first is asked. `go_on`: a row that exceeds
    --max-failures, or whose folder cannot be used, is a failed row; else TooManyFailuresError or UserError ends
    everything. UserError for bad input.
    """
    # One engine for all has room for the largest picture or video that any row may be shown.
    room = max(largest_item(cell.policy, cell.checkpoint.geometry) for run in runs for cell in run.rows.cells)
    runs = [replace(run, config=replace(run.config, options=replace(run.config.options, room=room))) for run in runs]
    config = runs[0].config
    with (run_lock(output), run_log(output, config.command, config.log_file, verbose=config.verbose) as log,
          EngineHolder(engines.reached(config.options, log, start_engine), require_unedited) as holder):
        runs = place_all(runs)
        results = [RunResult({}, run.rows.folders, 0, 0, _fail_rows(run), run.plans.failed) for run in runs]
        turns = [(at, place) for at, run in enumerate(runs) for place in range(len(run.rows.cells))]
        order = schedule([runs[at].rows.cells[place] for at, place in turns])
        turns = [turns[turn] for turn in order]
        rows = [runs[at].progress(runs[at].rows.cells[place]) for at, place in turns]
        failed = [RowProgress(row.label, row.folder, tuple(spec.name for spec in run.specs), "failed", cause=row.cause)
                  for run in runs for row in run.rows.failed]  # fmt: skip
        tally = Tally([*rows, *failed])
        errors = ErrorLog(output, config.log_file)
        with outcome.settled(), ProgressFile(output, tally, config.command):
            for number, ((at, place), row) in enumerate(zip(turns, rows, strict=True), 1):
                say(f"[{number}/{len(turns)}] ", end="", file=sys.stderr)
                verdict = _take_turn(runs[at], place, holder, errors, RowWatch(tally, row), go_on)
                results[at] = results[at].joined(runs[at].rows.cells[place].label, verdict)
    return [replace(result, notes=notes(run))
            for run, result in zip(runs, results, strict=True)]  # fmt: skip


def _take_turn(run: Prepared, place: int, holder: EngineHolder, errors: ErrorLog, watch: RowWatch,
               go_on: bool) -> tuple[Mapping[str, Any], int, int] | str:
    """One row of a run, as of `run_row`; the cause where it failed."""
    cell, (limits, remarks), plans = run.rows.cells[place], run.limits[place], run.plans
    say(f"{cell.label}: {announcement(cell)}", file=sys.stderr)
    for remark in (*remarks, *warnings(cell.thinking, run.specs, run.given)):
        say(f"{cell.label}: {remark}", file=sys.stderr)
    for task, cause in plans.failed.items():
        say(f"{cell.label}: {task} is not asked: {cause}", file=sys.stderr)
    planned = with_temperature(with_limits(plans.of(cell.family), limits), run.config.temperature, run.config.seed)
    try:
        scored = run_row(run.config, cell, planned, holder, errors, plans.failed, watch)
    except RowError as error:
        holder.close()
        failure: Exception = error
    except TooManyFailuresError as error:
        if not go_on:
            watch.fail(str(error))
            raise
        failure = error
    except UserError as error:  # of this row's store or folder; what concerns all rows ends them all
        if not go_on or isinstance(error, PlaceError | MachinesError | CodeChangedError):
            raise
        failure = error
    else:
        watch.finish(scored[1])
        return scored
    watch.fail(str(failure))
    return _failed(FailedRow(cell.label, cell.folder, str(failure)), failure, keep=merging.stands(cell))


def _fail_rows(run: Prepared) -> dict[str, str]:
    """Write down the rows of a run that cannot be evaluated; their causes by label."""
    for row in run.rows.failed:
        outcome.write_failures(row.folder, [])
    return {row.label: _failed(row) for row in run.rows.failed}


def announcement(cell: Cell) -> str:
    """The variant of a row and how it was chosen, in one line."""
    text = f"variant {described_variant(cell.variant)} ({cell.chosen.how})"
    if cell.chosen.assumed:
        text += (f": nothing in config.json names one, so it is taken for stock {cell.checkpoint.family.title}; if it "
                 "was trained otherwise, say --variant")
    time = video_time(cell.variant, cell.checkpoint.tokens_per_second)
    frames = f"frames {time}" if time else None
    return "; ".join(filter(None, [text, frames, described(cell.thinking), *cell.checkpoint.remarks]))


def notes(run: Prepared) -> tuple[str, ...]:
    """One line on the rows whose variant nobody named, and one on every protocol, with its departures."""
    assumed = [f"{cell.label}: {cell.variant.name}" for cell in run.rows.cells if cell.chosen.assumed]
    text = f"variant assumed from the model type, as no config.json names one ({', '.join(assumed)})"
    under: dict[str, list[str]] = {}
    for cell, (limits, _) in zip(run.rows.cells, run.limits, strict=True):
        if (protocol := protocol_remark(run.config, cell, run.specs, limits)) is not None:
            under.setdefault(protocol, []).append(cell.label)
    lines = [protocol if len(under) == 1 else f"{protocol} ({', '.join(labels)})" for protocol, labels in under.items()]
    return (*((text,) if assumed else ()), *lines)


def _failed(row: FailedRow, error: BaseException | None = None, *, keep: bool = False) -> str:
    """Write and print what befell a row; its cause. `keep`: the scores in its folder are its own."""
    outcome.write_failed_row(row.folder, row.cause, error, keep=keep)
    say(f"{row.label} failed: {visible(row.cause)}", file=sys.stderr)
    return row.cause
