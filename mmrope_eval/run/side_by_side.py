"""Another harness' own number beside ours, from the same responses: nothing is generated again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mmrope_eval.lmms.stock import is_picture, stock_score
from mmrope_eval.messages import Response
from mmrope_eval.record.files import write_json, write_lines
from mmrope_eval.record.schema import FORMAT
from mmrope_eval.run.results import ScoredSample
from mmrope_eval.scorer.all import SecondError, SecondItem, SecondResult
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.spec import Counterpart, TaskSpec
from mmrope_eval.vlmevalkit.scores import kit_score, require

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Second:
    """A harness whose number can stand beside ours."""

    key: str
    """Its name for --scorer, in files' names and in their fields."""
    title: str
    counterpart: Callable[[TaskSpec], Counterpart | None]
    """Its task for one of ours, as the task's file declares it (`metadata: KEY`)."""
    score: Callable[[str, Sequence[SecondItem]], SecondResult]
    """The number of one of its tasks. SecondError when there is none."""
    require: Callable[[], None] = lambda: None
    """UserError when it is not installed."""


SECONDS: Final[Mapping[str, Second]] = {
    "stock": Second("stock", "lmms-eval", lambda spec: spec.stock, stock_score),
    "vlmevalkit": Second("vlmevalkit", "VLMEvalKit", lambda spec: spec.vlmevalkit, kit_score, require),
}
"""By the value of --scorer."""


def second_of(scorer: str) -> Second | None:
    """The harness that --scorer asks for beside ours, or None. UserError when it is not installed."""
    harness = SECONDS.get(scorer)
    if harness is not None:
        harness.require()
    return harness


@dataclass(frozen=True)
class Comparison:
    """One task: our main metric and the other harness', both on a 0-100 scale, and where they differ."""

    second: Second
    task: str
    metric: str
    ours: float | None
    theirs: SecondResult | None
    problem: str | None
    """Why there is no other number."""
    lines: Sequence[Mapping[str, Any]]
    """One a sample: both values and whether they agree; empty where there is no other number."""
    declared: bool
    """Whether the task's file names a counterpart."""

    @property
    def disagreements(self) -> int:
        """Samples that the two value differently."""
        return sum(line["agree"] is False for line in self.lines)

    @property
    def compared(self) -> int:
        """Samples that both were asked about."""
        return sum(line["agree"] is not None for line in self.lines)

    @property
    def broken(self) -> bool:
        """Whether the task has a counterpart in the other harness, but no number came of it."""
        return self.theirs is None and self.declared

    def entry(self) -> dict[str, Any]:
        """The task's entry in scores_KEY.json."""
        result, key = self.theirs, self.second.key
        return {
            "metric": self.metric,
            "ours": self.ours,
            key: round(result.value, 9) if result else None,
            f"{key}_task": result.task if result else None,
            f"{key}_metric": result.metric if result else None,
            "note": result.note if result else self.problem,
            "n": len(self.lines),
            "n_disagreeing": self.disagreements,
            **(result.facts if result else {}),
        }


def light(doc: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its pictures' content, which no scoring looks at."""
    return {name: {"width": 0, "height": 0} if is_picture(value) else value for name, value in doc.items()}


def second_item(other: Counterpart | None, doc: Mapping[str, Any], response: str | None,
                target: Mapping[str, Any] | None) -> SecondItem:
    """What another harness' scoring takes; of a family of tasks also which of them, by the field that is declared."""
    field = other.group_by if other is not None else None
    group = str(doc[field]) if field is not None and field in doc else None
    size = (target or {}).get("source_size")
    picture = {"image": {"width": size[0], "height": size[1]}} if size is not None else {}
    return SecondItem({**light(doc), **picture}, response or "", group, target, response is None)


def second_number(second: Second, spec: TaskSpec, items: Sequence[SecondItem]) -> SecondResult:
    """The other harness' number for responses to a task. SecondError where its file names no counterpart, or that
    fails."""
    other = second.counterpart(spec)
    if other is None:
        raise SecondError(f"{second.title} has no task for '{spec.name}': its file names none (`metadata: "
                          f"{second.key}`).")  # fmt: skip
    result = second.score(other.task, items)
    return replace(result, note="; ".join(filter(None, (result.note, other.note))) or None)


def compare_task(second: Second, plan: TaskPlan, scored: Sequence[ScoredSample],
                 entry: Mapping[str, Any]) -> Comparison:
    """Score a task's responses as the other harness does. A failed sample is wrong for both. A sample whose row cannot
    be read has no target and nothing to be compared with: it is left out of their number."""
    task, metric, other = plan.spec.name, plan.spec.metrics[0], second.counterpart(plan.spec)
    value = entry["metrics"][metric]["value"]
    rows = plan.docs.get().rows
    usable = [sample for sample in scored if sample.target is not None]
    items = [second_item(other, rows[sample.sample.index], text(sample), sample.target) for sample in usable]
    try:
        result = second_number(second, plan.spec, items)
    except SecondError as error:
        return Comparison(second, task, metric, value, None, str(error), (), other is not None)
    lines = [sample_row(second, sample, metric, share) for sample, share in zip(usable, result.samples, strict=True)]
    return Comparison(second, task, metric, value, result, None, lines, True)


def text(sample: ScoredSample) -> str | None:
    """A sample's response; None when it failed."""
    return sample.result.text if isinstance(sample.result, Response) else None


def sample_row(second: Second, sample: ScoredSample, metric: str, share: float | None) -> dict[str, Any]:
    """The line of samples_KEY/<task>.jsonl."""
    value = sample.score.values[metric]
    return {
        "id": sample.sample.id,
        "agree": agree(value, share),
        "ours": value,
        second.key: share,
        "prediction": text(sample),
        "parsed": sample.score.parsed,
        "target": sample.target,
    }


def agree(value: float | None, other: float | None) -> bool | None:
    """Whether two values of one sample are the same; None where the other harness was not asked about it."""
    if other is None:
        return None
    return value is not None and abs(value - other) <= TOLERANCE


def write(folder: Path, second: Second, comparisons: Iterable[Comparison]) -> None:
    """Write samples_KEY/<task>.jsonl and scores_KEY.json."""
    entries = {}
    for comparison in comparisons:
        entries[comparison.task] = comparison.entry()
        if comparison.theirs is not None:
            write_lines(folder / f"samples_{second.key}" / f"{comparison.task}.jsonl", comparison.lines)
    write_json(folder / f"scores_{second.key}.json", {"format": FORMAT, "tasks": entries})


def table(second: Second, comparisons: Iterable[Comparison]) -> str:
    """Both numbers, one line a task, then the notes."""
    from tabulate import tabulate

    comparisons = list(comparisons)
    headers = ["task", "metric", "ours", second.title, "its task", "its metric", "samples that differ"]
    body = [[task.task, task.metric, number(task.ours), number(task.theirs.value if task.theirs else None),
             task.theirs.task if task.theirs else "—", task.theirs.metric if task.theirs else "—",
             f"{task.disagreements} of {task.compared}" if task.theirs else "—"] for task in comparisons]
    notes = [f"{task.task}: {note}" for task in comparisons
             if (note := task.problem or (task.theirs.note if task.theirs else None))]
    return "\n".join([tabulate(body, headers, tablefmt="simple", disable_numparse=True), *notes])


def number(value: float | None) -> str:
    """Two decimals, or an em dash for an unknown."""
    return "—" if value is None else f"{value:.2f}"
