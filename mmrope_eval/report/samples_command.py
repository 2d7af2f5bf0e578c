"""`mmrope-eval samples RUN`: single samples of a finished run to look at, one screen each."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.schema import SampleLine
from mmrope_eval.report.options import SamplesOptions
from mmrope_eval.report.runs import Cell, Run, load_run
from mmrope_eval.util.console import say

WIDTH: Final = 110
"""Characters of a line."""
LINES: Final = 12
"""Lines of a field, so that a sample fits a screen."""
HEADS: Final = 10
"""Characters of a field's name and the space after it."""


@dataclass(frozen=True)
class Shown:
    """A sample with what it is of."""

    label: str
    metric: str
    line: SampleLine

    @property
    def score(self) -> float | None:
        """Of the main metric, 0 to 1; None where it does not apply."""
        return self.line.scores[self.metric]

    @property
    def wrong(self) -> bool:
        """Whether it failed, or has less than the full score."""
        return self.line.failure is not None or (self.score is not None and self.score < 1)


def main(args: SamplesOptions) -> int:
    """Print the samples. Exit code 0, also where none is wrong. UserError for a row or task that is not there."""
    run = load_run(args.run)
    cells = rows_called(run, args.row)
    tasks = tasks_called(cells, args.task)
    shown = [sample for sample in samples(run, cells, tasks) if sample.wrong or not args.wrong]
    for sample in shown[: args.n]:
        say(*screen(sample), "")
    kind = "wrong samples" if args.wrong else "samples"
    say(f"{min(args.n, len(shown)):,} of {len(shown):,} {kind} in {run.path}")
    return 0


def rows_called(run: Run, label: str | None) -> Sequence[Cell]:
    """The row of that name, or all. UserError where there is none."""
    if label is None:
        return run.cells
    if label not in run.labels:
        raise UserError(f"--row {label}: {run.path} has no such row; choose one of {', '.join(run.labels)}.")
    return [run.cells[run.labels.index(label)]]


def tasks_called(cells: Sequence[Cell], task: str | None) -> Sequence[str]:
    """The task of that name, or all that the rows have. UserError where there is none."""
    task_names = list(dict.fromkeys(name for cell in cells for name in cell.tasks))
    if task is not None and task not in task_names:
        raise UserError(f"--task {task}: it was not asked; choose one of {', '.join(task_names)}.")
    return task_names if task is None else [task]


def samples(run: Run, cells: Sequence[Cell], tasks: Sequence[str]) -> Iterator[Shown]:
    """Samples by task, and of a task one of every row before the next, so that rows can be compared."""
    for task in tasks:
        columns = [[Shown(run.label(cell), cell.record.scores.tasks[task].main, line)
                    for line in cell.record.samples(task)] for cell in cells if task in cell.tasks]
        for together in itertools.zip_longest(*columns):
            yield from (sample for sample in together if sample is not None)


def screen(sample: Shown) -> Iterator[str]:
    """The lines of a sample: what it is, question, response, what was read in it, and what is right."""
    line, score = sample.line, "does not apply" if sample.score is None else f"{100 * sample.score:g}"
    shows = ", ".join(medium.medium or "medium" for medium in line.media)
    yield f"--- {sample.label}  {line.id}  {sample.metric} {score}{f'  ({shows})' if shows else ''}"
    yield from field("question", "not recorded" if line.prompt is None else line.prompt)
    if line.failure is not None:
        yield from field("failed", f"{line.failure.stage}: {line.failure.cause}")
    else:
        cut = " [cut off at the token limit]" if line.truncated else ""
        yield from field("response", f"{line.prediction or ''}{cut}")
        yield from field("parsed", "nothing that the scorer can read" if line.parsed is None else text(line.parsed))
    yield from field("target", "none" if line.target is None else text(line.target))


def text(value: Any) -> str:
    """A value as people read it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def field(name: str, content: str) -> Iterator[str]:
    """A field in its lines, the first beside its name; what is too long says so."""
    wrapped = [part for line in content.splitlines() or [""]
               for part in textwrap.wrap(line, WIDTH - HEADS, drop_whitespace=False) or [""]]  # fmt: skip
    kept = wrapped if len(wrapped) <= LINES else wrapped[: LINES - 1]
    for head, part in zip(itertools.chain([name], itertools.repeat("")), kept, strict=False):
        yield f"{head:<{HEADS}}{part}".rstrip()
    if len(kept) < len(wrapped):
        yield f"{'':<{HEADS}}[{len(wrapped) - len(kept):,} more lines]"
