"""One row of a run: what is missing is asked, then all of it is scored and written."""

from __future__ import annotations

import collections
import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mmrope_eval.engine.backend import EngineHolder, RowError, Timings
from mmrope_eval.errors import kind
from mmrope_eval.messages import Failure, Response
from mmrope_eval.record.files import write_manifest
from mmrope_eval.record.schema import SCORES, STORE
from mmrope_eval.run import merging, outcome
from mmrope_eval.run.asking import RowAsker
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell, PendingWork, TooManyFailuresError, remaining
from mmrope_eval.run.manifest import manifest, scores_file, sessions
from mmrope_eval.run.merging import Earlier, drop_aside
from mmrope_eval.run.placing import described_context, explanations, lost_answers, moved_helpers, read_row, refuse_fewer
from mmrope_eval.run.prepared import claim
from mmrope_eval.run.progress import Progress, RowWatch
from mmrope_eval.run.runlog import ErrorLog
from mmrope_eval.store.store import ResponseStore
from mmrope_eval.task.mirror import check_before_run
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.sample import Key
from mmrope_eval.util.console import say
from mmrope_eval.words import visible

SHOWN_CAUSES = 3


def run_row(config: RunConfig, cell: Cell, plans: Mapping[str, TaskPlan], holder: EngineHolder, errors: ErrorLog,
            failed_tasks: Mapping[str, str] = MappingProxyType({}),
            watch: RowWatch | None = None) -> tuple[Mapping[str, Any], int, int]:
    """Ask what is missing, then score and write one row: its scores by task, failed samples, samples asked now.

    `failed_tasks`, whose rows could not be read, are recorded with their causes; `watch` hears of every outcome. Of a
    row that cannot or should not be finished (`RowError`, `TooManyFailuresError`) the failures are written and the most
    frequent causes printed.
    """
    timings = Timings()
    outcome.require_places(cell.folder)
    asked_of = {name: len(plan.samples) for name, plan in plans.items()}
    row = read_row(cell.folder)
    refuse_fewer(cell.folder, {} if row is None else row.sizes, asked_of, "this command")
    recorded = {} if row is None else row.manifest
    claim(config, cell)
    with ResponseStore(cell.folder / STORE) as store:
        work = begin(config, cell, plans, store, recorded)
        done = len(work.keys) - len(work.pending)
        final = sum(kept.failed and kept.final for kept in work.kept.values())
        if watch is not None:
            watch.begin(len(work.keys), done, final)
        progress = Progress(cell.label, len(work.keys), done, told=None if watch is None else watch.advance)
        context = store.describe(described_context(cell.context)) if work.pending else ""
        asker = RowAsker(cell, config.options, plans, store, work, progress, config.max_failures, timings, errors,
                        context)  # fmt: skip
        with failures_written(asker):
            config.max_failures.check(final, len(work.keys))  # known before an engine starts
            if work.pending:
                asked = {sample.task for sample in work.pending}
                for sentence in check_before_run(plan for name, plan in plans.items() if name in asked):
                    say(sentence, file=sys.stderr)
                with progress:
                    asker.run(holder)
        gc.freeze()  # what asking leaves: `outcome.settled`
        with ExitStack() as staging:
            entry, failures = outcome.make_samples(staging, cell.folder, plans, Kept(store, work.keys))
            store.require_place()
            before = merging.earlier(cell, plans)
            scores = merging.with_scores(scores_file(cell, entry, failed_tasks), before)
            outcome.write_cell(staging, cell.folder, scores, [*before.failures, *failures])
        record = manifest(config, cell, plans, entry, sessions(recorded, timings))
        write_manifest(cell.folder, merging.with_manifest(record, before), scores)
        end(cell, work, store, before)
    return entry, len(failures), len(work.pending)


@contextmanager
def failures_written(asker: RowAsker) -> Iterator[None]:
    """Of a row that ends early: write what failed, and say the most frequent causes."""
    try:
        yield
    except (RowError, TooManyFailuresError) as error:
        folder, kept = asker.cell.folder, Kept(asker.store, asker.work.keys)
        earlier = {name: result for name, state in asker.work.kept.items()
                   if state.failed and state.final and isinstance(result := kept[name], Failure)}  # fmt: skip
        failed = {**earlier, **asker.failures}
        outcome.write_failures(folder, [failed[name] for name in asker.work.keys if name in failed])
        if error.__cause__ is not None:
            asker.errors.note(asker.cell.label, error)
        say(*causes(folder), *asker.errors.where(), file=sys.stderr)
        raise


# --------------------------------------------------------------------- what the store has, and what it lacks


def begin(config: RunConfig, cell: Cell, plans: Mapping[str, TaskPlan], store: ResponseStore,
          recorded: Mapping[str, Any]) -> PendingWork:
    """What is still to be asked; prints what must be known of the answers that are kept. `recorded` is the manifest of
    an earlier command."""
    for note in store.notes:
        say(f"{cell.label}: {note}", file=sys.stderr)
    work = remaining(cell, plans, store)
    if config.fresh:
        moved = store.set_aside((key.identity, sample) for sample, key in work.keys.items())
        work = remaining(cell, plans, store)
        done = f"; {len(work.kept)} are already" if work.kept else ""
        say(f"{cell.label}: --fresh sets {moved} kept answers aside until all are given anew{done}", file=sys.stderr)
        return work
    lost = [] if store.notes or store.has_aside() else lost_answers(cell, plans, work, store, recorded)
    for sentence in (*lost, *explanations(cell, work, store, recorded), *moved_helpers(cell, work, store)):
        say(sentence, file=sys.stderr)
    return work


def end(cell: Cell, work: PendingWork, store: ResponseStore, before: Earlier) -> None:
    """Now that everything is answered and written: let go of what was set aside, and say what else the scores hold."""
    store.drop_aside((key.identity, sample) for sample, key in work.keys.items())
    for note in before.notes:
        say(f"{cell.label}: {note}", file=sys.stderr)
    if before.scores:
        drop_aside(cell.folder)
        say(f"{cell.label}: {cell.folder / SCORES} also holds what other commands scored: {', '.join(before.scores)}",
            file=sys.stderr)  # fmt: skip


@dataclass(frozen=True)
class Kept(Mapping[str, Response | Failure]):
    """The outcomes in a store by sample, each read when it is asked for."""

    store: ResponseStore
    key_of: Mapping[str, Key]

    def __getitem__(self, sample: str) -> Response | Failure:
        result = self.store.read(self.key_of[sample].identity, sample)
        if result is None:
            raise RuntimeError(f"{sample} came back with neither answer nor failure")
        return result

    def __iter__(self) -> Iterator[str]:
        return iter(self.key_of)

    def __len__(self) -> int:
        return len(self.key_of)


# ------------------------------------------------------------------------------------------------- what failed


def causes(folder: Path) -> list[str]:
    """The most frequent causes of a row's failures, each with its number and the first sample it befell."""
    first: dict[str, str] = {}
    counts: collections.Counter[str] = collections.Counter()
    for failure in outcome.read_failures(folder):
        cause = failure["cause"]
        if cause.startswith("/"):  # without the file that it begins with, one fault of many files is one line
            cause = cause.partition(": ")[2] or cause
        cause = visible(cause)
        counts[kind(cause)] += 1
        first.setdefault(kind(cause), f"{visible(failure['id'])}: {cause}")
    shown = [f"  {n} x {first[same]}" for same, n in counts.most_common(SHOWN_CAUSES)]
    return [*shown, f"  all {counts.total()} in {folder / outcome.FAILURES}"] if shown else []
