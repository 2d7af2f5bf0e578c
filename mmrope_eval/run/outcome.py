"""From the outcomes of one cell to its files; `run` and `rescore` both end here, so that they write the same bytes."""

from __future__ import annotations

import gc
import json
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mmrope_eval.data.cache import homes
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Failure, Response
from mmrope_eval.record.files import write_json, write_lines
from mmrope_eval.record.schema import FAILED_ROW, MANIFEST, SAMPLES, SCORES, STORE, SWEEP
from mmrope_eval.run import results
from mmrope_eval.run.merging import ASIDE
from mmrope_eval.run.results import SampleScore
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.util.files import is_special, whole

FAILURES = "failures.jsonl"
SWEEP_FILES: Final = ("sweep.csv", "needle.csv", "sweep.pdf", "sweep.png", "needle.pdf", "needle.png")
"""What a sweep's report writes beside sweep.json."""
BESIDE = ("-wal", "-shm", "-journal")
"""Endings of what SQLite keeps beside a store."""

Outcomes = Mapping[str, Response | Failure]
"""By sample id."""


def require_places(folder: Path) -> None:
    """UserError where something lies in the way of a row's files, or would be overwritten that no run wrote: before a
    question is asked, not after the last."""
    refuse_cache(folder)
    for name in (SCORES, MANIFEST, FAILURES, FAILED_ROW, *(f"{STORE}{end}" for end in ("", *BESIDE))):
        if (folder / name).is_dir():
            raise UserError(f"{folder / name} is a folder, where a file of the run should be: move it away or choose "
                            "another --output.")
        if is_special(folder / name):
            raise UserError(f"{folder / name} is no plain file, as a run's should be: move it away or choose another "
                            "--output.")
    if os.path.lexists(folder / SAMPLES) and not (folder / SAMPLES).is_dir():
        raise UserError(f"{folder / SAMPLES} is no folder, as the samples of a run need: move it away or choose "
                        "another --output.")
    if not (folder / STORE).exists():
        for name in (SCORES, MANIFEST, FAILED_ROW):
            refuse_foreign(folder / name, OURS[name])


OURS: Final[Mapping[str, frozenset[str]]] = {
    SCORES: frozenset({"tasks", "checkpoint"}),
    MANIFEST: frozenset({"checkpoint", "variant"}),
    FAILED_ROW: frozenset({"cause"}),
    SWEEP: frozenset({"points"}),
}
"""Keys that every version of this project has written into the record of that name."""


def require_sweep_places(folder: Path) -> None:
    """UserError where something lies in the way of a sweep's files, before anything is measured."""
    for name in (SWEEP, *SWEEP_FILES):
        if is_special(folder / name):
            raise UserError(f"{folder / name} is no plain file, as a sweep's should be: move it away or choose another "
                            "--output.")
    refuse_foreign(folder / SWEEP, OURS[SWEEP])


def refuse_foreign(path: Path, keys: frozenset[str]) -> None:
    """UserError for a whole JSON file that somebody else wrote, such as a data set's own manifest.json. One that cannot
    be read is taken for ours, half written: it is made anew."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return
    if not (isinstance(content, dict) and keys <= content.keys()):
        raise UserError(f"{path} was not written by a run and would be overwritten: move it away or choose another "
                        "--output.")


def refuse_cache(folder: Path) -> None:
    """UserError for a place in the cache, where results would be taken for what can be made again."""
    place = folder.resolve()
    for kept in homes().values():
        if place.is_relative_to(kept.resolve()):
            raise UserError(f"{folder} lies in the cache ({kept}), which `mmrope-eval data prune` empties: choose "
                            "another --output.")


@contextmanager
def settled() -> Iterator[None]:
    """Leave out of garbage collection, within the block, what exists when it begins, and what `gc.freeze` finds in it.
    Python walks everything that lives whenever that has grown by a quarter: with the plans and keys of 100,000 samples
    a fifth of a resumed run's time, and there is nothing to be found among them."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def make_samples(staging: ExitStack, folder: Path, plans: Mapping[str, TaskPlan],
                 outcomes: Outcomes) -> tuple[dict[str, dict[str, Any]], list[Failure]]:
    """Score every sample of every task, and stage samples/<task>.jsonl: the `tasks` of scores.json, and the failures.
    KeyError when an outcome is missing. One sample after another is scored, written and let go."""
    entries_of_tasks: dict[str, dict[str, Any]] = {}
    failures: list[Failure] = []
    for name, plan in plans.items():
        samples: list[SampleScore] = []

        def rows(plan: TaskPlan = plan, samples: list[SampleScore] = samples) -> Iterator[dict[str, Any]]:
            for scored in results.scores(plan, outcomes):
                samples.append(scored.reduced())
                if isinstance(scored.result, Failure):
                    failures.append(scored.result)
                yield scored.row()

        stage_lines(staging, folder / SAMPLES / f"{name}.jsonl", rows())
        gc.freeze()  # the task's samples
        entries_of_tasks[name] = results.summarize(plan, samples)
    return entries_of_tasks, failures


def stage_lines(staging: ExitStack, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines for `path`, on disk beside it, each written as it comes; they take its place when `staging` is closed,
    with all that belongs to them, and go where that is left by an exception. OSError."""
    draft = staging.enter_context(whole(path))
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    # Half a surrogate pair, which an odd file name may hold, is written as JSON escapes it.
    with draft.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.writelines(f"{encode(row)}\n" for row in rows)
        stream.flush()
        os.fsync(stream.fileno())


def write_cell(staging: ExitStack, folder: Path, scores: Mapping[str, Any], failures: Sequence[Failure]) -> None:
    """Put the staged samples in their places, then failures.jsonl (only when there are failures), last scores.json."""
    staging.close()
    write_failures(folder, failures)
    (folder / FAILED_ROW).unlink(missing_ok=True)
    write_json(folder / SCORES, scores)


def write_failed_row(folder: Path, cause: str, error: BaseException | None = None, *, keep: bool = False) -> None:
    """Say in a row's folder that it failed. Scores of an earlier command are set aside, for they may be of another
    checkpoint, or of other code, unless it is known that they are not (`keep`); the next command that does not fail
    takes them up again where they are not."""
    folder.mkdir(parents=True, exist_ok=True)
    trace = traceback.format_exception(error) if error is not None else []
    if (folder / SCORES).is_file() and not keep:
        for name in (SCORES, MANIFEST):
            if (folder / name).is_file():
                (folder / name).replace(folder / f"{ASIDE}{name}")
    write_json(folder / FAILED_ROW, {"cause": cause, "traceback": "".join(trace).splitlines()})


def read_failures(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a row's failures.jsonl."""
    path = folder / FAILURES
    yield from map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.is_file() else ())


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write failures.jsonl, or remove it where there are none."""
    path = folder / FAILURES
    if failures:
        write_lines(path, ({"id": failure.id, "stage": failure.stage, "cause": failure.cause} for failure in failures))
    else:
        path.unlink(missing_ok=True)
