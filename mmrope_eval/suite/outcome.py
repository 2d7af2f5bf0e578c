"""From the outcomes of one cell to its files; `run` and `rescore` both end here, so that they write the same bytes."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrope_eval.engine.types import Failure, Response
from mmrope_eval.record.schema import FAILED_ROW, MANIFEST, SAMPLES, SCORES
from mmrope_eval.record.write import write_json, write_lines
from mmrope_eval.suite import results
from mmrope_eval.suite.plan import TaskPlan
from mmrope_eval.suite.results import Scored

Outcomes = Mapping[str, Response | Failure]
"""By sample id."""


def score_cell(plans: Mapping[str, TaskPlan], outcomes: Outcomes) -> dict[str, list[Scored]]:
    """Every sample of every task with its worth, by task. KeyError when an outcome is missing."""
    return {name: results.score_task(plan, outcomes) for name, plan in plans.items()}


def entries(plans: Mapping[str, TaskPlan], scored: Mapping[str, Sequence[Scored]]) -> dict[str, dict[str, Any]]:
    """The `tasks` of scores.json."""
    return {name: results.summarize(plan, scored[name]) for name, plan in plans.items()}


def write_cell(folder: Path, scores: Mapping[str, Any], scored: Mapping[str, Sequence[Scored]]) -> None:
    """Write samples/<task>.jsonl, failures.jsonl (only when there are failures) and last scores.json."""
    for name, rows in scored.items():
        write_lines(folder / SAMPLES / f"{name}.jsonl", (one.row() for one in rows))
    results_of = (one.result for rows in scored.values() for one in rows)
    write_failures(folder, [result for result in results_of if isinstance(result, Failure)])
    (folder / FAILED_ROW).unlink(missing_ok=True)
    write_json(folder / SCORES, scores)


def write_failed_row(folder: Path, cause: str, error: BaseException | None = None) -> None:
    """Say in a row's folder that it failed. Scores of an earlier run are set aside: they are not this checkpoint's."""
    folder.mkdir(parents=True, exist_ok=True)
    trace = traceback.format_exception(error) if error is not None else []
    for name in (SCORES, MANIFEST):
        if (folder / name).is_file():
            (folder / name).replace(folder / f"earlier-{name}")
    write_json(folder / FAILED_ROW, {"cause": cause, "traceback": "".join(trace).splitlines()})


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write failures.jsonl, or remove it where there are none."""
    path = folder / "failures.jsonl"
    if failures:
        write_lines(path, ({"id": one.id, "stage": one.stage, "cause": one.cause} for one in failures))
    else:
        path.unlink(missing_ok=True)
